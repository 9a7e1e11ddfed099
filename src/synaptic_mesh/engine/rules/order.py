"""Laws of reductions, running sums and rankings along one axis."""

from collections.abc import Sequence

from synaptic_mesh.engine.ir import DType, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import FLOAT, NUMERIC, Rule, need, need_axis


def _reduce(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    shape = operands[0].shape
    axis = need_axis(node, shape)
    return shape[:axis] + shape[axis + 1 :], operands[0].dtype


def _argmax(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    kept, _ = _reduce(node, operands)
    need(operands[0].shape[node.attributes.axes[0]] > 0, f"argmax over an axis of extent 0 in {operands[0].shape}")
    return kept, DType.I32


def _cumsum(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    need_axis(node, operands[0].shape)
    return operands[0].shape, operands[0].dtype


def _top_k(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    shape = operands[0].shape
    axis = need_axis(node, shape)
    need(len(node.shape) == len(shape), f"rank of {node.shape} is not that of {shape}")
    count = node.shape[axis]
    need(count <= shape[axis], f"{count} of {shape[axis]} elements are wanted")
    return (*shape[:axis], count, *shape[axis + 1 :]), DType.I32


ORDER: dict[Op, Rule] = {
    Op.REDUCE_SUM: Rule(1, NUMERIC, _reduce, ("axes",)),
    Op.REDUCE_MAX: Rule(1, FLOAT, _reduce, ("axes",)),
    Op.ARGMAX: Rule(1, FLOAT, _argmax, ("axes",)),
    Op.CUMSUM: Rule(1, NUMERIC, _cumsum, ("axes",)),
    Op.TOP_K: Rule(1, FLOAT, _top_k, ("axes",)),
}
