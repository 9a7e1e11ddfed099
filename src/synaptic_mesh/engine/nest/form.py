"""What a kernel's code depends on: kernels of equal form share one function, whose parameters are addresses."""

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.nest.chain import Spot, is_constant_view, splat_bits


def kernel_spots(graph: Graph, kernel: Kernel) -> list[Spot]:
    """Return what the parameters of a kernel's function point to, in order."""
    views = [view for view in kernel.operands.values() if not is_constant_view(graph, kernel, view)]
    reads = [(view.base, view.offset) for view in views]
    return list(dict.fromkeys((*reads, *((buffer, 0) for _, buffer in kernel.stores))))


def kernel_form(graph: Graph, kernel: Kernel, checked: frozenset[int]) -> object:
    """Return everything the code depends on, with nodes and buffers numbered by position."""
    number = {node: at for at, node in enumerate((*kernel.operands, *kernel.nodes))}
    number |= {moved: number[node] for moved, node in kernel.inner.items()}
    place = {spot: at for at, spot in enumerate(kernel_spots(graph, kernel))}
    nodes = graph.nodes
    return (
        kernel.kind,
        kernel.shape,
        tuple(
            (nodes[i].op, nodes[i].dtype, nodes[i].attributes, tuple(number[o] for o in nodes[i].inputs))
            for i in kernel.nodes
        ),
        tuple(
            (nodes[i].shape, nodes[i].dtype, view.strides, place[view.base, view.offset], i in kernel.leaves)
            if not is_constant_view(graph, kernel, view)
            else splat_bits(graph, view.base)
            for i, view in kernel.operands.items()
        ),
        tuple((number[node], place[buffer, 0], buffer in checked) for node, buffer in kernel.stores),
    )
