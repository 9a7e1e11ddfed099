"""Short rows: kernels that work on the rows of one table become one.

A reduction of a short last axis and the elementwise kernels around it, as in softmax and its gradient, each do little
and wait for each other's memory. Kernels of the same number of rows, whose values are one or one per column for each
row, join when they read each other row by row and no path leads from one through a kernel outside back into the other.
A product with few columns is such a kernel too: its vectors are filled with rows.
"""

import math
from typing import NamedTuple

from synaptic_mesh.engine.fusion import Kernel, KernelKind, cost, matmul_extents
from synaptic_mesh.engine.ir import DType, Graph, Op, Shape
from synaptic_mesh.engine.views import View, Views, reshaped_strides

ROW_COLUMNS_MAX = 16
"""Columns of a table whose rows are short: each is a vector of its own. Vectors of four lanes gain nothing beyond four,
and the code grows."""
ROWS_COST_MAX = 320
"""Most operations of a kernel of rows, counted for each column: see `fusion.KERNEL_COST_MAX`."""
ROW_TABLES_MAX = 32
"""Most shapes of tables of a graph that are looked at."""
ROW_JOINS_MAX = 512
"""Most attempts to join two kernels of a graph, each of which may look at all its kernels."""
NARROW_STEPS_MIN = 32
"""Shortest sum of a product that is turned although its columns are no power of two: what its chain reads and writes
then takes more shuffles than the product saves."""
_REDUCTIONS = (Op.REDUCE_SUM, Op.REDUCE_MAX)
_KINDS = (KernelKind.FUSED, KernelKind.REDUCE_SUM, KernelKind.REDUCE_MAX, KernelKind.ONE_HOT)
FEW_ROWS_MAX = 2
"""Rows of a product whose vectors run over columns even in a kernel of rows."""


class Table(NamedTuple):
    """How many rows, and elements in each."""

    rows: int
    columns: int


class RowProfile(NamedTuple):
    """What a backend wants of kernels of rows."""

    columns_max: int = ROW_COLUMNS_MAX
    """Columns of a table at most."""
    lanes: int = 4
    """Of a vector: a product with fewer columns wastes some when its vectors run over columns."""


def join_rows(graph: Graph, kernels: list[Kernel], views: Views, profile: RowProfile) -> list[Kernel]:
    """Return the kernels with those of short rows joined, ordered by their first node."""
    found = (_reduced_table(graph, kernel) or _narrow_product(graph, kernel, profile.lanes) for kernel in kernels)
    tables = dict.fromkeys(table for table in found if table is not None and table.columns <= profile.columns_max)
    for table in list(tables)[:ROW_TABLES_MAX]:
        kernels = _Joining(graph, kernels, views, table, profile.lanes).run()
    return sorted(kernels, key=lambda kernel: (kernel.nodes or (kernel.stores[0][0],))[0])


def _reduced_table(graph: Graph, kernel: Kernel) -> Table | None:
    """Return the table whose rows a kernel reduces, if they are short."""
    if kernel.kind.value not in (op.value for op in _REDUCTIONS):
        return None
    node = graph.nodes[kernel.nodes[0]]
    shape = graph.nodes[node.inputs[0]].shape
    is_last = node.attributes.axes[0] == len(shape) - 1
    if not is_last or 0 in shape or shape[-1] < 2:
        return None
    return Table(math.prod(shape[:-1]), shape[-1])


def _narrow_product(graph: Graph, kernel: Kernel, lanes: int) -> Table | None:
    """Return the table that a product computes, if its vectors are better filled with rows than with columns."""
    if kernel.root is None or kernel.kind is not KernelKind.FUSED or _has_masks_in_memory(graph, kernel):
        return None
    rows, k, columns = matmul_extents(graph, kernel.root)
    if rows < lanes or not 0 < columns <= lanes * 3 // 4 or (k < NARROW_STEPS_MIN and columns & (columns - 1)):
        return None
    return Table(rows, columns)


class _Joining:
    """Joins the kernels of one table. A cluster is a set of kernels, known by the number of one of them."""

    def __init__(self, graph: Graph, kernels: list[Kernel], views: Views, table: Table, lanes: int) -> None:
        self.graph = graph
        self.lanes = lanes
        self.kernels = kernels
        self.table = table
        self.kept = {views.views[node].base for node in graph.outputs.values()}
        self.writer = {buffer: at for at, kernel in enumerate(kernels) for _, buffer in kernel.stores}
        self.cluster = list(range(len(kernels)))
        self.members = {at: [at] for at in range(len(kernels))}
        self.following: dict[int, set[int]] = {at: set() for at in range(len(kernels))}
        for at, kernel in enumerate(kernels):
            for buffer in kernel.reads:
                if buffer in self.writer:
                    self.following[self.writer[buffer]].add(at)

    def run(self) -> list[Kernel]:
        """Return all kernels, those that joined as one."""
        fits = {at for at, kernel in enumerate(self.kernels) if _fits(self.graph, kernel, self.table, self.lanes)}
        pairs = [(at, reader) for at in sorted(fits) for reader in sorted(self.following[at] & fits)]
        for writer, reader in pairs[:ROW_JOINS_MAX]:
            a, b = self.cluster[writer], self.cluster[reader]
            if a != b and self._may_join(a, b):
                self._join(a, b)
        return [kernel for members in self.members.values() for kernel in self._kernels(members)]

    def _may_join(self, a: int, b: int) -> bool:
        together = {*self.members[a], *self.members[b]}
        if sum(self.kernels[at].root is not None for at in together) > 1:
            return False
        if sum(self._cost(at) for at in together) > ROWS_COST_MAX:
            return False
        aligned = all(self._is_aligned(at, together) for at in together)
        return aligned and not self._returns(together)

    def _cost(self, at: int) -> int:
        nodes = (self.graph.nodes[index] for index in self.kernels[at].nodes)
        return sum(cost(node.op) * -(-node.size // self.table.rows) for node in nodes)

    def _is_aligned(self, at: int, together: set[int]) -> bool:
        """True when a kernel reads the others' values of the same row, and of the same column or all columns' one."""
        kernel = self.kernels[at]
        factors = () if kernel.root is None else self.graph.nodes[kernel.root].inputs
        for node, view in kernel.operands.items():
            if self.writer.get(view.base) in together and view.base in kernel.reads and node in factors:
                return False  # a product needs all of its operands
            if self.writer.get(view.base) in together and view.base in kernel.reads:
                expected = (self.table.columns, 1) if self._is_wide(view.base) else (1, 0)
                if view.offset or _row_strides(self.graph, node, view, self.table) != expected:
                    return False
        return True

    def _is_wide(self, node: int) -> bool:
        return self.graph.nodes[node].size != self.table.rows

    def _returns(self, together: set[int]) -> bool:
        """True when a path leaves these kernels and comes back."""
        stack = [after for at in together for after in self.following[at] if after not in together]
        seen: set[int] = set()
        while stack:
            at = stack.pop()
            if at in seen:
                continue
            if at in together:
                return True
            seen.add(at)
            whole = self.members[self.cluster[at]]
            stack += [after for member in whole for after in self.following[member]]
        return False

    def _join(self, a: int, b: int) -> None:
        for at in self.members[b]:
            self.cluster[at] = a
        self.members[a] += self.members.pop(b)

    def _kernels(self, members: list[int]) -> list[Kernel]:
        """Return the kernels of a cluster: one of rows when it reduces any or has a narrow product."""
        kernels = [self.kernels[at] for at in members]
        tables = {_reduced_table(self.graph, kernel) for kernel in kernels}
        tables |= {_narrow_product(self.graph, kernel, self.lanes) for kernel in kernels}
        if self.table not in tables:
            return kernels
        inside = {buffer for kernel in kernels for _, buffer in kernel.stores}
        needed = self.kept.union(*(k.reads for at, k in enumerate(self.kernels) if at not in members))
        operands: dict[int, View] = {}
        leaves: dict[int, View] = {}
        inner: dict[int, int] = {}
        for kernel in kernels:
            for node, view in kernel.operands.items():
                if view.base not in inside:
                    operands[node] = view
                    if node in kernel.leaves:
                        strides = _row_strides(self.graph, node, view, self.table)
                        leaves[node] = view._replace(strides=strides or ())
                elif node != view.base:
                    inner[node] = view.base
        root = next((kernel.root for kernel in kernels if kernel.root is not None), None)
        nodes = sorted(node for kernel in kernels for node in kernel.nodes)
        stores = sorted(pair for kernel in kernels for pair in kernel.stores if pair[1] in needed)
        reads = dict.fromkeys(buffer for kernel in kernels for buffer in kernel.reads if buffer not in inside)
        kind, table = KernelKind.ROWS, tuple(self.table)
        return [Kernel(kind, table, tuple(nodes), tuple(stores), tuple(reads), operands, leaves, root, inner)]


def _fits(graph: Graph, kernel: Kernel, table: Table, lanes: int) -> bool:
    """True when a kernel computes one value for each row of a table, or one for each of its elements, and reads along
    its rows."""
    if kernel.kind not in _KINDS or not kernel.nodes or 0 in kernel.shape:
        return False
    first = graph.nodes[kernel.nodes[0]]
    fits = kernel.kind is KernelKind.FUSED and (kernel.root is None or _fits_product(graph, kernel, table, lanes))
    if kernel.kind is KernelKind.ONE_HOT:
        fits = first.shape[-1] == table.columns
    elif kernel.kind is not KernelKind.FUSED:
        fits = _reduced_table(graph, kernel) == table or first.size == graph.nodes[first.inputs[0]].size
    if not fits or _has_masks_in_memory(graph, kernel):
        return False
    return _is_of(first.shape, table) and all(
        _row_strides(graph, node, view, table) is not None for node, view in kernel.leaves.items()
    )


def _has_masks_in_memory(graph: Graph, kernel: Kernel) -> bool:
    """True when a kernel loads or stores masks: kernels of rows turn words, and a mask is none (`nest/builder.py`)."""
    stored = (node for node, _ in kernel.stores)
    return any(graph.nodes[node].dtype is DType.BOOL for node in (*kernel.leaves, *stored))


def _fits_product(graph: Graph, kernel: Kernel, table: Table, lanes: int) -> bool:
    """True for a narrow product, or one of few rows whose columns fill a vector at most."""
    if _narrow_product(graph, kernel, lanes) is not None:
        return True
    factors = graph.nodes[kernel.root or 0]
    strides = kernel.operands[factors.inputs[1]].strides
    column = strides[0 if factors.attributes.transpose_right else 1]
    return table.columns <= lanes and is_few(matmul_extents(graph, kernel.root or 0), column)


def is_few(extents: tuple[int, int, int], column: int) -> bool:
    """True for a product (m, k, n) of one row or two whose right operand has neighbouring columns: the vectors of such
    a product run over columns even in a kernel of rows."""
    return extents[0] <= FEW_ROWS_MAX and (column == 1 or extents[2] == 1)


def _is_of(shape: Shape, table: Table) -> bool:
    """True for one element a row, or a row's elements on the last axis."""
    size = math.prod(shape)
    return size == table.rows or (size == table.rows * table.columns and shape[-1] == table.columns)


def _row_strides(graph: Graph, node: int, view: View, table: Table) -> tuple[int, int] | None:
    """Return how far apart a view's rows and columns lie, in elements; None where rows are not evenly apart. One
    element a row has a column stride of 0, and a single row the row stride that it would have among others."""
    shape, strides, column = graph.nodes[node].shape, view.strides, 0
    if not _is_of(shape, table):
        return None
    if math.prod(shape) != table.rows:
        shape, strides, column = shape[:-1], strides[:-1], strides[-1]
    if table.rows == 1:
        return table.columns if column == 1 else 1, column
    joined = reshaped_strides(strides, shape, (table.rows,))
    return None if joined is None else (joined[0], column)
