"""A graph as canonical bytes: what peers exchange instead of code, and what a manifest hashes."""

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import LIMITS, Limits, admit
from synaptic_mesh.engine.scan_body import count_nodes_untrusted
from synaptic_mesh.engine.verify import verify

GRAPH_BYTES_MAX = 4 << 20
"""Largest encoded graph: dense constants travel inside it, parameters do not."""


def graph_to_bytes(graph: Graph) -> bytes:
    """Return the canonical bytes of a graph."""
    return encode(graph)


def graph_digest(graph: Graph) -> Digest:
    """Return the name of a graph: the hash of its canonical bytes. Taken after autodiff and before `passes`."""
    return hash_bytes("SM/graph", graph_to_bytes(graph))


def graph_from_bytes_untrusted(data: bytes | memoryview, limits: Limits = LIMITS) -> Graph:
    """Return the lawful, affordable graph that `data` encodes. Raises PeerError for anything else."""
    graph = decode_untrusted(Graph, data, GRAPH_BYTES_MAX)
    count = count_nodes_untrusted(graph, limits.nodes_max)
    if count > limits.nodes_max:  # before `verify`, whose time grows with it
        raise PeerError(f"the graph has at least {count} nodes, the limit is {limits.nodes_max}")
    try:
        verify(graph)
        admit(graph, limits)
    except LocalError as error:
        raise PeerError(f"unlawful graph: {error}") from None
    return graph
