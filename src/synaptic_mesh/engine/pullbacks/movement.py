"""Gradients of operations that only move elements: the inverse movement."""

from collections.abc import Sequence
from functools import partial

from synaptic_mesh.engine.functions.movement import narrow, place
from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.pullbacks.pullback import Pullback, Thunk
from synaptic_mesh.engine.trace import Tensor


def _broadcast(y: Tensor, _: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """Sum over the new axes, the last first."""

    def pull() -> Tensor:
        total = g
        for axis in reversed(range(len(g.shape))):
            if axis not in y.node.attributes.axes:
                total = total.sum(axis)
        return total

    return [pull]


def _transpose(y: Tensor, _: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    axes = y.node.attributes.axes
    return [lambda: g.transpose(*(axes.index(i) for i in range(len(axes)))) if axes else g]


def _slice(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    return [lambda: place(g, Stride.of(y.node), o[0].shape)]


def _pad(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    stride = Stride.of(y.node)
    return [lambda: g.strided(stride.starts, stride.steps, o[0].shape)]


def _concat(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    axis = y.node.attributes.axes[0]
    extents = [part.shape[axis] for part in o]

    def part(i: int) -> Tensor:
        return narrow(g, axis, sum(extents[:i]), extents[i])

    return [partial(part, i) for i in range(len(o))]


MOVEMENT: dict[Op, Pullback] = {
    Op.BROADCAST: _broadcast,
    Op.RESHAPE: lambda _, o, g: [lambda: g.reshape(*o[0].shape)],
    Op.TRANSPOSE: _transpose,
    Op.SLICE: _slice,
    Op.PAD: _pad,
    Op.CONCAT: _concat,
}
