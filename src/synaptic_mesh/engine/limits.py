"""What a graph may cost: integer formulas over static shapes, evaluated before anything is compiled or run.

Graphs have no data-dependent shapes, and a SCAN says how often its body runs, so these numbers bound every execution
and no metering is needed. A body counts once for memory and size, and as often as it runs for work.
"""

import math

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.geometry import ScanGeometry, conv_field_elements
from synaptic_mesh.engine.ir import Graph, Node, Op
from synaptic_mesh.engine.scan_body import all_nodes, scan_body

POLYNOMIAL_FLOPS = 32
LONG_POLYNOMIAL_FLOPS = 64
LONGEST_FLOPS = 192
CHARGES = {
    **dict.fromkeys((Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID), POLYNOMIAL_FLOPS),
    **dict.fromkeys((Op.ERF, Op.SIN, Op.COS), LONG_POLYNOMIAL_FLOPS),
    **dict.fromkeys((Op.POW, Op.THREEFRY), LONGEST_FLOPS),
}
"""Per element: the operations of the longest of a row, rounded up."""
PADDING_BYTES = 64


class Limits(msgspec.Struct, frozen=True):
    """Admission limits for graphs from others."""

    operations_max: int = 4096
    """Nodes that compute something: inputs and constants are not counted, but bounded by `nodes_max`."""
    nodes_max: int = 16384
    arena_bytes_max: int = 1 << 30
    flops_max: int = 1 << 40
    """Per step. A job's own budget is lower."""
    executions_max: int = 1 << 22
    """Operations that one step executes, a body's as often as it runs: bounds what calling small kernels costs."""


LIMITS = Limits()


def admit(graph: Graph, limits: Limits = LIMITS) -> None:
    """Raise LocalError naming the figure that is over its limit; a verified graph is expected."""
    nodes = list(all_nodes(graph))
    operations = sum(_is_operation(node) for node in nodes)
    figures = (
        ("operations", operations, limits.operations_max),
        ("nodes", len(nodes), limits.nodes_max),
        ("executions of operations", executions(graph), limits.executions_max),
        ("arena bytes", arena_bytes(graph), limits.arena_bytes_max),
        ("FLOPs", flops(graph), limits.flops_max),
    )
    for what, value, most in figures:
        if value > most:
            raise LocalError(f"the graph has {value} {what}, the limit is {most}")


def arena_bytes(graph: Graph) -> int:
    """Return an upper bound of a program's memory: every tensor but splats in its own place, padded to 64 bytes, each
    convolution's input once more, padded and dilated, and every body's tensors once."""
    tensors = sum(_padded(node.size) for node in graph.nodes if not node.is_splat)
    tensors += sum(_padded(_field_elements(graph, node)) for node in graph.nodes if node.op is Op.CONV)
    return tensors + sum(arena_bytes(scan_body(node)) for node in graph.nodes if node.op is Op.SCAN)


def flops(graph: Graph) -> int:
    """Return the arithmetic operations of one execution; moved and selected elements count as one each."""
    return sum(node_flops(graph, node) for node in graph.nodes)


def executions(graph: Graph) -> int:
    """Return how many operations one execution of the graph executes."""
    total = sum(_is_operation(node) for node in graph.nodes)
    scans = [node for node in graph.nodes if node.op is Op.SCAN]
    return total + sum(ScanGeometry.of(node).length * executions(scan_body(node)) for node in scans)


def _is_operation(node: Node) -> bool:
    return node.op not in (Op.INPUT, Op.CONSTANT)


def _padded(elements: int) -> int:
    return -(-4 * elements // PADDING_BYTES) * PADDING_BYTES


def _field_elements(graph: Graph, node: Node) -> int:
    x, w = (graph.nodes[i].shape for i in node.inputs)
    return conv_field_elements(node, x, w)


def node_flops(graph: Graph, node: Node) -> int:
    """Return those of one node."""
    operands = [graph.nodes[i] for i in node.inputs]
    match node.op:
        case Op.INPUT | Op.CONSTANT:
            return 0
        case Op.MATMUL:
            return 2 * node.size * operands[0].shape[-2 if node.attributes.transpose_left else -1]
        case Op.CONV:
            return 2 * node.size * math.prod(operands[1].shape[1:]) + _field_elements(graph, node)
        case Op.SCAN:
            return ScanGeometry.of(node).length * flops(scan_body(node)) + node.size
        case Op.TOP_K:  # one pass over the axis for each element chosen
            return operands[0].size * max(node.shape[node.attributes.axes[0]], 1)
    if node.op in CHARGES:
        return CHARGES[node.op] * node.size
    return max(node.size, *(operand.size for operand in operands))
