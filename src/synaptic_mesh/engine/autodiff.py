"""Reverse mode: gradients are more nodes of the same graph.

Gradients of a tensor with several users are added up as `contributions` says. Only tensors on a path from `wrt` to the
loss get gradient nodes. Another SCAN goes back through a SCAN (`differentiate_scan`). Other operations without a row in
`pullbacks` (integers, comparisons, rounding, ONE_HOT) and tensors marked by `stop_gradient` end a path.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.contributions import Contribution, shared_factors, total_gradient
from synaptic_mesh.engine.differentiate_scan import scan_contributions
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.pullbacks.table import PULLBACKS
from synaptic_mesh.engine.trace import Builder, Tensor

SEED = 1 << 62
"""Stands for the user of a tensor that is differentiated: after every node."""


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
    active = depending(builder, loss.index, {tensor.index for tensor in wrt})
    back = Reverse(builder, loss.index, active)
    back.run([(loss, builder.constant(1.0))])
    return [back.total[t.index] if t.index in back.total else builder.constant(0.0, t.shape) for t in wrt]


class Reverse:
    """One way back through a graph, from node `last`. What reaches the nodes of `kept` is not added up: `uses` holds it
    afterwards, and contributions that rule 3 of `contributions` may join are not built there."""

    def __init__(self, builder: Builder, last: int, active: set[int], kept: frozenset[int] = frozenset()) -> None:
        self.builder = builder
        self.last = last
        self.active = active
        self.kept = kept
        self.uses: dict[int, list[Contribution]] = {}
        self.total: dict[int, Tensor] = {}

    def run(self, seeds: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Go back from tensors and their gradients, which count as uses after all others, in this order."""
        builder, active = self.builder, self.active
        shared = shared_factors(builder, self.last, active, self.kept)
        for position, (tensor, gradient) in enumerate(seeds):
            self.uses.setdefault(tensor.index, []).append(Contribution(SEED, position, gradient))
        for index in range(self.last, -1, -1):
            if index in active and index in self.uses and index not in self.kept:
                found: Iterable[tuple[int, Contribution]]
                if builder.nodes[index].op is Op.SCAN:
                    found = scan_contributions(builder, index, self.uses.pop(index), active, depending, back_through)
                else:
                    self.total[index] = total_gradient(Tensor(builder, index), self.uses.pop(index))
                    found = _pull(builder, index, self.total[index], active, shared)
                for operand, contribution in found:
                    self.uses.setdefault(operand, []).append(contribution)


def back_through(
    builder: Builder, seeds: Sequence[tuple[Tensor, Tensor]], active: set[int], kept: frozenset[int]
) -> tuple[dict[int, Tensor], dict[int, list[Contribution]]]:
    """Go back from several tensors at once; return the gradients and the uses of `kept`, by node."""
    back = Reverse(builder, max(tensor.index for tensor, _ in seeds), active, kept)
    back.run(seeds)
    return back.total, back.uses


def depending(builder: Builder, last: int, wrt: set[int]) -> set[int]:
    """Return the nodes up to `last` that depend on `wrt` differentiably."""
    active: set[int] = set()
    for index, node in enumerate(builder.nodes[: last + 1]):
        if index in wrt:
            active.add(index)
        elif index in builder.stopped or (node.op not in PULLBACKS and node.op is not Op.SCAN):
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
