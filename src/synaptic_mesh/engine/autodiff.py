"""Reverse mode: gradients are more nodes of the same graph.

Gradients of a tensor with several users are added up as `contributions` says. Only tensors on a path from `wrt` to the
loss get gradient nodes. Operations without a row in `pullbacks` (integers, comparisons, rounding, ONE_HOT) and tensors
marked by `stop_gradient` end a path.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.contributions import Contribution, shared_factors, total_gradient
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.pullbacks.table import PULLBACKS
from synaptic_mesh.engine.trace import Builder, Tensor


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
    shared = shared_factors(builder, loss.index, active)
    uses: dict[int, list[Contribution]] = {loss.index: [Contribution(loss.index, 0, builder.constant(1.0))]}
    total: dict[int, Tensor] = {}
    for index in range(loss.index, -1, -1):
        if index in active and index in uses:
            total[index] = total_gradient(Tensor(builder, index), uses.pop(index))
            for operand, contribution in _pull(builder, index, total[index], active, shared):
                uses.setdefault(operand, []).append(contribution)
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


def _pull(
    builder: Builder, index: int, gradient: Tensor, active: set[int], shared: set[int]
) -> Iterator[tuple[int, Contribution]]:
    """Yield what node `index` contributes to its active operands."""
    node = builder.nodes[index]
    if node.op not in PULLBACKS:
        return
    operands = [Tensor(builder, i) for i in node.inputs]
    thunks = PULLBACKS[node.op](Tensor(builder, index), operands, gradient)
    for position, (operand, thunk) in enumerate(zip(node.inputs, thunks, strict=True)):
        if thunk is None or operand not in active:
            continue
        if node.op is Op.SLICE or (operand in shared and position == 1):
            yield operand, Contribution(index, position, gradient, thunk)
        else:
            yield operand, Contribution(index, position, thunk())
