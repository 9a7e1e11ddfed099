"""f32 values rounded to the shorter floats of other formats, held as f32. Gradients pass through unchanged."""

import math

from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, stop_gradient, where

HALF_OVERFLOW = 65536.0
HALF_SMALLEST_NORMAL = 2.0**-14


def to_half(x: Tensor) -> Tensor:
    """float16, to nearest even: 13 bits go; what reaches 65536 is infinite; below 2^-14 the grid is 2^-24, which is
    the last place of numbers from 0.5 to 1, so adding 0.5 and taking it away rounds to it."""
    bits = x.bitcast(DType.U32)
    normal = _shortened(bits & 0x7FFFFFFF, 13)
    bounded = where(normal >= HALF_OVERFLOW, math.inf, normal)
    size = abs(x)
    found = where(size < HALF_SMALLEST_NORMAL, (size + 0.5) - 0.5, bounded)
    return _instead(x, (found.bitcast(DType.U32) | (bits & 0x80000000)).bitcast(DType.F32))


def to_brain(x: Tensor) -> Tensor:
    """bfloat16, to nearest even: the lower 16 bits go."""
    return _instead(x, _shortened(x.bitcast(DType.U32), 16))


def _shortened(bits: Tensor, count: int) -> Tensor:
    """Floats of u32 patterns without their last `count` bits, rounded to nearest even; a carry reaches the exponent."""
    half = (1 << (count - 1)) - 1
    kept = (1 << 32) - (1 << count)
    return ((bits + ((bits >> count) & 1) + half) & kept).bitcast(DType.F32)


def _instead(x: Tensor, rounded: Tensor) -> Tensor:
    """The rounded value, exactly: x plus a difference that f32 holds, which lets the gradient of x through. Zeros,
    which keep their sign, and infinities stand for themselves; NaN stays."""
    size = abs(rounded)
    is_plain = where(size < math.inf, size, 0.0) > 0.0
    moved = x + stop_gradient(where(is_plain, rounded, x) - x)
    return where(x == x, where(is_plain, moved, stop_gradient(rounded)), x)
