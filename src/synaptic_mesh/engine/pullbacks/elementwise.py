"""Gradients of operations whose operands have one shape."""

import math
from collections.abc import Sequence

from synaptic_mesh.engine.functions.elementwise import cos, sin
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.pullbacks.pullback import Pullback, Thunk
from synaptic_mesh.engine.trace import Tensor, exp, log, where


def _abs(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    return [lambda: where(o[0] > 0.0, g, where(o[0] < 0.0, -g, 0.0))]


def _min(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """All to the lesser; a tie goes to the second operand."""
    return [lambda: where(o[0] < o[1], g, 0.0), lambda: where(o[0] < o[1], 0.0, g)]


def _max(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """All to the greater; a tie goes to the second operand, so relu = max(x, 0) has gradient 0 at 0."""
    return [lambda: where(o[1] < o[0], g, 0.0), lambda: where(o[1] < o[0], 0.0, g)]


def _select(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk | None]:
    return [None, lambda: where(o[0], g, 0.0), lambda: where(o[0], 0.0, g)]


def _pow(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """b a^(b - 1), +0 for b = 0; and a^b log a, +0 for a = 0 unless b < 0. As torch."""
    a, b = o

    def pull_exponent() -> Tensor:
        slope = g * (y * log(a))
        return where(a == 0.0, where(b < 0.0, slope, 0.0), slope)

    return [lambda: where(b == 0.0, 0.0, g * (b * a ** (b - 1.0))), pull_exponent]


ELEMENTWISE: dict[Op, Pullback] = {
    Op.NEG: lambda _, _o, g: [lambda: -g],
    Op.ABS: _abs,
    Op.SQRT: lambda y, _o, g: [lambda: g / (y + y)],
    Op.EXP: lambda y, _o, g: [lambda: g * y],
    Op.LOG: lambda _, o, g: [lambda: g / o[0]],
    Op.TANH: lambda y, _o, g: [lambda: g * (1.0 - y * y)],
    Op.SIGMOID: lambda y, _o, g: [lambda: g * (y * (1.0 - y))],
    Op.ERF: lambda _, o, g: [lambda: g * (exp(-(o[0] * o[0])) * (2.0 / math.sqrt(math.pi)))],
    Op.SIN: lambda _, o, g: [lambda: g * cos(o[0])],
    Op.COS: lambda _, o, g: [lambda: -(g * sin(o[0]))],
    Op.POW: _pow,
    Op.ADD: lambda _, _o, g: [lambda: g, lambda: g],
    Op.SUB: lambda _, _o, g: [lambda: g, lambda: -g],
    Op.MUL: lambda _, o, g: [lambda: g * o[1], lambda: g * o[0]],
    Op.DIV: lambda y, o, g: [lambda: g / o[1], lambda: -((g * y) / o[1])],
    Op.MIN: _min,
    Op.MAX: _max,
    Op.SELECT: _select,
}
