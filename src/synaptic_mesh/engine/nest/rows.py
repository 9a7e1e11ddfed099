"""Chains over short rows: elementwise operations and reductions of the last axis in one pass.

A vector's lanes are rows, so nothing crosses lanes: what a row computes alone is one vector, what it computes for each
of its columns is one vector a column, and a sum or maximum of a row joins the vectors of its columns in the order of
semantics rule 3. Softmax with its loss and gradient is such a chain.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import DType, Graph, Node, Op
from synaptic_mesh.engine.nest.builder import BAD_INDEX, FLOAT, INT, NOT_FINITE, Builder, Carried, Part, Walk, parts_of
from synaptic_mesh.engine.nest.chain import Spot, exponents_full, is_constant_view, splat_bits
from synaptic_mesh.engine.nest.columns import load_columns, store_columns
from synaptic_mesh.engine.nest.indexing import ONE_BITS
from synaptic_mesh.engine.nest.reduction import PARTIALS
from synaptic_mesh.engine.nest.vectors import Vectors, apply

H = TypeVar("H")
SIGN = 0x80000000


def emit_rows(b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[Spot, H], checked: frozenset[int]) -> None:
    """Build the kernel. `parameters`: the address of each of its spots; stores to buffers in `checked` are tested for
    NaN and infinity."""
    _Rows(b, graph, kernel, parameters, checked).emit()


class _Rows(Generic[H]):
    def __init__(
        self, b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[Spot, H], checked: frozenset[int]
    ) -> None:
        self.b = b
        self.nodes = graph.nodes
        self.kernel = kernel
        self.rows, self.columns = kernel.shape
        self.constants: dict[int, int] = {}
        self.walks: list[Walk[H]] = []
        self.leaves: list[tuple[int, tuple[int, int]]] = []
        for node, view in kernel.leaves.items():
            if is_constant_view(graph, kernel, view):
                self.constants[node] = splat_bits(graph, view.base)
            else:
                row, column = view.strides
                self.leaves.append((node, (row, column)))
                self.walks.append(Walk(parameters[view.base, view.offset], 4 * row))
        self.stores = [(node, buffer in checked) for node, buffer in kernel.stores]
        self.walks += [Walk(parameters[buffer, 0], 4 * self._extent(node)) for node, buffer in kernel.stores]
        self.flags = [NOT_FINITE] * any(check for _, check in self.stores)
        self.flags += [BAD_INDEX] * any(graph.nodes[node].op is Op.ONE_HOT for node in kernel.nodes)

    def _extent(self, node: int) -> int:
        """Elements of a node in each row."""
        return self.nodes[node].size // self.rows

    def _kind(self, node: int) -> str:
        return FLOAT if self.nodes[node].dtype is DType.F32 else INT

    def emit(self) -> None:
        """Full vectors of rows in a loop, then the rest."""
        b, lanes = self.b, self.b.schedule.lanes
        whole = self.rows // lanes
        state = [Carried(INT, lanes, b.vectors(lanes).constant(0)) for _ in self.flags]

        def block(_: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
            return self._part(here, Part(0, lanes, lanes), list(values))

        moving = [Walk(walk.start, lanes * walk.step) for walk in self.walks]
        found = b.loop(whole, block, moving, state, step=1)
        for part in parts_of(self.rows - whole * lanes, lanes):
            here = [b.at(walk.start, whole * lanes * walk.step) for walk in self.walks]
            found = self._part(here, part, list(found))
        for bit, value in zip(self.flags, found, strict=True):
            b.raise_if_negative(value, bit)

    def _part(self, places: Sequence[H], part: Part, state: list[H]) -> list[H]:
        """Compute some rows and return the states after them. All loads come before the first store."""
        b, ops = self.b, self.b.vectors(part.width)
        values: dict[int, list[H]] = {node: [ops.constant(bits)] for node, bits in self.constants.items()}
        for (leaf, strides), place in zip(self.leaves, places, strict=False):
            values[leaf] = load_columns(b, self._kind(leaf), part, self._extent(leaf), strides, place)
        for index in self.kernel.nodes:
            node = self.nodes[index]
            operands = [values[self.kernel.inner.get(operand, operand)] for operand in node.inputs]
            values[index] = self._node(ops, node, self._extent(index), operands)
            if node.op is Op.ONE_HOT:
                bad = _outside(ops, operands[0][0], self.columns)
                state[-1] = self._noted(part, bad, state[-1])
        for (stored, is_checked), place in zip(self.stores, places[len(self.leaves) :], strict=True):
            store_columns(b, self._kind(stored), part, values[stored], self._extent(stored), place)
            for value in values[stored] if is_checked else ():
                state[0] = self._noted(part, exponents_full(ops, value), state[0])
        return state

    def _noted(self, part: Part, words: H, state: H) -> H:
        """Add the signs of the rows that there are to a state."""
        lanes = self.b.schedule.lanes
        if part.lanes < lanes:
            words = self.b.keep_lanes(INT, part, words, 0, lanes)
        return self.b.vectors(lanes).bit_or(state, words)

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
