"""Picking elements by index and adding elements at an index. An index out of range makes the step invalid."""

import math

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import axis_of, move_axis
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.trace import Tensor, gather, one_hot, where


def embedding(table: Tensor, index: Tensor) -> Tensor:
    """Rows of `table` (rows, width) at i32 indices of any shape: index.shape + (width,)."""
    return take(table, index, 0)


def take(x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """Slices of x at i32 indices along one axis, which the index's axes replace (numpy's take, ONNX's Gather)."""
    at = axis_of(x, axis)
    rows = move_axis(x, at, 0)
    rest = rows.shape[1:]
    flat = gather(rows.reshape(rows.shape[0], math.prod(rest)), index.reshape(math.prod(index.shape)))
    whole = flat.reshape(*index.shape, *rest)
    lead = len(index.shape)
    order = (*range(lead, lead + at), *range(lead), *range(lead + at, len(whole.shape)))
    return whole if order == tuple(range(len(order))) else whole.transpose(*order)


def gather_last(x: Tensor, index: Tensor) -> Tensor:
    """out[..., j] = x[..., index[..., j]]; leading axes are equal."""
    return x.builder.add(Op.GATHER_LAST, [x, index], index.shape, x.dtype)


def scatter_add_last(updates: Tensor, index: Tensor, extent: int) -> Tensor:
    """From +0, out[..., index[..., j]] += updates[..., j], j ascending; the last axis of the result has `extent`."""
    return updates.builder.add(Op.SCATTER_ADD_LAST, [updates, index], (*index.shape[:-1], extent), updates.dtype)


def gather_along(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """As `gather_last` along another axis (numpy's take_along_axis, ONNX's GatherElements)."""
    at = axis_of(x, axis)
    picked = gather_last(move_axis(x, at, -1), move_axis(index, at, -1))
    return move_axis(picked, -1, at)


def scatter_add_along(updates: Tensor, index: Tensor, axis: int, extent: int) -> Tensor:
    """As `scatter_add_last` along another axis."""
    at = axis_of(updates, axis)
    added = scatter_add_last(move_axis(updates, at, -1), move_axis(index, at, -1), extent)
    return move_axis(added, -1, at)


def scatter_along(x: Tensor, updates: Tensor, index: Tensor, axis: int) -> Tensor:
    """x with `updates` put at i32 indices of one axis (ONNX's ScatterElements); indices along the axis are distinct.

    Where an index repeats, the sum of its updates stands there.
    """
    at = axis_of(x, axis)
    ones = updates.builder.constant(1.0, updates.shape)
    hits = scatter_add_along(ones, index, at, x.shape[at])
    return where(hits > 0.0, scatter_add_along(updates, index, at, x.shape[at]), x)


def one_hot_along(index: Tensor, classes: int, axis: int = -1) -> Tensor:
    """f32 with a new axis of `classes` at this place of the result: 1 at the index, else +0."""
    rank = len(index.shape) + 1
    if index.dtype is not DType.I32 or not -rank <= axis < rank:
        raise LocalError(f"one_hot takes i32 indices and an axis of rank {rank}, not {index.dtype.value} and {axis}")
    return move_axis(one_hot(index, classes), -1, axis % rank)
