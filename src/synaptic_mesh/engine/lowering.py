"""From a verified graph to a plan: views, then kernels, then schedule and memory. Every backend that compiles starts
here."""

from collections.abc import Callable

from synaptic_mesh.engine.fusion import Kernel, build_kernels
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.planner import Plan, make_plan
from synaptic_mesh.engine.row_fusion import RowProfile, join_rows
from synaptic_mesh.engine.views import live_nodes, resolve_views

DEFAULT_ROWS = RowProfile()


def lower(
    graph: Graph,
    workspace_bytes: Callable[[Graph, Kernel], int],
    rows: RowProfile = DEFAULT_ROWS,
    is_body: bool = False,
) -> Plan:
    """Return the plan of a verified graph; `workspace_bytes` says how much scratch memory a backend wants for a kernel,
    `rows` what it wants of kernels of short rows. Raises LocalError when the arena would be over its limit."""
    live = live_nodes(graph)
    views = resolve_views(graph, live)
    kernels = join_rows(graph, build_kernels(graph, live, views), views, rows)
    scratch = max((workspace_bytes(graph, kernel) for kernel in kernels), default=0)
    return make_plan(graph, kernels, views, scratch, is_body)
