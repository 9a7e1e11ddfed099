"""A plan for people: its kernels, and how well it uses its memory."""

from typing import NamedTuple

from synaptic_mesh.engine.fusion import matmul_extents
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.planner import HEADER_BYTES, TAIL_BYTES, Plan


class ArenaFigures(NamedTuple):
    """Bytes of an arena by what they are for. Buffers count with the bytes of their elements."""

    kept_bytes: int
    """Inputs, outputs and constants: they have their place for the program's life."""
    peak_bytes: int
    """Temporaries that are alive in the fullest step."""
    workspace_bytes: int
    """Scratch memory of products and convolutions."""
    waste_bytes: int
    """The rest but for the first line and what stands open behind the last buffer: gaps, and ends of lines."""

    @property
    def waste(self) -> float:
        """The waste as a part of the whole."""
        whole = sum(self)
        return self.waste_bytes / whole if whole else 0.0


def arena_figures(graph: Graph, plan: Plan) -> ArenaFigures:
    """Return the figures of a plan."""
    kept = {*plan.constants, *graph.inputs.values(), *plan.output_buffers.values()}
    places = {plan.offsets[buffer]: _bytes(graph, buffer) for buffer in kept}  # in place of an input: one place
    living = _live_bytes(graph, plan, set(plan.offsets) - kept)
    workspace = plan.arena_bytes - TAIL_BYTES - plan.workspace
    kept_bytes, peak = sum(places.values()), max(living, default=0)
    waste = plan.arena_bytes - HEADER_BYTES - TAIL_BYTES - workspace - kept_bytes - peak
    return ArenaFigures(kept_bytes, peak, workspace, waste)


def _live_bytes(graph: Graph, plan: Plan, temporaries: set[int]) -> list[int]:
    """Return for each kernel of the plan the bytes of temporaries that hold something while it runs."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, kernel in enumerate(plan.kernels):
        for buffer in (*kernel.reads, *(stored for _, stored in kernel.stores)):
            if buffer in temporaries:
                first.setdefault(buffer, step)
                last[buffer] = step
    living = [0] * len(plan.kernels)
    for buffer, start in first.items():
        for step in range(start, last[buffer] + 1):
            living[step] += _bytes(graph, buffer)
    return living


def _bytes(graph: Graph, buffer: int) -> int:
    return 4 * graph.nodes[buffer if buffer >= 0 else -1 - buffer].size


def format_plan(graph: Graph, plan: Plan) -> str:
    """Return the plan as text: one kernel a line, then the arena's figures."""
    lines = []
    for kernel in plan.kernels:
        stores = ", ".join(f"%{node} -> {plan.offsets[buffer]}" for node, buffer in kernel.stores)
        names = " ".join(graph.nodes[node].op.value for node in kernel.nodes) or "copy"
        extents = f" {'x'.join(map(str, matmul_extents(graph, kernel.root)))}" if kernel.root is not None else ""
        lines.append(f"{kernel.kind.value} {kernel.shape}: {names}{extents}; stores {stores or 'nothing'}")
    for source, target in plan.copies_last:
        lines.append(f"copy buffer {source} to input %{target}")
    figures = arena_figures(graph, plan)
    lines.append(
        f"arena {plan.arena_bytes} bytes: {figures.kept_bytes} kept, {figures.peak_bytes} temporaries at most, "
        f"{figures.workspace_bytes} workspace at {plan.workspace}, {figures.waste_bytes} waste ({figures.waste:.1%})"
    )
    return "\n".join(lines)
