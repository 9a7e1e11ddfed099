"""Operations that an index tensor steers: every index is checked before anything is moved."""

import math

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.executors.executor import Executor
from synaptic_mesh.engine.ir import Node, Op


def _check_index(node: Node, index: Array, extent: int) -> None:
    bad = np.logical_or(np.less(index, 0), np.greater_equal(index, extent))
    if bad.any():
        value = int(index[bad].ravel()[0]) if index.ndim else int(index)
        raise StepInvalid(f"{node.op.value}: index {value} is outside 0..{extent - 1}")


def _one_hot(node: Node, index: Array) -> Array:
    classes = node.shape[-1]
    _check_index(node, index, classes)
    rows = np.zeros((index.size, classes), np.float32)
    rows[np.arange(index.size), index.ravel()] = 1
    return rows.reshape(node.shape)


def _gather(node: Node, table: Array, index: Array) -> Array:
    _check_index(node, index, table.shape[0])
    return table[index]


def _scatter_add(node: Node, updates: Array, index: Array) -> Array:
    _check_index(node, index, node.shape[0])
    table = np.zeros(node.shape, np.float32)
    for row, update in zip(index.tolist(), updates, strict=True):
        table[row] += update
    return table


def _gather_last(node: Node, a: Array, index: Array) -> Array:
    _check_index(node, index, a.shape[-1])
    return np.take_along_axis(a, index, axis=-1)


def _scatter_add_last(node: Node, updates: Array, index: Array) -> Array:
    """Position by position over all lines at once: within a line indices may repeat, so positions come one by one."""
    _check_index(node, index, node.shape[-1])
    count = updates.shape[-1]
    table = np.zeros((math.prod(updates.shape[:-1]), node.shape[-1]), np.float32)
    lines = np.arange(table.shape[0])
    flat_index, flat = index.reshape(len(lines), count), updates.reshape(len(lines), count)
    for j in range(count):
        at = (lines, flat_index[:, j])
        table[at] = np.add(table[at], flat[:, j])
    return table.reshape(node.shape)


INDEXING: dict[Op, Executor] = {
    Op.ONE_HOT: _one_hot,
    Op.GATHER: _gather,
    Op.SCATTER_ADD: _scatter_add,
    Op.GATHER_LAST: _gather_last,
    Op.SCATTER_ADD_LAST: _scatter_add_last,
}
