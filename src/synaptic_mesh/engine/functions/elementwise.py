"""Elementwise primitives that have no Python operator, and short compositions of them."""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Attributes, Op
from synaptic_mesh.engine.trace import Number, Tensor, floor, maximum, minimum, where


def erf(x: Tensor) -> Tensor:
    """Error function; erf(+-inf) = +-1."""
    return _unary(Op.ERF, x)


def sin(x: Tensor) -> Tensor:
    """Sine of radians; NaN beyond |x| = 32768."""
    return _unary(Op.SIN, x)


def cos(x: Tensor) -> Tensor:
    """Cosine of radians; NaN beyond |x| = 32768."""
    return _unary(Op.COS, x)


def round_even(x: Tensor) -> Tensor:
    """Nearest integral value, ties to even. Its gradient is 0."""
    return _unary(Op.ROUND, x)


def ceil(x: Tensor) -> Tensor:
    """Least integral value that is not below x: -floor(-x). Its gradient is 0."""
    return -floor(-x)


def truncate(x: Tensor) -> Tensor:
    """Integral part, toward zero: floor or ceil by the sign. Its gradient is 0."""
    return where(x < 0, ceil(x), floor(x))


def sign(x: Tensor) -> Tensor:
    """1, -1, +0 for zeros of both signs, NaN for NaN. Its gradient is 0."""
    return where(x > 0, 1, where(x < 0, -1, x - x))


def clip(x: Tensor, low: Tensor | Number | None = None, high: Tensor | Number | None = None) -> Tensor:
    """min(max(x, low), high); NaN stays. Where x equals a bound the gradient goes to the bound."""
    raised = x if low is None else maximum(x, low)
    return raised if high is None else minimum(raised, high)


def remainder(x: Tensor, divisor: Tensor | Number) -> Tensor:
    """x - floor(x / divisor) * divisor: the sign is the divisor's, as in Python; f32 only."""
    return x - floor(x / divisor) * divisor


def square(x: Tensor) -> Tensor:
    """x * x."""
    return x * x


def reciprocal_sqrt(x: Tensor) -> Tensor:
    """1 / sqrt(x)."""
    return 1.0 / x**0.5


def threefry(first: Tensor, second: Tensor, key: tuple[int, int]) -> Tensor:
    """First u32 word of Threefry-2x32-20 of the counters (first, second) under a key of two words. Equal u32 shapes.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". Raises LocalError for a key outside 0..2^32-1.
    """
    if not all(0 <= word < 1 << 32 for word in key):
        raise LocalError(f"a threefry key is two words in 0..2^32-1, not {key}")
    bits = b"".join(word.to_bytes(4, "little") for word in key)
    return first.builder.add(Op.THREEFRY, [first, second], first.shape, first.dtype, Attributes(bits=bits))


def _unary(op: Op, x: Tensor) -> Tensor:
    return x.builder.add(op, [x], x.shape, x.dtype)
