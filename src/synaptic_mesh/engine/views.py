"""Movement without moving: broadcast, transpose and reshape become strided views of the tensor they show.

A node is *materialised* when its elements lie dense and row-major in a buffer of their own. Elementwise kernels and
matrix products read any view; reductions and indexing need dense operands, and so does a reshape of a view that is
not dense: where a view does not serve, the movement node is materialised by a copy kernel.
"""

import math
from typing import NamedTuple

from synaptic_mesh.engine.ir import Graph, Node, Op, Shape

MOVEMENT = frozenset({Op.BROADCAST, Op.TRANSPOSE, Op.RESHAPE})
NEEDS_DENSE = frozenset({Op.REDUCE_SUM, Op.REDUCE_MAX, Op.ARGMAX, Op.ONE_HOT, Op.GATHER, Op.SCATTER_ADD})
CHECKS_INDEX = frozenset({Op.ONE_HOT, Op.GATHER, Op.SCATTER_ADD})
"""Operations that run even where nothing uses them: a bad index makes the step invalid (law 6)."""


class View(NamedTuple):
    """Where a node's elements lie: the materialised node `base`, and elements to advance per step on each axis."""

    base: int
    strides: tuple[int, ...]


class Views(NamedTuple):
    """Every live node's view; the source view of each node that a copy kernel must materialise."""

    views: dict[int, View]
    copies: dict[int, View]


def dense_strides(shape: Shape) -> tuple[int, ...]:
    """Return the row-major strides of `shape`, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def is_dense(strides: tuple[int, ...], shape: Shape) -> bool:
    """True when elements lie row-major without gaps; axes of extent 1 may have any stride."""
    if 0 in shape:
        return True
    return all(
        extent == 1 or stride == dense
        for stride, dense, extent in zip(strides, dense_strides(shape), shape, strict=True)
    )


def live_nodes(graph: Graph) -> list[int]:
    """Return, ascending, the nodes that an output or an index check depends on, and every input."""
    live = set(graph.outputs.values())
    live |= {i for i, node in enumerate(graph.nodes) if node.op in CHECKS_INDEX or node.op is Op.INPUT}
    for index in reversed(range(len(graph.nodes))):
        if index in live:
            live.update(graph.nodes[index].inputs)
    return sorted(live)


def resolve_views(graph: Graph, live: list[int]) -> Views:
    """Return the views of the live nodes, and which of them need a copy kernel."""
    resolver = _Resolver(graph)
    for index in live:
        resolver.add(index)
    for index in sorted(set(graph.outputs.values())):
        resolver.need_output(index)
    return Views(resolver.views, resolver.copies)


class _Resolver:
    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.views: dict[int, View] = {}
        self.copies: dict[int, View] = {}

    def add(self, index: int) -> None:
        node = self.nodes[index]
        if node.op in MOVEMENT:
            self.views[index] = self._moved(node)
            return
        strides = (0,) * len(node.shape) if node.is_splat else dense_strides(node.shape)
        self.views[index] = View(index, strides)
        if node.op in NEEDS_DENSE:
            for operand in node.inputs:
                self._materialise(operand)
        elif node.op is Op.MATMUL:
            for operand in node.inputs:
                if self.nodes[self.views[operand].base].is_splat:
                    self._materialise(operand)

    def need_output(self, index: int) -> None:
        """An output that is a view may share its base's buffer only where a kernel computed that base."""
        node, view = self.nodes[index], self.views[index]
        base = self.nodes[view.base]
        computed = base.op not in (Op.INPUT, Op.CONSTANT) or view.base in self.copies
        whole = is_dense(view.strides, node.shape) and base.size == node.size  # an empty view shows nothing of its base
        if node.op in MOVEMENT and not (computed and whole):
            self._materialise(index, force=True)

    def _moved(self, node: Node) -> View:
        (operand,) = node.inputs
        source, shape = self.views[operand], self.nodes[operand].shape
        if node.op is Op.TRANSPOSE:
            return View(source.base, tuple(source.strides[axis] for axis in node.attributes.axes))
        if node.op is Op.BROADCAST:
            placed = dict(zip(node.attributes.axes, source.strides, strict=True))
            return View(source.base, tuple(placed.get(axis, 0) for axis in range(len(node.shape))))
        if self.nodes[source.base].is_splat and source.base not in self.copies:
            return View(source.base, (0,) * len(node.shape))
        if not is_dense(source.strides, shape):
            source = self._materialise(operand)
        return View(source.base, dense_strides(node.shape))

    def _materialise(self, index: int, force: bool = False) -> View:
        view, shape = self.views[index], self.nodes[index].shape
        splat = self.nodes[view.base].is_splat and view.base not in self.copies
        if force or splat or not is_dense(view.strides, shape):
            self.copies[index] = view
            self.views[index] = View(index, dense_strides(shape))
        return self.views[index]
