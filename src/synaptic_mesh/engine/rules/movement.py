"""Laws of inputs, constants and of operations that only move elements."""

import itertools
from collections.abc import Sequence

from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import CANONICAL_NAN, NAME_PATTERN, DType, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import NUMERIC, Rule, need, need_axis


def _input(node: Node, _: Sequence[Node]) -> tuple[Shape, DType]:
    name = node.attributes.name
    need(NAME_PATTERN.fullmatch(name) is not None, f"input name {name!r} is not allowed")
    need(node.dtype in NUMERIC, "an input cannot be bool")
    return node.shape, node.dtype


def _constant(node: Node, _: Sequence[Node]) -> tuple[Shape, DType]:
    bits = node.attributes.bits
    need(len(bits) in (4, 4 * node.size), f"{len(bits)} constant bytes do not fill shape {node.shape}")
    need(node.dtype in NUMERIC, "a constant cannot be bool")
    if node.dtype is DType.F32:
        _need_canonical(bits)
    return node.shape, node.dtype


def _need_canonical(bits: bytes) -> None:
    for at in range(0, len(bits), 4):
        magnitude = int.from_bytes(bits[at : at + 4], "little") & 0x7FFFFFFF
        canonical = magnitude <= 0x7F800000 or bits[at : at + 4] == CANONICAL_NAN
        need(canonical, f"NaN at element {at // 4} is not canonical")


def _broadcast(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    axes, source = node.attributes.axes, operands[0]
    need(len(axes) == len(source.shape), f"axes {axes} do not name every axis of {source.shape}")
    need(all(a < b for a, b in itertools.pairwise(axes)), f"axes {axes} are not ascending")
    need(all(0 <= axis < len(node.shape) for axis in axes), f"axes {axes} do not lie in {node.shape}")
    kept = tuple(node.shape[axis] for axis in axes)
    need(kept == source.shape, f"shape {source.shape} does not fit axes {axes} of {node.shape}")
    return node.shape, source.dtype


def _reshape(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    need(node.size == operands[0].size, f"shape {operands[0].shape} has not as many elements as {node.shape}")
    return node.shape, operands[0].dtype


def _transpose(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    axes, shape = node.attributes.axes, operands[0].shape
    need(sorted(axes) == list(range(len(shape))), f"axes {axes} are no permutation of the axes of {shape}")
    return tuple(shape[axis] for axis in axes), operands[0].dtype


def _slice(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    _need_strides(node, node.shape, operands[0].shape)
    return node.shape, operands[0].dtype


def _pad(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    _need_strides(node, operands[0].shape, node.shape)
    need(len(node.attributes.bits) == 4, f"a fill has 4 bytes, not {len(node.attributes.bits)}")
    if operands[0].dtype is DType.F32:
        _need_canonical(node.attributes.bits)
    return node.shape, operands[0].dtype


def _need_strides(node: Node, small: Shape, large: Shape) -> None:
    """On each axis start + i * step, for every i of the small shape, lies in the large one; without two elements there
    is no step to take, and it is 1."""
    rank = len(small)
    need(len(large) == rank, f"ranks of {small} and {large} differ")
    need(len(node.attributes.axes) == 2 * rank, f"axes {node.attributes.axes} are not a start and a step per axis")
    stride = Stride.of(node)
    for axis, (start, step) in enumerate(zip(stride.starts, stride.steps, strict=True)):
        extent, room = small[axis], large[axis]
        need(step != 0 and (step == 1 or extent > 1), f"step {step} on axis {axis} of {extent} elements")
        last = start + max(extent - 1, 0) * step
        highest = room - 1 if extent else room
        need(0 <= start <= highest and 0 <= last <= highest, f"{start} to {last} on axis {axis} is outside {large}")


def _concat(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    first = operands[0]
    axis = need_axis(node, first.shape)
    for other in operands:
        rest = other.shape[:axis] + other.shape[axis + 1 :]
        need(
            len(other.shape) == len(first.shape) and rest == first.shape[:axis] + first.shape[axis + 1 :],
            f"shapes {first.shape} and {other.shape} differ beside axis {axis}",
        )
        need(other.dtype is first.dtype, f"dtypes {first.dtype.value} and {other.dtype.value} differ")
    extent = sum(other.shape[axis] for other in operands)
    return (*first.shape[:axis], extent, *first.shape[axis + 1 :]), first.dtype


MOVEMENT: dict[Op, Rule] = {
    Op.INPUT: Rule(0, (), _input, ("name",)),
    Op.CONSTANT: Rule(0, (), _constant, ("bits",)),
    Op.BROADCAST: Rule(1, NUMERIC, _broadcast, ("axes",)),
    Op.RESHAPE: Rule(1, NUMERIC, _reshape),
    Op.TRANSPOSE: Rule(1, NUMERIC, _transpose, ("axes",)),
    Op.SLICE: Rule(1, NUMERIC, _slice, ("axes",)),
    Op.PAD: Rule(1, NUMERIC, _pad, ("axes", "bits")),
    Op.CONCAT: Rule(None, NUMERIC, _concat, ("axes",)),
}
