"""x^y as a sequence of single-rounding operations, written once for every backend (see `polynomials`).

2^(y log2|x|) with log2|x| as a sum of two f32: an error of 2^-24 in a product up to 150 would be 2^-17 in the result.
Products are made exact by splitting factors into twelve high bits and a rest (T. J. Dekker, "A floating-point technique
for extending the available precision", 1971). Special cases are those of IEEE 754's pow.
"""

from synaptic_mesh.engine.polynomials import (
    EXP_COEFFICIENTS,
    HALF,
    INFINITY,
    LEAST_NORMAL,
    NAN,
    ONE,
    SQRT_HALF_BITS,
    TWO,
    TWO_23,
    V,
    VectorOps,
    horner,
    power_of_two,
)

HIGH_BITS = 0xFFFFF000
"""Twelve significant bits: the product of two such numbers is exact."""
LN2 = 0x3F317218
TWO_OVER_LN2 = 0x4038AA3B
TWO_OVER_LN2_HIGH = 0x4038A000
TWO_OVER_LN2_LOW = 0x3A23B296
ATANH_COEFFICIENTS = (0x3DF17B34, 0x3E121C6C, 0x3E4CCD3D, 0x3EAAAAAA)
"""Of z^3 .. z^0, z = s^2, in (atanh(s) - s) / s^3 for |s| <= 0.1716: a minimax fit, as in `trigonometry`."""
EXPONENT_MOST = 0x53800000  # 2^40: times the least |log2 x|, 2^-24, it is far beyond every exponent
OVERFLOWS = 0x43002000  # 128.125
UNDERFLOWS = 0xC3170000  # -151


def pow(ops: VectorOps[V], x: V, y: V) -> V:  # noqa: A001  (the operation's name, as for the others)
    """x^y. x^0 = 1 and 1^y = 1 even for NaN; a negative x needs an integral y, else NaN; 0^y and inf^y by y's sign.

    Overflow gives infinity, underflow zero; subnormal results are rounded twice, not flushed.
    """
    a = ops.bit_and(x, ops.constant(0x7FFFFFFF))
    t = ops.minimum(ops.maximum(y, ops.constant(EXPONENT_MOST | 0x80000000)), ops.constant(EXPONENT_MOST))
    high, low = _log2(ops, a)
    t_high, t_low = _split(ops, t)
    head = ops.mul(t_high, high)
    tail = ops.add(ops.mul(t_low, high), ops.mul(t, low))
    return _special(ops, x, y, _exp2(ops, head, tail))


def _split(ops: VectorOps[V], value: V) -> tuple[V, V]:
    """Return twelve high bits and the exact rest."""
    high = ops.bit_and(value, ops.constant(HIGH_BITS))
    return high, ops.sub(value, high)


def _log2(ops: VectorOps[V], a: V) -> tuple[V, V]:
    """Return log2 of a positive finite a as (twelve bits, rest): a = 2^e m, s = f / (2 + f) with f = m - 1, and
    log2 m = 2/ln 2 (s + s^3 P(s^2))."""
    tiny = ops.less(a, ops.constant(LEAST_NORMAL))
    scaled = ops.select(tiny, ops.mul(a, ops.constant(TWO_23)), a)
    offset = ops.int_sub(scaled, ops.constant(SQRT_HALF_BITS))
    exponent = ops.convert(ops.shift_right(offset, 23))
    exponent = ops.sub(exponent, ops.select(tiny, ops.constant(0x41B80000), ops.constant(0)))  # 23 or 0
    mantissa = ops.int_add(ops.bit_and(offset, ops.constant(0x007FFFFF)), ops.constant(SQRT_HALF_BITS))
    s_high, s_low = _ratio(ops, ops.sub(mantissa, ops.constant(ONE)))
    s = ops.add(s_high, s_low)
    z = ops.mul(s, s)
    cube = ops.mul(ops.mul(horner(ops, z, ATANH_COEFFICIENTS), z), s)
    sum_high = ops.bit_and(ops.add(s_high, ops.add(s_low, cube)), ops.constant(HIGH_BITS))
    sum_low = ops.add(ops.add(ops.sub(s_high, sum_high), cube), s_low)
    head = ops.mul(sum_high, ops.constant(TWO_OVER_LN2_HIGH))
    tail = ops.mul(sum_high, ops.constant(TWO_OVER_LN2_LOW))
    tail = ops.add(tail, ops.mul(sum_low, ops.constant(TWO_OVER_LN2)))
    total = ops.add(exponent, head)
    rest = ops.add(ops.sub(head, ops.sub(total, exponent)), tail)
    high, low = _split(ops, total)
    return high, ops.add(low, rest)


def _ratio(ops: VectorOps[V], f: V) -> tuple[V, V]:
    """Return f / (2 + f) as (twelve bits, rest): the rest is what remains of f, divided again."""
    d = ops.add(f, ops.constant(TWO))
    d_lost = ops.sub(f, ops.sub(d, ops.constant(TWO)))
    high = ops.bit_and(ops.div(f, d), ops.constant(HIGH_BITS))
    d_high, d_low = _split(ops, d)
    rest = ops.sub(ops.sub(f, ops.mul(high, d_high)), ops.mul(high, d_low))
    rest = ops.sub(rest, ops.mul(high, d_lost))
    return high, ops.div(rest, d)


def _exp2(ops: VectorOps[V], head: V, tail: V) -> V:
    """Return 2^(head + tail): n to nearest, e^(r ln 2) by exp's polynomial, 2^n in two factors."""
    whole = ops.add(head, tail)
    n = ops.nearest(ops.minimum(ops.maximum(whole, ops.constant(UNDERFLOWS)), ops.constant(OVERFLOWS)))
    r = ops.mul(ops.add(ops.sub(head, n), tail), ops.constant(LN2))
    p = ops.add(ops.add(ops.mul(horner(ops, r, EXP_COEFFICIENTS), ops.mul(r, r)), r), ops.constant(ONE))
    exponent = ops.truncate(n)
    first = ops.shift_right(exponent, 1)
    second = ops.int_sub(exponent, first)
    power = ops.mul(ops.mul(p, power_of_two(ops, first)), power_of_two(ops, second))
    power = ops.select(ops.less(whole, ops.constant(OVERFLOWS)), power, ops.constant(INFINITY))
    return ops.select(ops.less(whole, ops.constant(UNDERFLOWS)), ops.constant(0), power)


def _special(ops: VectorOps[V], x: V, y: V, power: V) -> V:
    """Put sign, zeros, infinities, NaN and ones over the magnitude |x|^y."""
    a = ops.bit_and(x, ops.constant(0x7FFFFFFF))
    zero, infinity, nan = ops.constant(0), ops.constant(INFINITY), ops.constant(NAN)
    falls = ops.less(y, zero)
    power = ops.select(ops.equal(a, zero), ops.select(falls, infinity, zero), power)
    power = ops.select(ops.equal(a, infinity), ops.select(falls, zero, infinity), power)
    half = ops.mul(y, ops.constant(HALF))
    is_odd = ops.select(ops.equal(half, ops.nearest(half)), zero, ops.constant(0x80000000))
    is_whole = ops.equal(y, ops.nearest(y))
    sign = ops.select(is_whole, ops.bit_and(x, is_odd), zero)
    undefined = ops.select(is_whole, power, nan)
    undefined = ops.select(ops.equal(a, infinity), power, undefined)
    power = ops.select(ops.less(x, zero), undefined, power)
    power = ops.bit_or(power, sign)
    power = ops.select(ops.equal(x, x), power, nan)
    power = ops.select(ops.equal(y, y), power, nan)
    power = ops.select(ops.equal(x, ops.constant(ONE)), ops.constant(ONE), power)
    return ops.select(ops.equal(y, zero), ops.constant(ONE), power)
