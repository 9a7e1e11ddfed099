"""Operations that move bits and compute nothing."""

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.executors.executor import Executor
from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import Node, Op
from synaptic_mesh.engine.trace import NUMPY_DTYPES


def _broadcast(node: Node, a: Array) -> Array:
    extents = [1] * len(node.shape)
    for axis, extent in zip(node.attributes.axes, a.shape, strict=True):
        extents[axis] = extent
    return np.broadcast_to(a.reshape(extents), node.shape)


def _transpose(node: Node, a: Array) -> Array:
    return np.ascontiguousarray(a.transpose(node.attributes.axes)).reshape(node.shape)


def _positions(node: Node, extents: tuple[int, ...]) -> tuple[Array, ...]:
    """Return on each axis the positions start + i * step, shaped to broadcast against the other axes."""
    stride = Stride.of(node)
    lines = (
        start + step * np.arange(extent)
        for start, step, extent in zip(stride.starts, stride.steps, extents, strict=True)
    )
    return np.ix_(*lines) if extents else ()


def _slice(node: Node, a: Array) -> Array:
    return np.asarray(a[_positions(node, node.shape)])


def _pad(node: Node, a: Array) -> Array:
    fill = np.frombuffer(node.attributes.bits, NUMPY_DTYPES[node.dtype])[0]
    out = np.full(node.shape, fill, NUMPY_DTYPES[node.dtype])
    out[_positions(node, a.shape)] = a
    return out


MOVEMENT: dict[Op, Executor] = {
    Op.BROADCAST: _broadcast,
    Op.RESHAPE: lambda node, a: np.ascontiguousarray(a).reshape(node.shape),
    Op.TRANSPOSE: _transpose,
    Op.SLICE: _slice,
    Op.PAD: _pad,
    Op.CONCAT: lambda node, *parts: np.concatenate(parts, axis=node.attributes.axes[0]),
}
