"""From a verified graph to a plan: views, then kernels, then schedule and memory. Every backend that compiles starts
here."""

from collections.abc import Callable

from synaptic_mesh.engine.fusion import Kernel, build_kernels
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.planner import Plan, make_plan
from synaptic_mesh.engine.row_fusion import ROW_COLUMNS_MAX, join_rows
from synaptic_mesh.engine.views import live_nodes, resolve_views


def lower(
    graph: Graph, workspace_bytes: Callable[[Graph, Kernel], int], row_columns_max: int = ROW_COLUMNS_MAX
) -> Plan:
    """Return the plan of a verified graph; `workspace_bytes` says how much scratch memory a backend wants for a kernel,
    `row_columns_max` how many columns a row has at most whose operations it wants in one kernel. Raises LocalError when
    the arena would be over its limit."""
    live = live_nodes(graph)
    views = resolve_views(graph, live)
    kernels = join_rows(graph, build_kernels(graph, live, views), views, row_columns_max)
    scratch = max((workspace_bytes(graph, kernel) for kernel in kernels), default=0)
    return make_plan(graph, kernels, views, scratch)
