"""Movement without moving: broadcast, transpose, reshape and slice become strided views of the tensor they show.

A node is *materialised* when its elements lie dense and row-major in a buffer of their own. Elementwise kernels and
matrix products read any view; reductions and indexing need dense operands, and so does a reshape of a view that is
not dense: where a view does not serve, the movement node is materialised by a copy kernel.
"""

import itertools
import math
from typing import NamedTuple

from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import CHECKED_INDEX, Graph, Node, Op, Shape
from synaptic_mesh.engine.scan_body import checks_index

MOVEMENT = frozenset({Op.BROADCAST, Op.TRANSPOSE, Op.RESHAPE, Op.SLICE})
NEEDS_DENSE = CHECKED_INDEX | {Op.REDUCE_SUM, Op.REDUCE_MAX, Op.ARGMAX, Op.CUMSUM, Op.TOP_K, Op.SCAN}
NEEDS_MEMORY = frozenset({Op.MATMUL, Op.CONV, Op.PAD, Op.CONCAT})
"""Operations that read any view, but no constant that is only a pattern, and products none that runs backward."""


class View(NamedTuple):
    """Where a node's elements lie: the materialised node `base`, elements to advance per step on each axis, and the
    element of the base at which the first one lies."""

    base: int
    strides: tuple[int, ...]
    offset: int = 0


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


def reshaped_strides(strides: tuple[int, ...], shape: Shape, new: Shape) -> tuple[int, ...] | None:
    """Return the strides over the extents `new` that visit the same elements in the same order, None where there are
    none. Axes that a reshape joins must lie without gaps; axes of extent 1 may have any stride."""
    if is_dense(strides, shape):
        return dense_strides(new)
    old = [(extent, stride) for extent, stride in zip(shape, strides, strict=True) if extent != 1]
    axes = [axis for axis, extent in enumerate(new) if extent != 1]
    result = [0] * len(new)
    while axes:  # the shortest runs of old and of new axes that have equally many elements
        run, joined = old[:1], axes[:1]
        while (size := math.prod(extent for extent, _ in run)) != (wanted := math.prod(new[axis] for axis in joined)):
            if size < wanted:
                run.append(old[len(run)])
            else:
                joined.append(axes[len(joined)])
        if any(outer[1] != inner[0] * inner[1] for outer, inner in itertools.pairwise(run)):
            return None
        stride = run[-1][1]
        for axis in reversed(joined):
            result[axis] = stride
            stride *= new[axis]
        old, axes = old[len(run) :], axes[len(joined) :]
    return tuple(result)


def live_nodes(graph: Graph) -> list[int]:
    """Return, ascending, the nodes that an output or an index check depends on, and every input."""
    live = set(graph.outputs.values())
    live |= {i for i, node in enumerate(graph.nodes) if node.op is Op.INPUT or checks_index(node)}
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
        elif node.op in NEEDS_MEMORY:
            for operand in node.inputs:
                view = self.views[operand]
                backward = node.op in (Op.MATMUL, Op.CONV) and any(stride < 0 for stride in view.strides)
                is_turned = node.op is Op.MATMUL and self.nodes[operand].op is Op.TRANSPOSE and len(node.shape) == 2
                turned = is_turned and operand not in self.copies  # simplify left it because many products use it
                if turned or backward or (self.nodes[view.base].is_splat and view.base not in self.copies):
                    self._materialise(operand, force=True)

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
            return source._replace(strides=tuple(source.strides[axis] for axis in node.attributes.axes))
        if node.op is Op.BROADCAST:
            placed = dict(zip(node.attributes.axes, source.strides, strict=True))
            return source._replace(strides=tuple(placed.get(axis, 0) for axis in range(len(node.shape))))
        if node.op is Op.SLICE:
            starts, steps = Stride.of(node)
            strides = tuple(stride * step for stride, step in zip(source.strides, steps, strict=True))
            start = sum(stride * at for stride, at in zip(source.strides, starts, strict=True))
            return View(source.base, strides, source.offset + start if node.size else 0)
        if self.nodes[source.base].is_splat and source.base not in self.copies:
            return View(source.base, (0,) * len(node.shape))
        reshaped = reshaped_strides(source.strides, shape, node.shape)
        if reshaped is None:
            return self._materialise(operand)._replace(strides=dense_strides(node.shape))
        return source._replace(strides=reshaped)

    def _materialise(self, index: int, force: bool = False) -> View:
        view, shape = self.views[index], self.nodes[index].shape
        splat = self.nodes[view.base].is_splat and view.base not in self.copies
        if force or splat or not is_dense(view.strides, shape):
            self.copies[index] = view
            self.views[index] = View(index, dense_strides(shape))
        return self.views[index]
