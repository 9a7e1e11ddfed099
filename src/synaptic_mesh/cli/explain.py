"""`synaptic explain`: what is inside a model."""

from pathlib import Path

from rich.table import Table

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.cli.output import Exit, console, emit
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.serialize import graph_digest, graph_from_bytes_untrusted
from synaptic_mesh.models.graphs import predict_graph
from synaptic_mesh.models.registry import parse_model
from synaptic_mesh.node.run_directory import RECORD_NAME, read_run
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.model_file import load_model
from synaptic_mesh.workers.explain import Explanation, NativeExplanation, explain, explain_native

WAT_LINES_SHOWN = 60
GRAPHS = ("predict", "step")


def run(path: Path, which: str, rows: int, whole_wat: bool, loops: bool, native: bool, as_json: bool) -> int:
    """Print graph, plan, module text and sizes; return the exit code."""
    if which not in GRAPHS:
        raise LocalError(f"graph {which!r} is not known; choose {' or '.join(GRAPHS)}")
    model = load_model(path)
    graph = step_graph(path) if which == "step" else prediction_graph(model, rows)
    found = explain(graph)
    result = {
        "model_spec": model.spec,
        "which": which,
        "graph_digest": graph_digest(graph).hex(),
        "graph": found.graph,
        "simplified": found.simplified,
        "plan": found.plan,
        "loops": found.loops,
        "wat": found.wat,
        "sizes": found.sizes,
    }
    machine_code = explain_native(graph) if native else None
    if machine_code is not None:
        result["native"] = {
            "profile": machine_code.profile,
            "plan": machine_code.plan,
            "text": machine_code.text,
            "assembly": machine_code.assembly,
            "sizes": machine_code.sizes,
        }
    emit("explain", result, as_json)
    if not as_json:
        show(found, whole_wat, loops)
        if machine_code is not None:
            show_native(machine_code)
    return Exit.OK


def prediction_graph(model: TrainedModel, rows: int) -> Graph:
    """Return the graph that predicts `rows` rows at once."""
    if rows < 1:
        raise LocalError(f"rows {rows} must be at least 1")
    prepared = model.prepared
    return predict_graph(parse_model(model.spec), width=prepared.width, outputs=prepared.outputs, rows=rows)


def step_graph(path: Path) -> Graph:
    """Return the training-step graph of a run directory. Raises LocalError when `path` is none."""
    if not (path / RECORD_NAME).is_file():
        raise LocalError(f"{path} is no run directory: the training step is kept with the run, not with the model")
    record, get_blob = read_run(path)
    data = get_blob(record.manifest.step_graph.digest)
    if blob_digest(data) != record.manifest.step_graph.digest:
        raise LocalError(f"{path}: the stored training step is damaged: its bytes are not those of the record")
    try:
        return graph_from_bytes_untrusted(data)
    except PeerError as error:
        raise LocalError(f"{path}: {error}") from None


def show(found: Explanation, whole_wat: bool, loops: bool) -> None:
    """Print an explanation for people: the module's text shortened unless all of it is wanted."""
    terminal = console(False)
    wat = found.wat.splitlines()
    shown = wat if whole_wat or len(wat) <= WAT_LINES_SHOWN else wat[:WAT_LINES_SHOWN]
    for title, text in (
        ("graph", found.graph),
        ("after simplification", found.simplified),
        ("kernels and arena", found.plan),
        *([("loop nests", found.loops)] if loops else []),
        ("WebAssembly", "\n".join(shown)),
    ):
        terminal.rule(title, align="left")
        terminal.print(text, markup=False, soft_wrap=True)
    if len(shown) < len(wat):
        terminal.print(f"... {len(wat) - len(shown)} more lines; --wat prints them all", style="dim")
    terminal.rule("sizes", align="left")
    terminal.print(sizes_table(found.sizes))


def show_native(found: NativeExplanation) -> None:
    """Print the assembly, all of it: whoever asks for it wants to read it."""
    terminal = console(False)
    terminal.rule(f"native code, {found.profile}", align="left")
    terminal.print(found.assembly, markup=False, soft_wrap=True)
    terminal.print(sizes_table(found.sizes))


def sizes_table(sizes: dict[str, float]) -> Table:
    """Return figures whose unit stands at the end of their name."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in sizes.items():
        table.add_row(name, f"{value:,.2f}" if name.endswith("_ms") else f"{value:,.0f}")
    return table
