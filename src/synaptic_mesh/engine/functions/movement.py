"""Padding, joining, splitting and reversing. Slicing is `tensor[...]`."""

from collections.abc import Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import Attributes, Op, Shape
from synaptic_mesh.engine.rules.rule import OPERANDS_MAX
from synaptic_mesh.engine.trace import Number, Tensor, number_bits


def pad(
    x: Tensor,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int] | None = None,
    value: Number = 0,
) -> Tensor:
    """Put `low` copies of `value` before, `high` behind and `interior` between the elements of each axis.

    Negative `low` or `high` cut elements off instead. Raises LocalError when the counts do not fit the rank.
    """
    inner = tuple(interior or (0,) * len(x.shape))
    if not len(low) == len(high) == len(inner) == len(x.shape) or any(count < 0 for count in inner):
        raise LocalError(
            f"pad of shape {x.shape} needs one count per axis, not low {low}, high {high}, interior {inner}"
        )
    steps = tuple(count + 1 for count in inner)
    spans = tuple(max(extent - 1, 0) * step + min(extent, 1) for extent, step in zip(x.shape, steps, strict=True))
    starts = tuple(max(count, 0) for count in low)
    shape = tuple(start + span + max(count, 0) for start, span, count in zip(starts, spans, high, strict=True))
    wide = place(x, Stride(starts, steps), shape, value)
    if min((*low, *high), default=0) >= 0:
        return wide
    return wide[tuple(slice(max(-a, 0), extent - max(-b, 0)) for a, b, extent in zip(low, high, shape, strict=True))]


def place(x: Tensor, stride: Stride, shape: Shape, value: Number = 0) -> Tensor:
    """A tensor of `shape` full of `value`, with element i of x at start + i * step of each axis."""
    steps = tuple(step if extent > 1 else 1 for step, extent in zip(stride.steps, x.shape, strict=True))
    if shape == x.shape and not any(stride.starts) and all(step == 1 for step in steps):
        return x
    attributes = Attributes(axes=(*stride.starts, *steps), bits=number_bits(value, x.dtype).to_bytes(4, "little"))
    return x.builder.add(Op.PAD, [x], shape, x.dtype, attributes)


def concat(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join tensors that differ in one axis at most. More than 64 are joined in groups."""
    if not parts:
        raise LocalError("concat needs at least one tensor")
    if len(parts) > OPERANDS_MAX:
        groups = [parts[at : at + OPERANDS_MAX] for at in range(0, len(parts), OPERANDS_MAX)]
        return concat([concat(group, axis) for group in groups], axis)
    first = parts[0]
    at = axis_of(first, axis)
    if len(parts) == 1:
        return first
    if any(len(part.shape) != len(first.shape) for part in parts):
        raise LocalError(f"concat of ranks that differ: {[part.shape for part in parts]}")
    shape = (*first.shape[:at], sum(part.shape[at] for part in parts), *first.shape[at + 1 :])
    return first.builder.add(Op.CONCAT, list(parts), shape, first.dtype, Attributes(axes=(at,)))


def stack(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    if not parts:
        raise LocalError("stack needs at least one tensor")
    rank = len(parts[0].shape) + 1
    if not -rank <= axis < rank:
        raise LocalError(f"axis {axis} is no place for a new axis of shape {parts[0].shape}")
    return concat([expand(part, axis % rank) for part in parts], axis % rank)


def split(x: Tensor, sizes: Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut an axis into consecutive parts of these extents. Raises LocalError unless they add up."""
    at = axis_of(x, axis)
    if sum(sizes) != x.shape[at] or any(size < 0 for size in sizes):
        raise LocalError(f"sizes {list(sizes)} do not add up to {x.shape[at]}, axis {at} of {x.shape}")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [narrow(x, at, start, size) for start, size in zip(starts, sizes, strict=True)]


def narrow(x: Tensor, axis: int, start: int, count: int, step: int = 1) -> Tensor:
    """`count` elements of one axis from `start` on, every `step`-th."""
    at = axis_of(x, axis)
    starts = tuple(start if i == at else 0 for i in range(len(x.shape)))
    steps = tuple(step if i == at else 1 for i in range(len(x.shape)))
    return x.strided(starts, steps, (*x.shape[:at], count, *x.shape[at + 1 :]))


def flip(x: Tensor, *axes: int) -> Tensor:
    """Reverse the order of elements along these axes (default: all)."""
    reversed_axes = {axis_of(x, axis) for axis in axes} if axes else set(range(len(x.shape)))
    key = tuple(slice(None, None, -1) if axis in reversed_axes else slice(None) for axis in range(len(x.shape)))
    return x[key]


def expand(x: Tensor, axis: int) -> Tensor:
    """Insert an axis of extent 1 at this position of the result."""
    return x.reshape(*x.shape[:axis], 1, *x.shape[axis:])


def move_axis(x: Tensor, source: int, target: int) -> Tensor:
    """Put one axis elsewhere; the others keep their order."""
    at, to = axis_of(x, source), axis_of(x, target)
    rest = [axis for axis in range(len(x.shape)) if axis != at]
    order = (*rest[:to], at, *rest[to:])
    return x if order == tuple(range(len(order))) else x.transpose(*order)


def axis_of(x: Tensor, axis: int) -> int:
    """Return the axis counted from the first. Raises LocalError when the tensor has no such axis."""
    if not -len(x.shape) <= axis < len(x.shape):
        raise LocalError(f"axis {axis} is not an axis of shape {x.shape}")
    return axis % len(x.shape)
