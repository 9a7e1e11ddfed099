"""What a graph may cost: integer formulas over static shapes, evaluated before anything is compiled or run.

Graphs have no loops and no data-dependent shapes, so these numbers bound every execution and no metering is needed.
"""

import math

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Graph, Node, Op

POLYNOMIAL_FLOPS = 32
"""Charged per element of exp, log, tanh and sigmoid: the operations of the longest, rounded up."""
PADDING_BYTES = 64


class Limits(msgspec.Struct, frozen=True):
    """Admission limits for graphs from others."""

    operations_max: int = 4096
    """Nodes that compute something: inputs and constants are not counted, but bounded by `nodes_max`."""
    nodes_max: int = 16384
    arena_bytes_max: int = 1 << 30
    flops_max: int = 1 << 40
    """Per step. A job's own budget is lower."""


LIMITS = Limits()


def admit(graph: Graph, limits: Limits = LIMITS) -> None:
    """Raise LocalError naming the figure that is over its limit; a verified graph is expected."""
    operations = sum(node.op not in (Op.INPUT, Op.CONSTANT) for node in graph.nodes)
    figures = (
        ("operations", operations, limits.operations_max),
        ("nodes", len(graph.nodes), limits.nodes_max),
        ("arena bytes", arena_bytes(graph), limits.arena_bytes_max),
        ("FLOPs", flops(graph), limits.flops_max),
    )
    for what, value, most in figures:
        if value > most:
            raise LocalError(f"the graph has {value} {what}, the limit is {most}")


def arena_bytes(graph: Graph) -> int:
    """Return an upper bound of a program's memory: every tensor but splats in its own place, padded to 64 bytes."""
    return sum(-(-4 * node.size // PADDING_BYTES) * PADDING_BYTES for node in graph.nodes if not node.is_splat)


def flops(graph: Graph) -> int:
    """Return the arithmetic operations of one execution; moved and selected elements count as one each."""
    return sum(_node_flops(node, [graph.nodes[i] for i in node.inputs]) for node in graph.nodes)


def _node_flops(node: Node, operands: list[Node]) -> int:
    if node.op in (Op.INPUT, Op.CONSTANT):
        return 0
    if node.op is Op.MATMUL:
        left = operands[0].shape
        return 2 * node.size * (left[0] if node.attributes.transpose_left else left[1])
    if node.op in (Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID):
        return POLYNOMIAL_FLOPS * node.size
    return max(node.size, *(math.prod(operand.shape) for operand in operands))
