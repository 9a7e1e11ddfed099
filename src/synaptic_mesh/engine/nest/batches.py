"""Loops over leading axes, around kernels that know matrices only."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from synaptic_mesh.engine.fusion import Kernel, KernelKind
from synaptic_mesh.engine.ir import Graph, Shape
from synaptic_mesh.engine.nest.builder import Builder, Walk
from synaptic_mesh.engine.nest.elementwise import collapse
from synaptic_mesh.engine.nest.movement import Place
from synaptic_mesh.engine.views import View

H = TypeVar("H")


def each_batch(b: Builder[H], extents: Shape, places: Sequence[Place[H]], body: Callable[[list[H]], None]) -> None:
    """Call `body(addresses)` for every index of the leading axes; places have strides of these axes only."""
    joined, change = collapse(extents, [place.strides for place in places])
    strides = [change[place.strides] for place in places]

    def outer(axis: int, pointers: Sequence[H]) -> None:
        if axis == len(joined):
            body(list(pointers))
            return

        def step(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            outer(axis + 1, here)
            return ()

        walks = [Walk(pointer, 4 * each[axis]) for pointer, each in zip(pointers, strides, strict=True)]
        b.loop(joined[axis], step, walks)

    outer(0, [place.pointer for place in places])


def matrix_kernel(graph: Graph, kernel: Kernel) -> Kernel:
    """Return the product of one pair of matrices of a batch: operands keep the strides of their last two axes."""
    (index,) = kernel.nodes
    operands = {i: View(view.base, view.strides[-2:], view.offset) for i, view in kernel.operands.items()}
    shape = graph.nodes[index].shape[-2:]
    return Kernel(KernelKind.FUSED, shape, (index,), ((index, index),), kernel.reads, operands, {}, index)
