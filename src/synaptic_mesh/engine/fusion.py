"""From nodes to kernels: chains of elementwise operations become one pass over memory, small matrix products carry
theirs with them.

Going backwards through the graph, an elementwise node joins the kernel of one of its consumers when both have the
same shape and no path leads from the node through another kernel back into that one. A matrix product small enough
for the unpacked kernel joins the same way, as the kernel's root: bias, activation, gradient mask and optimizer update
then run on the tile while it is in registers. Order of operations inside an element never changes, so no bit does.
"""

import enum
from typing import NamedTuple

from synaptic_mesh.engine.ir import Graph, Op, Shape
from synaptic_mesh.engine.rules.table import RULES
from synaptic_mesh.engine.views import MOVEMENT, View, Views

STRIP_RIGHT_ELEMENTS_MAX = 1 << 18
"""Right operands up to this size (1 MiB, half of a second-level cache) go to the unblocked kernel."""
BLOCKED_RIGHT_ELEMENTS_MIN = 1 << 17
BLOCKED_ROWS_MIN = 256
"""From both of these on the blocked kernel is 4 % faster at 512 x 512 and no slower at 400 x 400: more than what a pass
for the chain costs. With few rows it would pack a right operand that is hardly used."""
STRIP_STEPS_MAX = 2048
"""Longest sum of the unblocked kernel: its splatted strip of 4 rows takes 128 KiB."""
STRIP_FORMS_MAX = 64
"""Most shapes of products that get a kernel of their own, some 20 KB each; beyond it products share the blocked one."""
FUSION_NODES_MAX = 1024
"""Above this many nodes only nodes all of whose consumers are in one kernel join it (the path search is quadratic)."""


KERNEL_COST_MAX = 96
"""Most operations of one kernel, polynomials counted as POLYNOMIAL_COST. Compilers take more than linear time for one
long function, and every result is a local variable, of which there is a limit: any lawful graph must compile."""
POLYNOMIAL_COST = 8
_LONG = {
    **dict.fromkeys((Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID, Op.ERF, Op.SIN, Op.COS), POLYNOMIAL_COST),
    Op.POW: 4 * POLYNOMIAL_COST,
    Op.THREEFRY: 4 * POLYNOMIAL_COST,
}


class KernelKind(enum.Enum):
    """What a kernel is."""

    FUSED = "fused"  # elementwise operations, with or without an unblocked matrix product as root; also plain copies
    GEMM = "gemm"  # a blocked and packed matrix product
    BATCHED = "batched"  # matrix products along leading axes
    ROWS = "rows"  # elementwise operations and reductions of short rows, joined by `row_fusion`
    CONV = "conv"
    PAD = "pad"
    CONCAT = "concat"
    CUMSUM = "cumsum"
    TOP_K = "top_k"
    REDUCE_SUM = "reduce_sum"
    REDUCE_MAX = "reduce_max"
    ARGMAX = "argmax"
    ONE_HOT = "one_hot"
    GATHER = "gather"
    SCATTER_ADD = "scatter_add"
    GATHER_LAST = "gather_last"
    SCATTER_ADD_LAST = "scatter_add_last"
    SCAN = "scan"


CHECKS_STORES = frozenset({KernelKind.FUSED, KernelKind.ROWS})
"""Kinds that look for NaN and infinity in what they store to checked outputs."""


class Kernel(NamedTuple):
    """One pass: computes `nodes` (ascending), writes `stores`, reads the buffers `reads`.

    Buffers are named by the node they hold; `output_copy(node)` names the copy of an input or constant that is an
    output. `operands` are the nodes from outside with their views; a fused kernel's `leaves` are those its elements
    load or know as constants, so all but the operands that only the root uses. `inner`: of a kernel of rows, the
    movement nodes inside it and the nodes whose elements they show; its views have two strides, over rows and columns.
    """

    kind: KernelKind
    shape: Shape
    nodes: tuple[int, ...]
    stores: tuple[tuple[int, int], ...]  # (node, buffer)
    reads: tuple[int, ...]
    operands: dict[int, View]
    leaves: dict[int, View]
    root: int | None = None
    inner: dict[int, int] = {}  # noqa: RUF012 - never changed


def cost(op: Op) -> int:
    """Return what an elementwise operation counts towards KERNEL_COST_MAX."""
    return _LONG.get(op, 1)


def output_copy(node: int) -> int:
    """Return the buffer name of the copy of input or constant `node` that serves as an output."""
    return -1 - node


def is_strip(k: int, n: int) -> bool:
    """True when the right operand (k, n) of a product fits the unblocked kernel."""
    return k * n <= STRIP_RIGHT_ELEMENTS_MAX and k <= STRIP_STEPS_MAX


def matmul_extents(graph: Graph, index: int) -> tuple[int, int, int]:
    """Return (m, k, n) of a MATMUL node, of each of its products where there are several."""
    node = graph.nodes[index]
    left = graph.nodes[node.inputs[0]].shape
    return node.shape[-2], left[-2] if node.attributes.transpose_left else left[-1], node.shape[-1]


def build_kernels(graph: Graph, live: list[int], views: Views) -> list[Kernel]:
    """Return the kernels that compute every live node, ordered by their first node (not yet a schedule)."""
    consumers = _consumers(graph, live)
    groups = _Grouping(graph, live, consumers).run()
    kernels = [_fused(graph, members, views, consumers) for members in groups]
    fused = {node for members in groups for node in members}
    outputs = set(graph.outputs.values())
    for index in live:
        node = graph.nodes[index]
        if index in views.copies:
            kernels.append(_copy(graph, index, views, views.copies[index], index))
        elif node.op in (Op.INPUT, Op.CONSTANT):
            if index in outputs:
                kernels.append(_copy(graph, index, views, views.views[index], output_copy(index)))
        elif index not in fused and node.op not in MOVEMENT:
            kernels.append(_single(graph, index, views))
        if node.op is Op.CONSTANT and index in views.copies and index in outputs:
            kernels.append(_copy(graph, index, views, views.copies[index], output_copy(index)))
    return sorted(kernels, key=lambda kernel: (kernel.nodes or (kernel.stores[0][0],))[0])


def _consumers(graph: Graph, live: list[int]) -> dict[int, list[int]]:
    """Return for each live node the live nodes that use it, ascending."""
    consumers: dict[int, list[int]] = {index: [] for index in live}
    for index in live:
        for operand in dict.fromkeys(graph.nodes[index].inputs):
            consumers[operand].append(index)
    return consumers


class _Grouping:
    """Assigns elementwise and small matmul nodes to groups, consumers first."""

    def __init__(self, graph: Graph, live: list[int], consumers: dict[int, list[int]]) -> None:
        self.graph = graph
        self.live = live
        self.members: list[list[int]] = []
        self.root: list[int | None] = []
        self.cost: list[int] = []
        self.forms: set[tuple[int, int, int, bool, bool]] = set()
        self.group_of: dict[int, int] = {}
        self.consumers = consumers

    def run(self) -> list[tuple[int, ...]]:
        """Return each group's nodes, ascending."""
        for index in reversed(self.live):
            node = self.graph.nodes[index]
            if RULES[node.op].elementwise:
                self._place(index, is_root=False)
            elif node.op is Op.MATMUL and len(node.shape) == 2 and self._is_unblocked(index):
                self._place(index, is_root=True)
        return [tuple(sorted(group)) for group in self.members]

    def _is_unblocked(self, index: int) -> bool:
        m, k, n = matmul_extents(self.graph, index)
        attributes = self.graph.nodes[index].attributes
        self.forms.add((m, k, n, attributes.transpose_left, attributes.transpose_right))
        is_blocked = m >= BLOCKED_ROWS_MIN and k * n >= BLOCKED_RIGHT_ELEMENTS_MIN
        return k == 0 or (is_strip(k, n) and not is_blocked and len(self.forms) <= STRIP_FORMS_MAX)

    def _place(self, index: int, is_root: bool) -> None:
        candidates = sorted({self.group_of[c] for c in self.consumers[index] if c in self.group_of}, reverse=True)
        for group in candidates:
            if self._may_join(index, group, is_root):
                break
        else:
            group = len(self.members)
            self.members.append([])
            self.root.append(None)
            self.cost.append(0)
        self.members[group].append(index)
        self.group_of[index] = group
        self.cost[group] += self._cost(index)
        if is_root:
            self.root[group] = index

    def _may_join(self, index: int, group: int, is_root: bool) -> bool:
        if self.graph.nodes[self.members[group][0]].shape != self.graph.nodes[index].shape:
            return False
        if self.cost[group] + self._cost(index) > KERNEL_COST_MAX:
            return False
        if is_root and self.root[group] is not None:
            return False
        if self.root[group] in self.consumers[index]:  # the product needs all of it before its first tile
            return False
        outside = [c for c in self.consumers[index] if self.group_of.get(c) != group]
        if len(self.live) > FUSION_NODES_MAX:
            return not outside
        return not self._reaches(outside, group)

    def _cost(self, index: int) -> int:
        return cost(self.graph.nodes[index].op)

    def _reaches(self, start: list[int], group: int) -> bool:
        """True when a path from `start` enters `group`, where entering a kernel means to depend on all of it."""
        stack, seen = list(start), set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            own = self.group_of.get(node)
            if own == group:
                return True
            for member in [node] if own is None else self.members[own]:
                seen.add(member)
                stack.extend(self.consumers[member])
        return False


def _fused(graph: Graph, members: tuple[int, ...], views: Views, consumers: dict[int, list[int]]) -> Kernel:
    inside, outputs = set(members), set(graph.outputs.values())
    root = next((i for i in members if graph.nodes[i].op is Op.MATMUL), None)
    operands: dict[int, View] = {}
    leaves: dict[int, View] = {}
    reads: list[int] = []
    for index in members:
        for operand in graph.nodes[index].inputs:
            if operand in inside:
                continue
            view = operands[operand] = views.views[operand]
            if index != root:
                leaves[operand] = view
            if not _is_constant(graph, views, view):
                reads.append(view.base)
    stores = tuple((i, i) for i in members if i in outputs or not inside.issuperset(consumers[i]))
    shape = graph.nodes[members[0]].shape
    return Kernel(KernelKind.FUSED, shape, members, stores, tuple(dict.fromkeys(reads)), operands, leaves, root)


def _is_constant(graph: Graph, views: Views, view: View) -> bool:
    return graph.nodes[view.base].is_splat and view.base not in views.copies


def _copy(graph: Graph, node: int, views: Views, source: View, buffer: int) -> Kernel:
    """Write a view, an input or a constant into a dense buffer."""
    shape = graph.nodes[node].shape
    constant = graph.nodes[source.base].is_splat and (source.base not in views.copies or source.base == node)
    reads = () if constant else (source.base,)
    return Kernel(KernelKind.FUSED, shape, (), ((node, buffer),), reads, {node: source}, {node: source})


def _single(graph: Graph, index: int, views: Views) -> Kernel:
    node = graph.nodes[index]
    product = KernelKind.GEMM if len(node.shape) == 2 else KernelKind.BATCHED
    kind = product if node.op is Op.MATMUL else KernelKind(node.op.value)
    operands = {operand: views.views[operand] for operand in node.inputs}
    reads = tuple(dict.fromkeys(view.base for view in operands.values()))
    return Kernel(kind, node.shape, (index,), ((index, index),), reads, operands, operands)
