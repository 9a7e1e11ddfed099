"""Reductions, running sums and rankings along one axis: sums run in the written order."""

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine import polynomials
from synaptic_mesh.engine.executors.executor import Executor
from synaptic_mesh.engine.executors.numpy_ops import as_f32, as_i32
from synaptic_mesh.engine.ir import Node, Op

PARTIALS = 16
"""Interleaved partial sums of a reduction over the last axis (semantics rule 3)."""


def _reduce_sum(node: Node, a: Array) -> Array:
    axis = node.attributes.axes[0]
    return sum_interleaved(a) if axis == a.ndim - 1 else sum_ascending(a, axis)


def sum_interleaved(a: Array) -> Array:
    """Sum over the last axis: element i goes to partial i mod 16, ascending, from +0; then the tree 8-4-2-1.

    A partial is never -0 (it starts at +0), so a schedule may pad the axis with +0 up to a multiple of 16.
    """
    extent = a.shape[-1]
    partials = np.zeros((*a.shape[:-1], PARTIALS), a.dtype)
    for start in range(0, extent, PARTIALS):
        width = min(PARTIALS, extent - start)
        head = partials[..., :width]
        np.add(head, a[..., start : start + width], out=head)
    width = PARTIALS
    while width > 1:
        width //= 2
        partials = np.add(partials[..., :width], partials[..., width : 2 * width])
    return np.asarray(partials[..., 0])


def sum_ascending(a: Array, axis: int) -> Array:
    """Sum over an axis that is not the last: one accumulator per kept element, from +0, k ascending."""
    total = np.zeros(a.shape[:axis] + a.shape[axis + 1 :], a.dtype)
    for k in range(a.shape[axis]):
        np.add(total, a[(slice(None),) * axis + (k,)], out=total)
    return total


def _order_keys(a: Array) -> Array:
    """Map f32 to i32 so that integer order is numeric order with -0 below +0. NaN goes above everything."""
    bits = as_i32(a)
    keys = np.bitwise_xor(bits, np.bitwise_and(np.right_shift(bits, np.int32(31)), np.int32(0x7FFFFFFF)))
    return np.where(np.not_equal(a, a), np.int32(0x7FC00000), keys)


def _reduce_max(node: Node, a: Array) -> Array:
    """Greatest element, -inf of none. Max is associative and commutative, NaN on top: any order gives these bits."""
    empty = np.array(polynomials.MINUS_INFINITY, np.uint32).view(np.float32)
    keys = np.asarray(_order_keys(a).max(axis=node.attributes.axes[0], initial=int(_order_keys(empty))))
    return as_f32(np.bitwise_xor(keys, np.bitwise_and(np.right_shift(keys, np.int32(31)), np.int32(0x7FFFFFFF))))


def _argmax(node: Node, a: Array) -> Array:
    keys = _order_keys(np.add(a, np.float32(0)))  # -0 + 0 = +0: zeros tie
    return np.asarray(keys.argmax(axis=node.attributes.axes[0])).astype(np.int32)


def _cumsum(node: Node, a: Array) -> Array:
    """Running sum from +0, k ascending."""
    axis = node.attributes.axes[0]
    total = np.zeros(a.shape[:axis] + a.shape[axis + 1 :], a.dtype)
    out = np.empty_like(a)
    for k in range(a.shape[axis]):
        at = (slice(None),) * axis + (k,)
        np.add(total, a[at], out=total)
        out[at] = total
    return out


def _top_k(node: Node, a: Array) -> Array:
    """Indices by falling value, equal values by rising index; NaN first, zeros of both signs equal."""
    axis = node.attributes.axes[0]
    keys = _order_keys(np.add(a, np.float32(0)))  # -0 + 0 = +0: zeros tie
    order = np.argsort(np.bitwise_not(keys), axis=axis, kind="stable")  # ~key = -1 - key falls as key rises
    kept = (slice(None),) * axis + (slice(node.shape[axis]),)
    return np.ascontiguousarray(order[kept]).astype(np.int32)


ORDER: dict[Op, Executor] = {
    Op.REDUCE_SUM: _reduce_sum,
    Op.REDUCE_MAX: _reduce_max,
    Op.ARGMAX: _argmax,
    Op.CUMSUM: _cumsum,
    Op.TOP_K: _top_k,
}
