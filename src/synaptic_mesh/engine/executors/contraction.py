"""Matrix product and convolution: the sum over k ascends, product and sum round separately."""

from typing import NamedTuple, Self

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.executors.executor import Executor
from synaptic_mesh.engine.geometry import ConvGeometry
from synaptic_mesh.engine.ir import Node, Op

BLOCK_ELEMENTS = 1 << 15
"""Accumulator elements of one matmul block: accumulator and product stay in the second-level cache. Changes no bit."""


def _matmul(node: Node, a: Array, b: Array) -> Array:
    left, right = node.attributes.transpose_left, node.attributes.transpose_right
    if a.ndim == 2:
        return _product(a, b, left, right)
    out = np.empty(node.shape, np.float32)
    for at in np.ndindex(node.shape[:-2]):
        out[at] = _product(a[at], b[at], left, right)
    return out


def _product(a: Array, b: Array, transpose_left: bool, transpose_right: bool) -> Array:
    columns = a if transpose_left else a.T  # (k, m)
    rows = b.T if transpose_right else b  # (k, n)
    if columns.shape[1] > rows.shape[1]:  # the longer extent goes innermost; a*b = b*a
        return np.ascontiguousarray(multiply_ascending(rows, columns).T)
    return multiply_ascending(columns, rows)


def multiply_ascending(columns: Array, rows: Array) -> Array:
    """Return (m, n) with acc = acc + a*b from +0, k ascending, two roundings a step. columns: (k, m); rows: (k, n)."""
    columns, rows = np.ascontiguousarray(columns), np.ascontiguousarray(rows)
    (depth, m), n = columns.shape, rows.shape[1]
    total = np.zeros((m, n), np.float32)
    height = max(1, BLOCK_ELEMENTS // max(n, 1))
    for top in range(0, m, height):
        block = total[top : top + height]
        product = np.empty_like(block)
        left = columns[:, top : top + height, None]
        for k in range(depth):
            np.multiply(left[k], rows[k], out=product)
            np.add(block, product, out=block)
    return total


class Tap(NamedTuple):
    """The outputs of one axis that see an input element through one kernel element, and which one."""

    outputs: Array
    inputs: Array

    @classmethod
    def of(cls, node: Node, axis: int, k: int, extent: int) -> Self:
        """Of kernel element `k` on an axis (0: height, 1: width) of `extent` input elements."""
        geometry = ConvGeometry.of(node)
        outputs = np.arange(node.shape[2 + axis])
        at = outputs * geometry.steps[axis] + k * geometry.kernel_steps[axis] + geometry.starts[axis]
        inputs, between = at // geometry.input_steps[axis], at % geometry.input_steps[axis]
        inside = np.logical_and(np.equal(between, 0), np.logical_and(np.greater_equal(at, 0), np.less(inputs, extent)))
        return cls(outputs[inside], inputs[inside])


def _conv(node: Node, x: Array, w: Array) -> Array:
    """Kernel element by kernel element over all outputs at once, channels outermost: the order of each output's sum."""
    groups, channels = ConvGeometry.of(node).groups, w.shape[1]
    batch, outputs, height, width = node.shape
    rows, columns = ([Tap.of(node, i, k, x.shape[2 + i]) for k in range(w.shape[2 + i])] for i in (0, 1))
    field: Array = x.reshape(batch, groups, 1, channels, *x.shape[2:])
    w = w.reshape(groups, outputs // groups, channels, *w.shape[2:])
    total = np.zeros((batch, groups, outputs // groups, height, width), np.float32)
    for channel, i, j in np.ndindex(channels, len(rows), len(columns)):
        seen: Array = np.zeros((batch, groups, 1, height, width), np.float32)
        row, column = rows[i].inputs[:, None], columns[j].inputs
        seen[..., rows[i].outputs[:, None], columns[j].outputs] = field[:, :, :, channel, row, column]
        np.add(total, np.multiply(seen, w[:, :, channel, i, j, None, None]), out=total)
    return total.reshape(node.shape)


CONTRACTION: dict[Op, Executor] = {Op.MATMUL: _matmul, Op.CONV: _conv}
