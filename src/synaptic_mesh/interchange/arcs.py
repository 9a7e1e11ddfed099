"""Inverse trigonometric functions of formats that have them, composed of primitives: no operation of their own."""

import math

from synaptic_mesh.engine.trace import Tensor, sqrt, where

COEFFICIENTS = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
"""atan on |x| <= tan(pi/8), odd in x. Cephes atanf (Moshier 1989): 2 units in the last place."""


def arc_tangent(x: Tensor) -> Tensor:
    """atan: the argument is brought to |r| <= tan(pi/8) by -1 / x beyond tan(3 pi/8), by (x - 1) / (x + 1) between."""
    size = abs(x)
    is_far, is_middle = size > math.tan(3 * math.pi / 8), size > math.tan(math.pi / 8)
    inner = where(is_middle, (size - 1.0) / (size + 1.0), size)
    reduced = where(is_far, -1.0 / where(is_far, size, 1.0), inner)
    square = reduced * reduced
    series = square * COEFFICIENTS[0]
    for coefficient in COEFFICIENTS[1:-1]:
        series = (series + coefficient) * square
    series = (series + COEFFICIENTS[-1]) * square * reduced + reduced
    angle = where(is_far, math.pi / 2, where(is_middle, math.pi / 4, x.builder.constant(0.0, x.shape))) + series
    return where(x < 0.0, -angle, angle)


def arc_sine(x: Tensor) -> Tensor:
    """asin = atan(x / sqrt((1 - x)(1 + x))); NaN beyond 1."""
    return arc_tangent(x / sqrt((1.0 - x) * (1.0 + x)))


def arc_cosine(x: Tensor) -> Tensor:
    """acos = 2 atan(sqrt((1 - x) / (1 + x))); NaN beyond 1."""
    return arc_tangent(sqrt((1.0 - x) / (1.0 + x))) * 2.0


def arc_tangent_of(y: Tensor, x: Tensor) -> Tensor:
    """atan2: the angle of (x, y) in -pi..pi; 0 at the origin."""
    angle = arc_tangent(y / x)
    turned = where(y < 0.0, angle - math.pi, angle + math.pi)
    straight = where(y < 0.0, -math.pi / 2, where(y > 0.0, math.pi / 2, y.builder.constant(0.0, y.shape)))
    return where(x == 0.0, straight, where(x < 0.0, turned, angle))
