"""exp, log, tanh and sigmoid as sequences of single-rounding operations: one definition, inlined by every backend.

Each function is generic over `VectorOps`: the reference passes numpy arrays, the WebAssembly emitter passes locals and
gets instructions. The order of calls *is* the semantics; constants are u32 bit patterns. All are total: a NaN gives a
NaN whatever its payload, and subnormals are kept (no flush to zero).

Method and minimax coefficients: S. L. Moshier, Cephes Mathematical Library, single precision (expf, logf, tanhf).
"""

from typing import Protocol, TypeVar

V = TypeVar("V")

ONE = 0x3F800000
TWO = 0x40000000
HALF = 0x3F000000
INFINITY = 0x7F800000
MINUS_INFINITY = 0xFF800000
NAN = 0x7FC00000

LOG2_E = 0x3FB8AA3B
LN2_HIGH = 0x3F318000  # 355/512: nine bits, so its product with |n| <= 150 is exact
LN2_LOW = 0xB95E8083  # ln 2 - 355/512 = -2.1219444e-4

INTEGER_SHIFT = 0x4B400000  # 1.5 * 2^23

EXP_LOWEST = 0xC2D00000  # -104: below it every result is under half of the least subnormal
EXP_HIGHEST = 0x42B20000  # 89: above it every result is infinite
EXP_COEFFICIENTS = (0x39506967, 0x3AB743CE, 0x3C088908, 0x3D2AA9C1, 0x3E2AAAAA, 0x3F000000)
"""Of r^5 .. r^0 in (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2."""

LEAST_NORMAL = 0x00800000  # 2^-126
TWO_23 = 0x4B000000
SQRT_HALF_BITS = 0x3F3504F3
LOG_COEFFICIENTS = (
    0x3D9021BB,
    0xBDEBD1B8,
    0x3DEF251A,
    0xBDFE5D4F,
    0x3E11E9BF,
    0xBE2AAE50,
    0x3E4CCEAC,
    0xBE7FFFFC,
    0x3EAAAAAA,
)
"""Of f^8 .. f^0 in (log(1 + f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f < sqrt(2)."""

TANH_SMALL = 0x3F200000  # 0.625
TANH_COEFFICIENTS = (0xBBBAF0EA, 0x3CA9134E, 0xBD5C1E2D, 0x3E088393, 0xBEAAAA99)
"""Of z^4 .. z^0, z = a^2, in (tanh(a) - a) / a^3 for a < 0.625."""


class VectorOps(Protocol[V]):
    """Lane-wise operations on 32-bit lanes; a handle is f32, i32 or a mask as the operation says.

    f32 operations round to nearest even, each by itself. `minimum`, `maximum` propagate NaN and order -0 below +0.
    A mask is what a comparison gives and only `select` takes. Shifts take a constant 0..31. Integers wrap.
    """

    def constant(self, bits: int) -> V:
        """Every lane has this u32 bit pattern (an f32 or an i32, as it is used)."""

    def add(self, a: V, b: V) -> V: ...
    def sub(self, a: V, b: V) -> V: ...
    def mul(self, a: V, b: V) -> V: ...
    def div(self, a: V, b: V) -> V: ...
    def minimum(self, a: V, b: V) -> V: ...
    def maximum(self, a: V, b: V) -> V: ...
    def nearest(self, a: V) -> V:
        """Round to an integral f32, ties to even."""

    def less(self, a: V, b: V) -> V:
        """f32 a < b as a mask; false when either is NaN."""

    def equal(self, a: V, b: V) -> V:
        """f32 a == b as a mask; false when either is NaN; -0 equals +0."""

    def select(self, mask: V, yes: V, no: V) -> V: ...
    def truncate(self, a: V) -> V:
        """f32 -> i32 toward zero, saturating; NaN gives 0."""

    def convert(self, a: V) -> V:
        """i32 -> f32, round to nearest even."""

    def int_add(self, a: V, b: V) -> V: ...
    def int_sub(self, a: V, b: V) -> V: ...
    def bit_and(self, a: V, b: V) -> V:
        """Bitwise, on f32 or i32 lanes alike; so are `bit_or` and the shifts."""

    def bit_or(self, a: V, b: V) -> V: ...
    def bit_xor(self, a: V, b: V) -> V: ...
    def shift_left(self, a: V, count: int) -> V: ...
    def shift_right(self, a: V, count: int) -> V:
        """Arithmetic: copies of the sign come in from the left."""

    def shift_right_logical(self, a: V, count: int) -> V:
        """Zeros come in from the left."""


def exp(ops: VectorOps[V], x: V) -> V:
    """e^x. exp(-inf) = +0, exp(inf) = inf, exp(NaN) = NaN; subnormal results are rounded twice, not flushed.

    x = n ln 2 + r; e^r by a polynomial; 2^n in two factors, so neither leaves the normal range for -150 <= n <= 128.
    """
    t = ops.minimum(ops.maximum(x, ops.constant(EXP_LOWEST)), ops.constant(EXP_HIGHEST))
    # 1.5 * 2^23 + y has ulp 1 for |y| < 2^22: the addition itself rounds y to an integer, which stands in the low bits
    shifted = ops.add(ops.mul(t, ops.constant(LOG2_E)), ops.constant(INTEGER_SHIFT))
    n = ops.sub(shifted, ops.constant(INTEGER_SHIFT))
    r = ops.sub(t, ops.mul(n, ops.constant(LN2_HIGH)))
    r = ops.sub(r, ops.mul(n, ops.constant(LN2_LOW)))
    p = horner(ops, r, EXP_COEFFICIENTS)
    p = ops.add(ops.add(ops.mul(p, ops.mul(r, r)), r), ops.constant(ONE))
    exponent = ops.int_sub(shifted, ops.constant(INTEGER_SHIFT))
    first = ops.shift_right(exponent, 1)
    second = ops.int_sub(exponent, first)
    return ops.mul(ops.mul(p, power_of_two(ops, first)), power_of_two(ops, second))


def log(ops: VectorOps[V], x: V) -> V:
    """Natural logarithm. log(+-0) = -inf, log(x < 0) = NaN, log(inf) = inf; NaN gives NaN; subnormals are scaled first.

    x = 2^e m with sqrt(1/2) <= m < sqrt(2); log m by a polynomial in m - 1, which is exact.
    """
    tiny = ops.less(x, ops.constant(LEAST_NORMAL))
    scaled = ops.select(tiny, ops.mul(x, ops.constant(TWO_23)), x)
    offset = ops.int_sub(scaled, ops.constant(SQRT_HALF_BITS))
    exponent = ops.convert(ops.shift_right(offset, 23))
    exponent = ops.sub(exponent, ops.select(tiny, ops.constant(0x41B80000), ops.constant(0)))  # 23 or 0
    mantissa = ops.int_add(ops.bit_and(offset, ops.constant(0x007FFFFF)), ops.constant(SQRT_HALF_BITS))
    f = ops.sub(mantissa, ops.constant(ONE))
    z = ops.mul(f, f)
    y = ops.mul(ops.mul(horner(ops, f, LOG_COEFFICIENTS), f), z)
    y = ops.add(y, ops.mul(exponent, ops.constant(LN2_LOW)))
    y = ops.sub(y, ops.mul(z, ops.constant(HALF)))
    y = ops.add(ops.add(f, y), ops.mul(exponent, ops.constant(LN2_HIGH)))
    y = ops.select(ops.less(x, ops.constant(INFINITY)), y, x)
    y = ops.select(ops.less(x, ops.constant(0)), ops.constant(NAN), y)
    return ops.select(ops.equal(x, ops.constant(0)), ops.constant(MINUS_INFINITY), y)


def tanh(ops: VectorOps[V], x: V) -> V:
    """Hyperbolic tangent. Odd to the bit, tanh(-0) = -0, tanh(+-inf) = +-1, NaN gives NaN.

    a = |x|: below 0.625 a polynomial, above it 1 - 2 / (e^(2a) + 1).
    """
    sign = ops.bit_and(x, ops.constant(0x80000000))
    a = ops.bit_and(x, ops.constant(0x7FFFFFFF))
    z = ops.mul(a, a)
    small = ops.add(a, ops.mul(ops.mul(horner(ops, z, TANH_COEFFICIENTS), z), a))
    power = ops.add(exp(ops, ops.add(a, a)), ops.constant(ONE))
    large = ops.sub(ops.constant(ONE), ops.div(ops.constant(TWO), power))
    return ops.bit_or(ops.select(ops.less(a, ops.constant(TANH_SMALL)), small, large), sign)


def sigmoid(ops: VectorOps[V], x: V) -> V:
    """1 / (1 + e^-x), as e^x / (1 + e^x) for x < 0, so that small results keep their accuracy. NaN gives NaN."""
    e = exp(ops, ops.bit_or(x, ops.constant(0x80000000)))  # e^-|x|
    numerator = ops.select(ops.less(x, ops.constant(0)), e, ops.constant(ONE))
    return ops.div(numerator, ops.add(ops.constant(ONE), e))


def horner(ops: VectorOps[V], x: V, coefficients: tuple[int, ...]) -> V:
    """Return (..(c0 x + c1) x + ..) x + c_last: one product and one sum per step, each rounded."""
    value = ops.constant(coefficients[0])
    for bits in coefficients[1:]:
        value = ops.add(ops.mul(value, x), ops.constant(bits))
    return value


def power_of_two(ops: VectorOps[V], exponent: V) -> V:
    """Return 2^exponent as f32 for an i32 in -126..127, by building its bits."""
    return ops.shift_left(ops.int_add(exponent, ops.constant(127)), 23)
