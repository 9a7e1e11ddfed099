"""sin, cos and erf as sequences of single-rounding operations, written once for every backend (see `polynomials`).

sin and cos reduce the argument by multiples of pi/2 in four parts (W. J. Cody and W. Waite, "Software Manual for the
Elementary Functions", 1980): the first three have nine bits, so their products with n <= 2^15 are exact. The
polynomials on [-pi/4, pi/4] are those of S. L. Moshier's Cephes (sinf, cosf). erf's coefficients are a weighted minimax
fit of a rational function (Lawson's iteration in binary64), rounded to f32.
"""

from synaptic_mesh.engine.polynomials import NAN, ONE, V, VectorOps, horner

TWO_OVER_PI = 0x3F22F983
PI_HALVES = (0x3FC90000, 0x39FD8000, 0x34A88000, 0x2E85A309)
"""pi/2 as a sum, greatest first."""
ANGLE_BEYOND = 0x47000001
"""The number after 32768: from here on the result is NaN, because n has more than 15 bits."""
SIN_COEFFICIENTS = (0xB94CA1F9, 0x3C08839E, 0xBE2AAAA3)
"""Of z^2 .. z^0, z = r^2, in (sin(r) - r) / r^3."""
COS_COEFFICIENTS = (0x37CCF5CE, 0xBAB6061A, 0x3D2AAAA5)
"""Of z^2 .. z^0, z = r^2, in (cos(r) - 1 + z/2) / z^2."""

ERF_GREATEST = 0x40800000  # 4: 1 - erf(4) is under a quarter of an ulp
ERF_NUMERATOR = (0x36055107, 0x39952D81, 0x3B7E7820, 0x3D597FC0, 0x3E462EBB, 0x3F906EBA)
ERF_DENOMINATOR = (0x381CEF6B, 0x3A9B6013, 0x3C792438, 0x3DEC3AD0, 0x3F013DE7, 0x3F800000)
"""Of z^5 .. z^0, z = x^2, in erf(x) / x = P(z) / Q(z) for |x| <= 4."""


def sin(ops: VectorOps[V], x: V) -> V:
    """Sine. Odd to the bit, sin(-0) = -0; NaN for NaN, infinities and |x| > 32768."""
    a = ops.bit_and(x, ops.constant(0x7FFFFFFF))
    r, quadrant = _reduce(ops, a)
    y = _quarter_turns(ops, r, quadrant)
    return ops.bit_xor(_inside(ops, a, y), ops.bit_and(x, ops.constant(0x80000000)))


def cos(ops: VectorOps[V], x: V) -> V:
    """Cosine. Even to the bit; NaN for NaN, infinities and |x| > 32768."""
    a = ops.bit_and(x, ops.constant(0x7FFFFFFF))
    r, quadrant = _reduce(ops, a)
    return _inside(ops, a, _quarter_turns(ops, r, ops.int_add(quadrant, ops.constant(1))))


def _reduce(ops: VectorOps[V], a: V) -> tuple[V, V]:
    """Return r in about [-pi/4, pi/4] and n (i32) with a = n pi/2 + r."""
    n = ops.nearest(ops.mul(a, ops.constant(TWO_OVER_PI)))
    r = a
    for part in PI_HALVES:
        r = ops.sub(r, ops.mul(n, ops.constant(part)))
    return r, ops.truncate(n)


def _quarter_turns(ops: VectorOps[V], r: V, quadrant: V) -> V:
    """Return sin(r + quadrant pi/2): the cosine's polynomial for odd quadrants, negated where bit 1 is set."""
    z = ops.mul(r, r)
    sine = ops.add(ops.mul(ops.mul(horner(ops, z, SIN_COEFFICIENTS), z), r), r)
    cosine = ops.mul(ops.mul(horner(ops, z, COS_COEFFICIENTS), z), z)
    cosine = ops.add(ops.sub(cosine, ops.mul(z, ops.constant(0x3F000000))), ops.constant(ONE))
    is_even = ops.equal(ops.convert(ops.bit_and(quadrant, ops.constant(1))), ops.constant(0))
    sign = ops.shift_left(ops.bit_and(quadrant, ops.constant(2)), 30)
    return ops.bit_xor(ops.select(is_even, sine, cosine), sign)


def _inside(ops: VectorOps[V], a: V, y: V) -> V:
    return ops.select(ops.less(a, ops.constant(ANGLE_BEYOND)), y, ops.constant(NAN))


def erf(ops: VectorOps[V], x: V) -> V:
    """2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x. Odd to the bit, erf(+-inf) = +-1, NaN gives NaN.

    One quotient of polynomials for all x: half the operations of a method with an exponential for large x, for which
    the last three bits near 1 are given away.
    """
    a = ops.minimum(ops.maximum(x, ops.constant(ERF_GREATEST | 0x80000000)), ops.constant(ERF_GREATEST))
    z = ops.mul(a, a)
    y = ops.div(ops.mul(horner(ops, z, ERF_NUMERATOR), a), horner(ops, z, ERF_DENOMINATOR))
    return ops.minimum(ops.maximum(y, ops.constant(ONE | 0x80000000)), ops.constant(ONE))
