"""Reverse mode: gradients are more nodes of the same graph.

Gradients of a tensor with several users are added in the order of use: by consuming node, then by operand position,
from the left (semantics rule 11); one whose only uses are slices that cut an axis into consecutive parts gets the
concatenation of their gradients instead. Only tensors on a path from `wrt` to the loss get gradient nodes. Operations
without a row in `pullbacks` (integers, comparisons, rounding, ONE_HOT) and tensors marked by `stop_gradient` end it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import concat, place
from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.pullbacks.table import PULLBACKS
from synaptic_mesh.engine.trace import Builder, Tensor


class Contribution(NamedTuple):
    """What one use of a tensor adds to its gradient. Of a SLICE it is the part's gradient, not yet put in its place."""

    user: int
    position: int
    gradient: Tensor


def value_and_grad(
    function: Callable[..., Tensor],
) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """Return a function of the same arguments that returns (loss, gradients by name of the first argument's tensors).

    The first argument is a mapping of name -> Tensor (the parameters); the loss is an f32 scalar.
    """

    def wrapped(parameters: Mapping[str, Tensor], *rest: object) -> tuple[Tensor, dict[str, Tensor]]:
        loss = function(parameters, *rest)
        found = gradients(loss, list(parameters.values()))
        return loss, dict(zip(parameters, found, strict=True))

    return wrapped


def gradients(loss: Tensor, wrt: Sequence[Tensor]) -> list[Tensor]:
    """Return d loss / d t for every t of `wrt`, of t's shape; +0 where the loss does not depend on t.

    Raises LocalError unless `loss` is an f32 scalar and every t is an f32 tensor of the same trace.
    """
    if loss.shape != () or loss.dtype is not DType.F32:
        raise LocalError(f"only an f32 scalar can be differentiated, not {loss.dtype.value} {loss.shape}: sum it first")
    for tensor in wrt:
        if tensor.dtype is not DType.F32 or tensor.builder is not loss.builder:
            raise LocalError(f"cannot differentiate with respect to {tensor!r}: it must be f32, of the loss's trace")
    builder = loss.builder
    active = _active(builder, loss.index, {tensor.index for tensor in wrt})
    uses: dict[int, list[Contribution]] = {loss.index: [Contribution(loss.index, 0, builder.constant(1.0))]}
    total: dict[int, Tensor] = {}
    for index in range(loss.index, -1, -1):
        if index in active and index in uses:
            total[index] = _total(Tensor(builder, index), sorted(uses.pop(index), key=lambda use: use[:2]))
            _pull(builder, index, total[index], active, uses)
    return [total[t.index] if t.index in total else builder.constant(0.0, t.shape) for t in wrt]


def _active(builder: Builder, last: int, wrt: set[int]) -> set[int]:
    """Return the nodes up to `last` that depend on `wrt` differentiably."""
    active: set[int] = set()
    for index, node in enumerate(builder.nodes[: last + 1]):
        if index in wrt:
            active.add(index)
        elif index in builder.stopped or node.op not in PULLBACKS:
            continue
        elif any(i in active for i in node.inputs):
            active.add(index)
    return active


def _total(x: Tensor, uses: list[Contribution]) -> Tensor:
    """Return the gradient of x from its uses, which are in order."""
    axis = _cut_axis(x, uses)
    if axis is not None:
        return concat([use.gradient for use in sorted(uses, key=lambda use: _start(x, use, axis))], axis)
    terms = [_placed(x, use) for use in uses]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _is_slice(x: Tensor, use: Contribution) -> bool:
    return x.builder.nodes[use.user].op is Op.SLICE and use.user != x.index


def _start(x: Tensor, use: Contribution, axis: int) -> int:
    return Stride.of(x.builder.nodes[use.user]).starts[axis]


def _placed(x: Tensor, use: Contribution) -> Tensor:
    """Return a contribution of x's shape."""
    return place(use.gradient, Stride.of(x.builder.nodes[use.user]), x.shape) if _is_slice(x, use) else use.gradient


def _cut_axis(x: Tensor, uses: list[Contribution]) -> int | None:
    """Return the axis that the uses cut into consecutive parts, each element in one part; None if they do not."""
    if len(uses) < 2 or not all(_is_slice(x, use) for use in uses):
        return None
    strides = [Stride.of(x.builder.nodes[use.user]) for use in uses]
    cut = [axis for axis, extent in enumerate(x.shape) if any(use.gradient.shape[axis] != extent for use in uses)]
    if len(cut) != 1 or any(set(stride.steps) != {1} for stride in strides):
        return None
    (axis,) = cut
    at = 0
    for start, count in sorted((_start(x, use, axis), use.gradient.shape[axis]) for use in uses):
        if start != at:
            return None
        at = start + count
    return axis if at == x.shape[axis] else None


def _pull(
    builder: Builder,
    index: int,
    gradient: Tensor,
    active: set[int],
    uses: dict[int, list[Contribution]],
) -> None:
    """Add the contributions of node `index` to its active operands."""
    node = builder.nodes[index]
    if node.op not in PULLBACKS or not any(i in active for i in node.inputs):
        return
    if node.op is Op.SLICE:
        uses.setdefault(node.inputs[0], []).append(Contribution(index, 0, gradient))
        return
    operands = [Tensor(builder, i) for i in node.inputs]
    thunks = PULLBACKS[node.op](Tensor(builder, index), operands, gradient)
    for position, (operand, thunk) in enumerate(zip(node.inputs, thunks, strict=True)):
        if thunk is not None and operand in active:
            uses.setdefault(operand, []).append(Contribution(index, position, thunk()))
