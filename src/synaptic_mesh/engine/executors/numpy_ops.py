"""Elementwise primitives on numpy arrays where numpy's own leave bits open, and `polynomials.VectorOps` over them."""

import numpy as np

from synaptic_mesh.base.arrays import Array


def minimum(a: Array, b: Array) -> Array:
    """Lesser value; NaN if either is NaN; -0 below +0 (numpy's own function leaves the zeros open)."""
    lesser = np.where(np.less(a, b), a, b)
    if lesser.dtype != np.float32:
        return lesser
    lesser = np.where(np.equal(a, b), as_f32(np.bitwise_or(as_i32(a), as_i32(b))), lesser)
    return np.where(np.not_equal(a, a), a, lesser)


def maximum(a: Array, b: Array) -> Array:
    """Greater value; NaN if either is NaN; +0 above -0."""
    greater = np.where(np.greater(a, b), a, b)
    if greater.dtype != np.float32:
        return greater
    greater = np.where(np.equal(a, b), as_f32(np.bitwise_and(as_i32(a), as_i32(b))), greater)
    return np.where(np.not_equal(a, a), a, greater)


def truncate(a: Array) -> Array:
    """f32 -> i32 toward zero; NaN gives 0, values outside saturate."""
    fits = np.logical_and(np.greater_equal(a, np.float32(-(2.0**31))), np.less(a, np.float32(2.0**31)))
    whole = np.where(fits, a, np.float32(0)).astype(np.int32)
    whole = np.where(np.greater_equal(a, np.float32(2.0**31)), np.int32(2**31 - 1), whole)
    return np.where(np.less(a, np.float32(-(2.0**31))), np.int32(-(2**31)), whole)


def as_f32(a: Array) -> Array:
    """The same bits as f32."""
    return np.asarray(a).view(np.float32)


def as_i32(a: Array) -> Array:
    """The same bits as i32."""
    return np.asarray(a).view(np.int32)


def as_u32(a: Array) -> Array:
    """The same bits as u32."""
    return np.asarray(a).view(np.uint32)


class NumpyOps:
    """`polynomials.VectorOps` on numpy arrays; each method reads its operands' bits as the type it works on."""

    def constant(self, bits: int) -> Array:
        """A 0-d array, which broadcasts."""
        return np.array(bits, np.uint32).view(np.float32)

    def add(self, a: Array, b: Array) -> Array:
        """f32 a + b."""
        return np.asarray(np.add(as_f32(a), as_f32(b)))

    def sub(self, a: Array, b: Array) -> Array:
        """f32 a - b."""
        return np.asarray(np.subtract(as_f32(a), as_f32(b)))

    def mul(self, a: Array, b: Array) -> Array:
        """f32 a * b."""
        return np.asarray(np.multiply(as_f32(a), as_f32(b)))

    def div(self, a: Array, b: Array) -> Array:
        """f32 a / b."""
        return np.asarray(np.divide(as_f32(a), as_f32(b)))

    def minimum(self, a: Array, b: Array) -> Array:
        """f32, see `minimum` above."""
        return minimum(as_f32(a), as_f32(b))

    def maximum(self, a: Array, b: Array) -> Array:
        """f32, see `maximum` above."""
        return maximum(as_f32(a), as_f32(b))

    def nearest(self, a: Array) -> Array:
        """To an integral f32, ties to even."""
        return np.asarray(np.rint(as_f32(a)))

    def less(self, a: Array, b: Array) -> Array:
        """f32 a < b."""
        return np.asarray(np.less(as_f32(a), as_f32(b)))

    def equal(self, a: Array, b: Array) -> Array:
        """f32 a == b."""
        return np.asarray(np.equal(as_f32(a), as_f32(b)))

    def select(self, mask: Array, yes: Array, no: Array) -> Array:
        """The bits of `yes` or `no`."""
        return np.where(mask, as_f32(yes), as_f32(no))

    def truncate(self, a: Array) -> Array:
        """See `truncate` above."""
        return truncate(as_f32(a))

    def convert(self, a: Array) -> Array:
        """i32 -> f32, to nearest even."""
        return as_i32(a).astype(np.float32)

    def int_add(self, a: Array, b: Array) -> Array:
        """Wrapping a + b."""
        return np.asarray(np.add(as_i32(a), as_i32(b)))

    def int_sub(self, a: Array, b: Array) -> Array:
        """Wrapping a - b."""
        return np.asarray(np.subtract(as_i32(a), as_i32(b)))

    def bit_and(self, a: Array, b: Array) -> Array:
        """Bitwise and."""
        return np.asarray(np.bitwise_and(as_i32(a), as_i32(b)))

    def bit_or(self, a: Array, b: Array) -> Array:
        """Bitwise or."""
        return np.asarray(np.bitwise_or(as_i32(a), as_i32(b)))

    def bit_xor(self, a: Array, b: Array) -> Array:
        """Bitwise exclusive or."""
        return np.asarray(np.bitwise_xor(as_i32(a), as_i32(b)))

    def shift_left(self, a: Array, count: int) -> Array:
        """Logical."""
        return np.asarray(np.left_shift(as_i32(a), np.int32(count)))

    def shift_right(self, a: Array, count: int) -> Array:
        """Arithmetic."""
        return np.asarray(np.right_shift(as_i32(a), np.int32(count)))

    def shift_right_logical(self, a: Array, count: int) -> Array:
        """Zeros come in from the left."""
        return np.asarray(np.right_shift(as_u32(a), np.uint32(count)))
