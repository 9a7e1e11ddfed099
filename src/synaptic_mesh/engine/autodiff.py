"""Reverse mode: gradients are more nodes of the same graph.

Gradients of a tensor with several users are added in the order of use: by consuming node, then by operand position,
from the left (semantics rule 11). Only tensors on a path from `wrt` to the loss get gradient nodes. Integers, bools,
FLOOR, ONE_HOT and tensors marked by `stop_gradient` end a path.
"""

from collections.abc import Callable, Mapping, Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.trace import Builder, Tensor, gather, matmul, scatter_add, where

Thunk = Callable[[], Tensor]
Pullback = Callable[[Tensor, list[Tensor], Tensor], Sequence[Thunk | None]]
"""(result, operands, gradient of the result) -> for each operand how to build its contribution, or None."""


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
    uses: dict[int, list[tuple[int, int, Tensor]]] = {loss.index: [(loss.index, 0, builder.constant(1.0))]}
    total: dict[int, Tensor] = {}
    for index in range(loss.index, -1, -1):
        if index in active and index in uses:
            total[index] = _sum_in_order(uses.pop(index))
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


def _sum_in_order(contributions: list[tuple[int, int, Tensor]]) -> Tensor:
    ordered = sorted(contributions, key=lambda entry: entry[:2])
    total = ordered[0][2]
    for _, _, term in ordered[1:]:
        total = total + term
    return total


def _pull(
    builder: Builder,
    index: int,
    gradient: Tensor,
    active: set[int],
    uses: dict[int, list[tuple[int, int, Tensor]]],
) -> None:
    """Add the contributions of node `index` to its active operands."""
    node = builder.nodes[index]
    if node.op not in PULLBACKS or not any(i in active for i in node.inputs):
        return
    operands = [Tensor(builder, i) for i in node.inputs]
    thunks = PULLBACKS[node.op](Tensor(builder, index), operands, gradient)
    for position, (operand, thunk) in enumerate(zip(node.inputs, thunks, strict=True)):
        if thunk is not None and operand in active:
            uses.setdefault(operand, []).append((index, position, thunk()))


# --- one pullback per differentiable operation; y: result, o: operands, g: gradient of the result ---------------------


def _abs(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    return [lambda: where(o[0] > 0.0, g, where(o[0] < 0.0, -g, 0.0))]


def _min(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """All to the lesser; a tie goes to the second operand."""
    return [lambda: where(o[0] < o[1], g, 0.0), lambda: where(o[0] < o[1], 0.0, g)]


def _max(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """All to the greater; a tie goes to the second operand, so relu = max(x, 0) has gradient 0 at 0."""
    return [lambda: where(o[1] < o[0], g, 0.0), lambda: where(o[1] < o[0], 0.0, g)]


def _select(_: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk | None]:
    return [None, lambda: where(o[0], g, 0.0), lambda: where(o[0], 0.0, g)]


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


def _reduce_sum(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    return [lambda: _restore(y, o[0], g)]


def _reduce_max(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """Shared evenly by the elements that equal the maximum."""

    def pull() -> Tensor:
        is_max = o[0] == _restore(y, o[0], y)
        count = where(is_max, 1.0, 0.0).sum(y.node.attributes.axes[0])
        return where(is_max, _restore(y, o[0], g / count), 0.0)

    return [pull]


def _restore(y: Tensor, operand: Tensor, reduced: Tensor) -> Tensor:
    """Repeat a reduced tensor along the axis that `y` removed."""
    axis = y.node.attributes.axes[0]
    return reduced.repeat(axis, operand.shape[axis])


def _matmul(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """dA = G B^T and dB = A^T G, each in its operand's stored orientation, so nothing is transposed in memory."""
    a, b = o
    left, right = y.node.attributes.transpose_left, y.node.attributes.transpose_right

    def pull_a() -> Tensor:
        if left:
            return matmul(b, g, transpose_left=right, transpose_right=True)
        return matmul(g, b, transpose_right=not right)

    def pull_b() -> Tensor:
        if right:
            return matmul(g, a, transpose_left=True, transpose_right=left)
        return matmul(a, g, transpose_left=not left)

    return [pull_a, pull_b]


PULLBACKS: dict[Op, Pullback] = {
    Op.NEG: lambda _, _o, g: [lambda: -g],
    Op.ABS: _abs,
    Op.SQRT: lambda y, _o, g: [lambda: g / (y + y)],
    Op.EXP: lambda y, _o, g: [lambda: g * y],
    Op.LOG: lambda _, o, g: [lambda: g / o[0]],
    Op.TANH: lambda y, _o, g: [lambda: g * (1.0 - y * y)],
    Op.SIGMOID: lambda y, _o, g: [lambda: g * (y * (1.0 - y))],
    Op.ADD: lambda _, _o, g: [lambda: g, lambda: g],
    Op.SUB: lambda _, _o, g: [lambda: g, lambda: -g],
    Op.MUL: lambda _, o, g: [lambda: g * o[1], lambda: g * o[0]],
    Op.DIV: lambda y, o, g: [lambda: g / o[1], lambda: -((g * y) / o[1])],
    Op.MIN: _min,
    Op.MAX: _max,
    Op.SELECT: _select,
    Op.BROADCAST: _broadcast,
    Op.RESHAPE: lambda _, o, g: [lambda: g.reshape(*o[0].shape)],
    Op.TRANSPOSE: _transpose,
    Op.REDUCE_SUM: _reduce_sum,
    Op.REDUCE_MAX: _reduce_max,
    Op.MATMUL: _matmul,
    Op.GATHER: lambda _, o, g: [lambda: scatter_add(g, o[1], o[0].shape[0]), None],
    Op.SCATTER_ADD: lambda _, o, g: [lambda: gather(g, o[1]), None],
}
