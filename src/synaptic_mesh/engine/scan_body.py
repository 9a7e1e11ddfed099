"""The body of a SCAN: a graph inside a node's attributes, with names that say what each of its tensors is for.

Inputs are "state.0", "state.1", ..., "slice.0", ... and "fixed.0", ...: one for each operand of the node, in order.
Outputs are "state.0", ..., one for each state and carried to it, and "out.0", ...: what is kept of every step. The body
is the step of a program that runs `length` times: states are its carried inputs.

A body travels as canonical bytes in `Attributes.bits`, so graphs without a SCAN keep their bytes and names.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.engine.geometry import ScanGeometry
from synaptic_mesh.engine.ir import CHECKED_INDEX, Graph, Node, Op, Shape

STATE, SLICE, FIXED, OUT = "state", "slice", "fixed", "out"
SCAN_LENGTH_MAX = 1 << 20
"""Most steps of one SCAN. What a graph may cost in all is in `limits`."""
SCAN_DEPTH_MAX = 4
"""Most SCANs inside one another."""
SCAN_OPERANDS_MAX = 256
"""Most operands of one SCAN: a gradient has one for each tensor that it needs of the steps it goes back through."""
BODY_BYTES_MAX = 1 << 20
"""Largest encoded body."""
BODY_NODES_MAX = 8192
BODIES_KEPT = 32
"""Decoded bodies that are kept: at most a few MB each."""


class Part(NamedTuple):
    """One result of a SCAN: where it begins in the node's tensor, in elements, and its shape."""

    start: int
    shape: Shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def name_of(kind: str, number: int) -> str:
    """Return the name of an input or output of a body."""
    return f"{kind}.{number}"


def operand_names(geometry: ScanGeometry, operands: int) -> list[str]:
    """Return the body inputs that the operands of a SCAN are, in order."""
    states = [name_of(STATE, number) for number in range(geometry.states)]
    slices = [name_of(SLICE, number) for number in range(geometry.sequences)]
    return [*states, *slices, *(name_of(FIXED, number) for number in range(operands - len(states) - len(slices)))]


def body_bytes(body: Graph) -> bytes:
    """Return what stands in the node's attributes."""
    return encode(body)


@lru_cache(maxsize=BODIES_KEPT)
def decode_body_untrusted(bits: bytes) -> Graph:
    """Return the graph that the bytes encode, not yet verified. Raises PeerError for bytes that encode none, or one
    that is too large or holds SCANs too deep inside one another."""
    body = _decode_untrusted(bits)
    _refuse_deep(body, SCAN_DEPTH_MAX - 1)
    return body


def count_nodes_untrusted(graph: Graph, enough: int) -> int:
    """Return how many nodes a graph that is not verified has with those of its bodies; counting ends above `enough`.
    Raises PeerError for a body that is none."""
    count = len(graph.nodes)
    for node in graph.nodes:
        if count > enough:
            break
        if node.op is Op.SCAN:
            count += count_nodes_untrusted(decode_body_untrusted(node.attributes.bits), enough - count)
    return count


def scan_body(node: Node) -> Graph:
    """Return the body of a lawful SCAN."""
    return decode_body_untrusted(node.attributes.bits)


def scan_parts(node: Node) -> tuple[list[Part], list[Part]]:
    """Return where the states after the last step and the outputs of all steps, whose first axis is the steps, lie in
    the tensor of a lawful SCAN."""
    body, geometry = scan_body(node), ScanGeometry.of(node)
    return parts_of(body, geometry)


def parts_of(body: Graph, geometry: ScanGeometry) -> tuple[list[Part], list[Part]]:
    """The same for a body that no node holds yet."""
    states, outs, at = [], [], 0
    for number in range(geometry.states):
        states.append(Part(at, body.nodes[body.outputs[name_of(STATE, number)]].shape))
        at += states[-1].size
    for number in range(len(body.outputs) - geometry.states):
        outs.append(Part(at, (geometry.length, *body.nodes[body.outputs[name_of(OUT, number)]].shape)))
        at += outs[-1].size
    return states, outs


def checks_index(node: Node) -> bool:
    """True for operations that can make the step invalid, so they run even where nothing uses them."""
    if node.op is Op.SCAN:
        return any(checks_index(inner) for inner in scan_body(node).nodes)
    return node.op in CHECKED_INDEX


def all_nodes(graph: Graph) -> Iterator[Node]:
    """Yield every node of a lawful graph and of the bodies in it."""
    for node in graph.nodes:
        yield node
        if node.op is Op.SCAN:
            yield from all_nodes(scan_body(node))


def _decode_untrusted(bits: bytes) -> Graph:
    body = decode_untrusted(Graph, bits, BODY_BYTES_MAX)
    if len(body.nodes) > BODY_NODES_MAX:
        raise PeerError(f"a body of {len(body.nodes)} nodes is over the limit of {BODY_NODES_MAX}")
    return body


def _refuse_deep(body: Graph, levels: int) -> None:
    for node in body.nodes:
        if node.op is Op.SCAN:
            if levels == 0:
                raise PeerError(f"scans stand more than {SCAN_DEPTH_MAX} deep inside one another")
            _refuse_deep(_decode_untrusted(node.attributes.bits), levels - 1)
