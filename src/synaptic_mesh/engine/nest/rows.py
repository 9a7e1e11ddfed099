"""Chains over short rows: elementwise operations, sums and maxima of rows, a product with few columns, in one pass.

A vector's lanes are rows, so nothing crosses lanes: what a row computes alone is one vector, what it computes for each
of its columns is one vector a column, and a sum or maximum of a row joins the vectors of its columns in the order of
semantics rule 3. Softmax with its loss and gradient is such a chain.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import DType, Graph, Node, Op
from synaptic_mesh.engine.nest.builder import BAD_INDEX, FLOAT, INT, NOT_FINITE, Builder, Carried, Part, Walk, parts_of
from synaptic_mesh.engine.nest.chain import Spot, exponents_full, is_constant_view, splat_bits
from synaptic_mesh.engine.nest.columns import (
    flat_part,
    is_power,
    load_columns,
    load_rows,
    rows_of,
    store_columns,
    store_rows,
)
from synaptic_mesh.engine.nest.indexing import ONE_BITS
from synaptic_mesh.engine.nest.reduction import PARTIALS
from synaptic_mesh.engine.nest.row_product import RowProduct
from synaptic_mesh.engine.nest.vectors import Vectors, apply

H = TypeVar("H")
SIGN = 0x80000000
_ACROSS = (Op.REDUCE_SUM, Op.REDUCE_MAX, Op.ONE_HOT)


def emit_rows(b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[Spot, H], checked: frozenset[int]) -> None:
    """Build the kernel. `parameters`: the address of each of its spots; stores to buffers in `checked` are tested for
    NaN and infinity."""
    _Rows(b, graph, kernel, parameters, checked).emit()


class _Leaf(NamedTuple, Generic[H]):
    """A tensor that is read or written row by row: its node, its strides over rows and columns, where it begins."""

    node: int
    strides: tuple[int, int]
    start: H


class _Rows(Generic[H]):
    def __init__(
        self, b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[Spot, H], checked: frozenset[int]
    ) -> None:
        self.b = b
        self.nodes = graph.nodes
        self.kernel = kernel
        self.rows, self.columns = kernel.shape
        self.constants: dict[int, int] = {}
        self.leaves: list[_Leaf[H]] = []
        for node, view in kernel.leaves.items():
            if is_constant_view(graph, kernel, view):
                self.constants[node] = splat_bits(graph, view.base)
            else:
                row, column = view.strides
                self.leaves.append(_Leaf(node, (row, column), parameters[view.base, view.offset]))
        self.targets = [
            _Leaf(node, (self._extent(node), int(self._extent(node) > 1)), parameters[buffer, 0])
            for node, buffer in kernel.stores
        ]
        self.checked = [buffer in checked for _, buffer in kernel.stores]
        self.flags = [NOT_FINITE] * any(self.checked)
        self.flags += [BAD_INDEX] * any(graph.nodes[node].op is Op.ONE_HOT for node in kernel.nodes)
        self.product = None if kernel.root is None else RowProduct.of(b, graph, kernel, parameters)
        self.is_flat = self._is_flat()
        lanes = b.schedule.lanes
        self.state_width = lanes if self.rows >= lanes else parts_of(self.rows, lanes)[0].width

    def _extent(self, node: int) -> int:
        """Elements of a node in each row."""
        return self.nodes[node].size // self.rows

    def _is_flat(self) -> bool:
        """True when everything lies as the result does, so that only the product's columns must become rows."""
        is_table = self.columns > 1 and is_power(self.columns)
        same = all(leaf.strides == (self.columns, 1) for leaf in (*self.leaves, *self.targets))
        joins = any(self.nodes[node].op in _ACROSS for node in self.kernel.nodes)
        return self.product is not None and is_table and same and not joins

    def emit(self) -> None:
        """Groups of vectors of rows in a loop, then single ones, then the rest."""
        b, lanes = self.b, self.b.schedule.lanes
        group = 1 if self.product is None else self.product.parts(self.rows // lanes)
        state: list[H] = [b.vectors(self.state_width).constant(0) for _ in self.flags]
        done = 0
        for vectors in dict.fromkeys((group, 1)):
            parts = [Part(lanes * at, lanes, lanes) for at in range(vectors)]
            count = (self.rows - done) // (lanes * vectors)
            state = self._looped(count, lanes * vectors, done, parts, state)
            done += count * lanes * vectors
        for part in parts_of(self.rows - done, lanes):
            state = self._looped(1, part.lanes, done, [part], state)
        for bit, value in zip(self.flags, state, strict=True):
            b.raise_if_negative(value, bit, self.state_width)

    def _looped(self, count: int, rows: int, first: int, parts: list[Part], state: list[H]) -> list[H]:
        """Compute `count` times `rows` rows from row `first` on, divided in `parts`; return the states after them."""
        b = self.b
        strides = [leaf.strides[0] for leaf in (*self.leaves, *self.targets)]
        starts = [leaf.start for leaf in (*self.leaves, *self.targets)]
        if self.product is not None:
            strides.append(self.product.a[0])
            starts.append(self.product.left)
        walks = [Walk(b.at(at, 4 * first * row), 4 * rows * row) for at, row in zip(starts, strides, strict=True)]

        def block(_: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
            found = self.product.columns(parts, here[-1]) if self.product is not None else [[] for _ in parts]
            state = list(values)
            for part, columns in zip(parts, found, strict=True):
                moved = [b.at(at, 4 * part.first * row) for at, row in zip(here, strides, strict=True)]
                state = self._part(moved, part._replace(first=0), state, columns)
            return state

        return b.loop(count, block, walks, [Carried(INT, self.state_width, value) for value in state])

    def _part(self, places: Sequence[H], part: Part, state: list[H], product: list[H]) -> list[H]:
        """Compute some rows and return the states after them. All loads come before the first store."""
        ops = self.b.vectors(part.width)
        values: dict[int, list[H]] = {node: [ops.constant(bits)] for node, bits in self.constants.items()}
        for leaf, place in zip(self.leaves, places, strict=False):
            values[leaf.node] = self._load(part, leaf, place)
        if self.kernel.root is not None:
            values[self.kernel.root] = rows_of(self.b, FLOAT, part, product) if self.is_flat else product
        for index in self.kernel.nodes:
            if index == self.kernel.root:
                continue
            node = self.nodes[index]
            operands = [values[self.kernel.inner.get(operand, operand)] for operand in node.inputs]
            values[index] = self._node(ops, node, self._extent(index), operands)
            if node.op is Op.ONE_HOT:
                bad = _outside(ops, operands[0][0], self.columns)
                state[-1] = self._noted(part, bad, state[-1])
        for target, is_checked, place in zip(self.targets, self.checked, places[len(self.leaves) :], strict=False):
            self._store(part, target, values[target.node], place)
            for count, value in enumerate(values[target.node]) if is_checked else ():
                seen = flat_part(part, self.columns, count) if self.is_flat else part
                state[0] = self._noted(seen, exponents_full(ops, value), state[0])
        return state

    def _kind(self, node: int) -> str:
        return FLOAT if self.nodes[node].dtype is DType.F32 else INT

    def _load(self, part: Part, leaf: _Leaf[H], place: H) -> list[H]:
        kind = self._kind(leaf.node)
        if self.is_flat:
            return load_rows(self.b, kind, part, self.columns, place)
        return load_columns(self.b, kind, part, self._extent(leaf.node), leaf.strides, place)

    def _store(self, part: Part, target: _Leaf[H], values: list[H], place: H) -> None:
        kind, extent = self._kind(target.node), self._extent(target.node)
        if self.is_flat:
            store_rows(self.b, kind, part, values, extent, place)
        else:
            store_columns(self.b, kind, part, values, extent, place)

    def _noted(self, part: Part, words: H, state: H) -> H:
        """Add the signs of the rows that there are to a state."""
        width = self.state_width
        if part.lanes < width:
            words = self.b.keep_lanes(INT, part, words, 0, width)
        return self.b.vectors(width).bit_or(state, words)

    def _node(self, ops: Vectors[H], node: Node, extent: int, operands: list[list[H]]) -> list[H]:
        """Return a node's columns, one vector where they are all alike."""
        if node.op in (Op.REDUCE_SUM, Op.REDUCE_MAX):
            return self._reduced(ops, node, extent, operands[0])
        if node.op is Op.ONE_HOT:
            return [_where_equal(ops, operands[0][0], column) for column in range(extent)]
        dtype = self.nodes[node.inputs[0]].dtype
        count = max(len(columns) for columns in operands)
        aligned = [columns if len(columns) == count else columns * count for columns in operands]
        return [apply(ops, node, dtype, list(each)) for each in zip(*aligned, strict=True)]

    def _reduced(self, ops: Vectors[H], node: Node, extent: int, columns: list[H]) -> list[H]:
        """The columns joined, or each by itself where the axis has one element."""
        name = "f32.max"  # of nothing it is -infinity, which changes no maximum
        if node.op is Op.REDUCE_SUM:
            name = "f32.add" if node.dtype is DType.F32 else "i32.add"
            columns = [ops.op(name, ops.constant(0), column) for column in columns]
        if self._extent(node.inputs[0]) == extent:
            return columns
        return [_tree(ops, name, columns if len(columns) == self.columns else columns * self.columns)]


def _tree(ops: Vectors[H], name: str, columns: Sequence[H]) -> H:
    """Join partial i with i + 8, then + 4, + 2, + 1; a partial that no element met changes no bit of another."""
    half, partials = PARTIALS // 2, list(columns)
    while half:
        met = len(partials) - half
        joined = [ops.op(name, *pair) for pair in zip(partials[: max(met, 0)], partials[half:], strict=True)]
        partials = joined + partials[len(joined) : half]
        half //= 2
    return partials[0]


def _where_equal(ops: Vectors[H], index: H, column: int) -> H:
    mask = ops.op("i32.eq", index, ops.constant(column))
    return ops.select(mask, ops.constant(ONE_BITS), ops.constant(0))


def _outside(ops: Vectors[H], index: H, extent: int) -> H:
    """Return words that are negative where an index is out of range: a negative index is a large unsigned one."""
    inside = ops.op("i32.lt_u", index, ops.constant(extent))
    return ops.select(inside, ops.constant(0), ops.constant(SIGN))
