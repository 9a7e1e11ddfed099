"""Laws of operations that an index tensor steers."""

from collections.abc import Sequence

from synaptic_mesh.engine.ir import DType, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import FLOAT, NUMERIC, Rule, need


def _one_hot(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    fits = node.shape[:-1] == operands[0].shape and len(node.shape) > 0
    need(fits, f"{node.shape} is not {operands[0].shape} + (classes,)")
    return node.shape, DType.F32


def _gather(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    table, index = operands
    need(len(table.shape) == 2, f"gather needs a table (rows, width), not {table.shape}")
    need(
        len(index.shape) == 1 and index.dtype is DType.I32,
        f"gather needs i32 indices (n,), not {index.dtype.value} {index.shape}",
    )
    return (index.shape[0], table.shape[1]), table.dtype


def _scatter_add(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    updates, index = operands
    need(len(updates.shape) == 2, f"scatter_add needs updates (n, width), not {updates.shape}")
    need(
        index.shape == updates.shape[:1] and index.dtype is DType.I32,
        f"indices {index.dtype.value} {index.shape} do not fit updates",
    )
    need(len(node.shape) == 2 and node.shape[1] == updates.shape[1], f"{node.shape} is not (rows, {updates.shape[1]})")
    return node.shape, updates.dtype


def _gather_last(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    x, index = operands
    _need_lines(x.shape, index)
    return index.shape, x.dtype


def _scatter_add_last(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    updates, index = operands
    _need_lines(node.shape, index)
    need(index.shape == updates.shape, f"indices {index.shape} do not fit updates {updates.shape}")
    return node.shape, updates.dtype


def _need_lines(shape: Shape, index: Node) -> None:
    need(index.dtype is DType.I32, f"indices are i32, not {index.dtype.value}")
    fits = len(shape) == len(index.shape) >= 1 and shape[:-1] == index.shape[:-1]
    need(fits, f"{shape} and indices {index.shape} differ in more than the last axis")


INDEXING: dict[Op, Rule] = {
    Op.ONE_HOT: Rule(1, (DType.I32,), _one_hot),
    Op.GATHER: Rule(2, NUMERIC, _gather),
    Op.SCATTER_ADD: Rule(2, FLOAT, _scatter_add),
    Op.GATHER_LAST: Rule(2, NUMERIC, _gather_last),
    Op.SCATTER_ADD_LAST: Rule(2, FLOAT, _scatter_add_last),
}
