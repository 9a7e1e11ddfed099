"""A kernel of the plan as a loop nest. Matrix products have schedules of their own in each renderer's package."""

import math
from typing import TypeVar

from synaptic_mesh.base.errors import broken
from synaptic_mesh.engine.fusion import Kernel, KernelKind
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.nest.builder import Builder
from synaptic_mesh.engine.nest.chain import Chain
from synaptic_mesh.engine.nest.elementwise import emit_elementwise
from synaptic_mesh.engine.nest.indexing import emit_gather, emit_one_hot, emit_scatter_add
from synaptic_mesh.engine.nest.reduction import Reduction, emit_argmax

H = TypeVar("H")


def emit_kernel(b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[int, H], checked: frozenset[int]) -> None:
    """Build a kernel that is no matrix product. `parameters`: the address of each of its buffers."""
    if kernel.kind is KernelKind.FUSED:
        emit_elementwise(b, Chain(b, graph, kernel, parameters, checked))
        return
    (index,) = kernel.nodes
    node = graph.nodes[index]
    target = parameters[index]
    sources = [parameters[kernel.operands[i].base] for i in node.inputs]
    shapes = [graph.nodes[i].shape for i in node.inputs]
    match kernel.kind:
        case KernelKind.REDUCE_SUM | KernelKind.REDUCE_MAX:
            is_sum = kernel.kind is KernelKind.REDUCE_SUM
            Reduction(b, shapes[0], node.attributes.axes[0], node.dtype, is_sum).emit(sources[0], target)
        case KernelKind.ARGMAX:
            emit_argmax(b, shapes[0], node.attributes.axes[0], sources[0], target)
        case KernelKind.ONE_HOT:
            emit_one_hot(b, math.prod(shapes[0]), node.shape[-1], sources[0], target)
        case KernelKind.GATHER:
            emit_gather(b, shapes[1][0], (shapes[0][0], shapes[0][1]), sources[0], sources[1], target)
        case KernelKind.SCATTER_ADD:
            emit_scatter_add(b, shapes[1][0], (node.shape[0], node.shape[1]), sources[0], sources[1], target)
        case _:
            broken(f"{kernel.kind.value} has no loop nest")


def must_run(kernel: Kernel) -> bool:
    """True for kernels that write something or check an index."""
    return 0 not in kernel.shape or kernel.kind in (KernelKind.ONE_HOT, KernelKind.GATHER, KernelKind.SCATTER_ADD)
