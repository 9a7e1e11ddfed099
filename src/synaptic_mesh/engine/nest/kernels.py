"""A kernel of the plan as a loop nest. Matrix products have schedules of their own in each renderer's package."""

import math
from typing import TypeVar

from synaptic_mesh.base.errors import broken
from synaptic_mesh.engine.fusion import Kernel, KernelKind
from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import CHECKED_INDEX, Graph, Node
from synaptic_mesh.engine.nest.builder import Builder
from synaptic_mesh.engine.nest.chain import Chain, Spot
from synaptic_mesh.engine.nest.convolution import Conv, emit_conv
from synaptic_mesh.engine.nest.elementwise import emit_elementwise
from synaptic_mesh.engine.nest.indexing import (
    emit_gather,
    emit_gather_last,
    emit_one_hot,
    emit_scatter_add,
    emit_scatter_add_last,
)
from synaptic_mesh.engine.nest.movement import Place, emit_concat, emit_pad
from synaptic_mesh.engine.nest.ranking import emit_cumsum, emit_top_k
from synaptic_mesh.engine.nest.reduction import Reduction, emit_argmax
from synaptic_mesh.engine.nest.rows import emit_rows

H = TypeVar("H")
_CHECKING = frozenset(KernelKind(op.value) for op in CHECKED_INDEX)
_EVEN_EMPTY = _CHECKING | {KernelKind.SCAN}


def emit_kernel(
    b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[Spot, H], checked: frozenset[int], work: H
) -> None:
    """Build a kernel that is no matrix product. `parameters`: the address of each of its spots; `work`: of scratch
    memory."""
    if kernel.kind is KernelKind.FUSED:
        emit_elementwise(b, Chain(b, graph, kernel, parameters, checked))
        return
    if kernel.kind is KernelKind.ROWS:
        emit_rows(b, graph, kernel, parameters, checked)
        return
    (index,) = kernel.nodes
    node, target = graph.nodes[index], parameters[index, 0]
    views = [kernel.operands[i] for i in node.inputs]
    places = [Place(parameters[view.base, view.offset], view.strides) for view in views]
    operands = [graph.nodes[i] for i in node.inputs]
    if kernel.kind is KernelKind.CONV:
        conv = Conv.of(node, operands[0].shape, operands[1].shape)
        emit_conv(b, conv, places[0], places[1], target, work)
    elif kernel.kind in _CHECKING:
        _emit_indexing(b, node, operands, [place.pointer for place in places], target)
    else:
        _emit_axis(b, node, operands, places, target)


def _emit_axis(b: Builder[H], node: Node, operands: list[Node], places: list[Place[H]], target: H) -> None:
    shape, source, axes = operands[0].shape, places[0].pointer, node.attributes.axes
    match KernelKind(node.op.value):
        case KernelKind.REDUCE_SUM:
            Reduction(b, shape, axes[0], node.dtype, True).emit(source, target)
        case KernelKind.REDUCE_MAX:
            Reduction(b, shape, axes[0], node.dtype, False).emit(source, target)
        case KernelKind.ARGMAX:
            emit_argmax(b, shape, axes[0], source, target)
        case KernelKind.CUMSUM:
            emit_cumsum(b, shape, axes[0], node.dtype, source, target)
        case KernelKind.TOP_K:
            emit_top_k(b, shape, axes[0], node.shape[axes[0]], source, target)
        case KernelKind.PAD:
            fill = int.from_bytes(node.attributes.bits, "little")
            emit_pad(b, shape, places[0], target, node.shape, Stride.of(node), fill)
        case KernelKind.CONCAT:
            emit_concat(b, axes[0], node.shape, [operand.shape for operand in operands], places, target)
        case _:
            broken(f"{node.op.value} has no loop nest")


def _emit_indexing(b: Builder[H], node: Node, operands: list[Node], sources: list[H], target: H) -> None:
    shape, last = node.shape, operands[-1].shape
    match KernelKind(node.op.value):
        case KernelKind.ONE_HOT:
            emit_one_hot(b, math.prod(last), shape[-1], sources[0], target)
        case KernelKind.GATHER:
            table = operands[0].shape
            emit_gather(b, last[0], (table[0], table[1]), sources[0], sources[1], target)
        case KernelKind.SCATTER_ADD:
            emit_scatter_add(b, last[0], (shape[0], shape[1]), sources[0], sources[1], target)
        case KernelKind.GATHER_LAST:
            rows, extent = math.prod(last[:-1]), operands[0].shape[-1]
            emit_gather_last(b, rows, extent, last[-1], sources[0], sources[1], target)
        case KernelKind.SCATTER_ADD_LAST:
            rows, extent = math.prod(last[:-1]), shape[-1]
            emit_scatter_add_last(b, rows, extent, last[-1], sources[0], sources[1], target)
        case _:
            broken(f"{node.op.value} has no loop nest")


def must_run(kernel: Kernel) -> bool:
    """True for kernels that write something or may check an index."""
    return 0 not in kernel.shape or kernel.kind in _EVEN_EMPTY
