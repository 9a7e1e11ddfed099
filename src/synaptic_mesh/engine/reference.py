"""The reference interpreter: numpy, one rounding per operation. It is the definition: others equal it bit for bit.

Only elementwise numpy operations that IEEE 754 rounds correctly are used (add, subtract, multiply, divide, sqrt,
compare, rint, floor), each on whole arrays; sums run in the written order. No library sum, dot or transcendental.
"""

from collections.abc import Callable, Mapping

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine import polynomials
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.ir import DType, Graph, Node, Op, verify
from synaptic_mesh.engine.limits import admit
from synaptic_mesh.engine.trace import NUMPY_DTYPES

PARTIALS = 16
"""Interleaved partial sums of a reduction over the last axis (semantics rule 3)."""
BLOCK_ELEMENTS = 1 << 15
"""Accumulator elements of one matmul block: accumulator and product stay in the second-level cache. Changes no bit."""


class ReferenceBackend:
    """Executes graphs on numpy arrays, node by node."""

    name = "reference"
    trust = Trust.EXACT

    def compile(self, graph: Graph) -> "ReferenceProgram":
        """Return a program for `graph`. Raises LocalError when it breaks the IR's law or the admission limits."""
        verify(graph)
        admit(graph)
        return ReferenceProgram(graph)


class ReferenceProgram:
    """A graph with the current values of its inputs and outputs. See `backend.Program`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._inputs: dict[str, Array] = {}
        for name, index in graph.inputs.items():
            node = graph.nodes[index]
            self._inputs[name] = np.zeros(node.shape, NUMPY_DTYPES[node.dtype])
        self._outputs: dict[str, Array] = {}
        self._constants = {i: _constant(node) for i, node in enumerate(graph.nodes) if node.op is Op.CONSTANT}
        self._last_use = _last_uses(graph)

    def write(self, name: str, array: Array) -> None:
        """Copy `array` into input `name`. Raises LocalError when dtype or shape differ from the graph's."""
        current = self._inputs.get(name)
        if current is None:
            raise LocalError(f"the graph has no input {name!r}, only {sorted(self._inputs)}")
        if array.shape != current.shape or array.dtype != current.dtype:
            raise LocalError(f"input {name!r} is {current.dtype} {current.shape}, not {array.dtype} {array.shape}")
        self._inputs[name] = np.array(array, dtype=current.dtype, order="C")

    def run(self) -> None:
        """Execute once. Raises StepInvalid for a non-finite checked output or an index out of range."""
        with np.errstate(all="ignore"):
            outputs = self._execute()
        for name in self.graph.checked:
            if not np.isfinite(outputs[name]).all():
                raise StepInvalid(f"output {name!r} is not finite")
        self._outputs = outputs
        self._inputs.update((source, outputs[target]) for source, target in self.graph.carried.items())

    def read(self, name: str) -> Array:
        """Return a copy of output (or input) `name`. Before the first run, outputs that are no inputs are missing."""
        if name in self._inputs:
            return self._inputs[name].copy()
        if name not in self._outputs:
            raise LocalError(f"no value {name!r}: the graph has outputs {sorted(self.graph.outputs)}; run it first")
        return self._outputs[name].copy()

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}

    def _execute(self) -> dict[str, Array]:
        nodes = self.graph.nodes
        values: dict[int, Array] = dict(self._constants)
        for index, node in enumerate(nodes):
            if node.op is Op.INPUT:
                values[index] = self._inputs[node.attributes.name]
            elif node.op is not Op.CONSTANT:
                operands = [values[i] for i in node.inputs]
                values[index] = np.asarray(EXECUTORS[node.op](node, *operands))
            for used in self._last_use.get(index, ()):
                del values[used]
        return {name: values[index] for name, index in self.graph.outputs.items()}


def _constant(node: Node) -> Array:
    bits = np.frombuffer(node.attributes.bits, "<u4")
    filled = np.full(node.shape, bits[0], "<u4") if node.is_splat else bits.reshape(node.shape)
    return filled.view(NUMPY_DTYPES[node.dtype])


def _last_uses(graph: Graph) -> dict[int, list[int]]:
    """Return for each node which values nobody needs after it, so that memory follows liveness."""
    last = {used: index for index, node in enumerate(graph.nodes) for used in node.inputs}
    kept = set(graph.outputs.values())
    frees: dict[int, list[int]] = {}
    for used, index in last.items():
        if used not in kept:
            frees.setdefault(index, []).append(used)
    return frees


# --- elementwise ------------------------------------------------------------------------------------------------------


def minimum(a: Array, b: Array) -> Array:
    """Lesser value; NaN if either is NaN; -0 below +0 (numpy's own function leaves the zeros open)."""
    lesser = np.where(np.less(a, b), a, b)
    if lesser.dtype != np.float32:
        return lesser
    lesser = np.where(np.equal(a, b), _f32(np.bitwise_or(_i32(a), _i32(b))), lesser)
    return np.where(np.not_equal(a, a), a, lesser)


def maximum(a: Array, b: Array) -> Array:
    """Greater value; NaN if either is NaN; +0 above -0."""
    greater = np.where(np.greater(a, b), a, b)
    if greater.dtype != np.float32:
        return greater
    greater = np.where(np.equal(a, b), _f32(np.bitwise_and(_i32(a), _i32(b))), greater)
    return np.where(np.not_equal(a, a), a, greater)


def truncate(a: Array) -> Array:
    """f32 -> i32 toward zero; NaN gives 0, values outside saturate."""
    fits = np.logical_and(np.greater_equal(a, np.float32(-(2.0**31))), np.less(a, np.float32(2.0**31)))
    whole = np.where(fits, a, np.float32(0)).astype(np.int32)
    whole = np.where(np.greater_equal(a, np.float32(2.0**31)), np.int32(2**31 - 1), whole)
    return np.where(np.less(a, np.float32(-(2.0**31))), np.int32(-(2**31)), whole)


def _select(_: Node, condition: Array, yes: Array, no: Array) -> Array:
    return np.where(condition, yes, no)


def _convert(node: Node, a: Array) -> Array:
    return truncate(a) if node.dtype is DType.I32 else a.astype(np.float32)


def _f32(a: Array) -> Array:
    return np.asarray(a).view(np.float32)


def _i32(a: Array) -> Array:
    return np.asarray(a).view(np.int32)


class NumpyOps:
    """`polynomials.VectorOps` on numpy arrays; each method reads its operands' bits as the type it works on."""

    def constant(self, bits: int) -> Array:
        """A 0-d array, which broadcasts."""
        return np.array(bits, np.uint32).view(np.float32)

    def add(self, a: Array, b: Array) -> Array:
        """f32 a + b."""
        return np.asarray(np.add(_f32(a), _f32(b)))

    def sub(self, a: Array, b: Array) -> Array:
        """f32 a - b."""
        return np.asarray(np.subtract(_f32(a), _f32(b)))

    def mul(self, a: Array, b: Array) -> Array:
        """f32 a * b."""
        return np.asarray(np.multiply(_f32(a), _f32(b)))

    def div(self, a: Array, b: Array) -> Array:
        """f32 a / b."""
        return np.asarray(np.divide(_f32(a), _f32(b)))

    def minimum(self, a: Array, b: Array) -> Array:
        """f32, see `minimum` above."""
        return minimum(_f32(a), _f32(b))

    def maximum(self, a: Array, b: Array) -> Array:
        """f32, see `maximum` above."""
        return maximum(_f32(a), _f32(b))

    def nearest(self, a: Array) -> Array:
        """To an integral f32, ties to even."""
        return np.asarray(np.rint(_f32(a)))

    def less(self, a: Array, b: Array) -> Array:
        """f32 a < b."""
        return np.asarray(np.less(_f32(a), _f32(b)))

    def equal(self, a: Array, b: Array) -> Array:
        """f32 a == b."""
        return np.asarray(np.equal(_f32(a), _f32(b)))

    def select(self, mask: Array, yes: Array, no: Array) -> Array:
        """The bits of `yes` or `no`."""
        return np.where(mask, _f32(yes), _f32(no))

    def truncate(self, a: Array) -> Array:
        """See `truncate` above."""
        return truncate(_f32(a))

    def convert(self, a: Array) -> Array:
        """i32 -> f32, to nearest even."""
        return _i32(a).astype(np.float32)

    def int_add(self, a: Array, b: Array) -> Array:
        """Wrapping a + b."""
        return np.asarray(np.add(_i32(a), _i32(b)))

    def int_sub(self, a: Array, b: Array) -> Array:
        """Wrapping a - b."""
        return np.asarray(np.subtract(_i32(a), _i32(b)))

    def bit_and(self, a: Array, b: Array) -> Array:
        """Bitwise and."""
        return np.asarray(np.bitwise_and(_i32(a), _i32(b)))

    def bit_or(self, a: Array, b: Array) -> Array:
        """Bitwise or."""
        return np.asarray(np.bitwise_or(_i32(a), _i32(b)))

    def shift_left(self, a: Array, count: int) -> Array:
        """Logical."""
        return np.asarray(np.left_shift(_i32(a), np.int32(count)))

    def shift_right(self, a: Array, count: int) -> Array:
        """Arithmetic."""
        return np.asarray(np.right_shift(_i32(a), np.int32(count)))


_OPS = NumpyOps()


# --- movement ---------------------------------------------------------------------------------------------------------


def _broadcast(node: Node, a: Array) -> Array:
    extents = [1] * len(node.shape)
    for axis, extent in zip(node.attributes.axes, a.shape, strict=True):
        extents[axis] = extent
    return np.broadcast_to(a.reshape(extents), node.shape)


def _transpose(node: Node, a: Array) -> Array:
    return np.ascontiguousarray(a.transpose(node.attributes.axes)).reshape(node.shape)


# --- reductions -------------------------------------------------------------------------------------------------------


def _reduce_sum(node: Node, a: Array) -> Array:
    axis = node.attributes.axes[0]
    return sum_interleaved(a) if axis == a.ndim - 1 else sum_ascending(a, axis)


def sum_interleaved(a: Array) -> Array:
    """Sum over the last axis: element i goes to partial i mod 16, ascending, from +0; then the tree 8-4-2-1.

    A partial is never -0 (it starts at +0), so a schedule may pad the axis with +0 up to a multiple of 16.
    """
    extent = a.shape[-1]
    partials = np.zeros((*a.shape[:-1], PARTIALS), a.dtype)
    for start in range(0, extent, PARTIALS):
        width = min(PARTIALS, extent - start)
        head = partials[..., :width]
        np.add(head, a[..., start : start + width], out=head)
    width = PARTIALS
    while width > 1:
        width //= 2
        partials = np.add(partials[..., :width], partials[..., width : 2 * width])
    return np.asarray(partials[..., 0])


def sum_ascending(a: Array, axis: int) -> Array:
    """Sum over an axis that is not the last: one accumulator per kept element, from +0, k ascending."""
    total = np.zeros(a.shape[:axis] + a.shape[axis + 1 :], a.dtype)
    for k in range(a.shape[axis]):
        np.add(total, a[(slice(None),) * axis + (k,)], out=total)
    return total


def _order_keys(a: Array) -> Array:
    """Map f32 to i32 so that integer order is numeric order with -0 below +0. NaN goes above everything."""
    bits = _i32(a)
    keys = np.bitwise_xor(bits, np.bitwise_and(np.right_shift(bits, np.int32(31)), np.int32(0x7FFFFFFF)))
    return np.where(np.not_equal(a, a), np.int32(0x7FC00000), keys)


def _reduce_max(node: Node, a: Array) -> Array:
    """Greatest element, -inf of none. Max is associative and commutative, NaN on top: any order gives these bits."""
    empty = np.array(polynomials.MINUS_INFINITY, np.uint32).view(np.float32)
    keys = np.asarray(_order_keys(a).max(axis=node.attributes.axes[0], initial=int(_order_keys(empty))))
    return _f32(np.bitwise_xor(keys, np.bitwise_and(np.right_shift(keys, np.int32(31)), np.int32(0x7FFFFFFF))))


def _argmax(node: Node, a: Array) -> Array:
    keys = _order_keys(np.add(a, np.float32(0)))  # -0 + 0 = +0: zeros tie
    return np.asarray(keys.argmax(axis=node.attributes.axes[0])).astype(np.int32)


# --- contractions and indexing ----------------------------------------------------------------------------------------


def _matmul(node: Node, a: Array, b: Array) -> Array:
    columns = a if node.attributes.transpose_left else a.T  # (k, m)
    rows = b.T if node.attributes.transpose_right else b  # (k, n)
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


EXECUTORS: dict[Op, Callable[..., Array]] = {
    Op.NEG: lambda _, a: _f32(np.bitwise_xor(_i32(a), np.int32(-(2**31)))),
    Op.ABS: lambda _, a: _f32(np.bitwise_and(_i32(a), np.int32(2**31 - 1))),
    Op.SQRT: lambda _, a: np.sqrt(a),
    Op.FLOOR: lambda _, a: np.floor(a),
    Op.EXP: lambda _, a: polynomials.exp(_OPS, a),
    Op.LOG: lambda _, a: polynomials.log(_OPS, a),
    Op.TANH: lambda _, a: _f32(polynomials.tanh(_OPS, a)),
    Op.SIGMOID: lambda _, a: polynomials.sigmoid(_OPS, a),
    Op.DIV: lambda _, a, b: np.divide(a, b),
    Op.ADD: lambda _, a, b: np.add(a, b),
    Op.SUB: lambda _, a, b: np.subtract(a, b),
    Op.MUL: lambda _, a, b: np.multiply(a, b),
    Op.MIN: lambda _, a, b: minimum(a, b),
    Op.MAX: lambda _, a, b: maximum(a, b),
    Op.LT: lambda _, a, b: np.less(a, b),
    Op.LE: lambda _, a, b: np.less_equal(a, b),
    Op.EQ: lambda _, a, b: np.equal(a, b),
    Op.SELECT: _select,
    Op.CONVERT: _convert,
    Op.BROADCAST: _broadcast,
    Op.RESHAPE: lambda node, a: np.ascontiguousarray(a).reshape(node.shape),
    Op.TRANSPOSE: _transpose,
    Op.REDUCE_SUM: _reduce_sum,
    Op.REDUCE_MAX: _reduce_max,
    Op.ARGMAX: _argmax,
    Op.MATMUL: _matmul,
    Op.ONE_HOT: _one_hot,
    Op.GATHER: _gather,
    Op.SCATTER_ADD: _scatter_add,
}
