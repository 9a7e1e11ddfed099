"""What a backend cannot compile yet: it refuses such a graph by name and never gives a wrong answer."""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Graph, Node, Op
from synaptic_mesh.engine.scan_body import all_nodes

BATCHED_MATMUL = "matmul/batched"
MISSING: dict[str, frozenset[str]] = {"wasm": frozenset(), "native": frozenset()}
"""Features by the backend's name. The suites that compare backends leave them out."""


def feature(node: Node) -> str:
    """Return what a backend must know to compile a node."""
    return BATCHED_MATMUL if node.op is Op.MATMUL and len(node.shape) > 2 else node.op.value


def missing_features(graph: Graph, backend: str) -> list[str]:
    """Return, sorted, what a backend lacks for `graph`; `backend` names one or several of MISSING."""
    lacks = frozenset[str]().union(*(features for name, features in MISSING.items() if name in backend))
    return sorted({feature(node) for node in all_nodes(graph)} & lacks)


def refuse_missing(graph: Graph, backend: str) -> None:
    """Raise LocalError naming operation and backend when the backend cannot compile `graph`."""
    lacks = missing_features(graph, backend)
    if lacks:
        raise LocalError(f"the {backend} backend cannot compile {', '.join(lacks)} yet: use the reference backend")
