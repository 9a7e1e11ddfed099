"""What a kernel's code depends on: kernels of equal form share one function, whose parameters are addresses."""

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.nest.chain import is_constant_view, splat_bits


def kernel_buffers(kernel: Kernel) -> list[int]:
    """Return the buffers whose addresses a kernel's function takes, in order."""
    return list(dict.fromkeys((*kernel.reads, *(buffer for _, buffer in kernel.stores))))


def kernel_form(graph: Graph, kernel: Kernel, checked: frozenset[int]) -> object:
    """Return everything the code depends on, with nodes and buffers numbered by position."""
    number = {node: at for at, node in enumerate((*kernel.operands, *kernel.nodes))}
    place = {buffer: at for at, buffer in enumerate(kernel_buffers(kernel))}
    nodes = graph.nodes
    return (
        kernel.kind,
        kernel.shape,
        tuple(
            (nodes[i].op, nodes[i].dtype, nodes[i].attributes, tuple(number[o] for o in nodes[i].inputs))
            for i in kernel.nodes
        ),
        tuple(
            (nodes[i].shape, nodes[i].dtype, view.strides, view.offset, place.get(view.base), i in kernel.leaves)
            if not is_constant_view(graph, kernel, view)
            else splat_bits(graph, view.base)
            for i, view in kernel.operands.items()
        ),
        tuple((number[node], place[buffer], buffer in checked) for node, buffer in kernel.stores),
    )
