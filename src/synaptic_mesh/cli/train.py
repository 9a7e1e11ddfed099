"""`synaptic train`: the job code of the mesh, alone on this machine."""

import time
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from synaptic_mesh.cli.network_source import model_specification
from synaptic_mesh.cli.output import Exit, console, emit
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.manifest import PPM
from synaptic_mesh.models.graphs import parameter_count
from synaptic_mesh.models.registry import parse_model
from synaptic_mesh.node.journal import describe_metrics
from synaptic_mesh.node.local import LocalRun, run_local_job, solo_terms
from synaptic_mesh.node.run_directory import claim_directory, new_run_directory
from synaptic_mesh.training.columns import ColumnOptions
from synaptic_mesh.training.dataset import TEST_PPM
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.hyperparameters import (
    Hyperparameters,
    choose_hyperparameters,
    digits_hyperparameters,
    table_hyperparameters,
)
from synaptic_mesh.training.job import PreparedJob, prepare_job
from synaptic_mesh.training.sources import DIGITS, load_examples

RUNS = Path("runs")
OVERRIDES = ("outer_steps", "inner_steps", "batch", "learning_rate", "optimizer")


class Request(msgspec.Struct, frozen=True):
    """What the user asked for. None means: a default that fits the data."""

    data: str
    target: str | None
    model: str
    task: str | None
    outer_steps: int | None
    inner_steps: int | None
    batch: int | None
    learning_rate: float | None
    optimizer: str | None
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    ignored: tuple[str, ...]
    drop_missing: bool
    seed: int
    backend: str


def run(request: Request, directory: Path | None, as_json: bool) -> int:
    """Train; write model and run record; return the exit code."""
    job = prepare(request)
    directory = directory or new_run_directory(RUNS, "train")
    claim_directory(directory)
    terminal = console(as_json)
    started_s = time.monotonic()
    columns = (
        TextColumn("outer step"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(*columns, console=terminal) as progress:
        task = progress.add_task("", total=job.manifest.outer_steps, facts="")

        def show(state: JobState) -> None:
            progress.update(task, completed=len(state.steps), facts=facts_of(state))

        finished = run_local_job(job, directory, request.backend, show)
    wall_s = time.monotonic() - started_s
    result = describe(finished, directory, wall_s)
    emit("train", result, as_json)
    if not as_json:
        terminal.print(report(result))
    return Exit.OK


def prepare(request: Request) -> PreparedJob:
    """Return the job for a request. Raises LocalError naming what does not fit."""
    options = ColumnOptions(
        target=request.target,
        task=request.task,
        numeric=request.numeric,
        categorical=request.categorical,
        ignored=request.ignored,
        drop_missing=request.drop_missing,
    )
    examples = load_examples(request.data, options)
    prepared = examples.prepared
    model = model_specification(request.model, prepared.width, prepared.outputs)
    request = msgspec.structs.replace(request, model=model)
    chosen = {name: value for name in OVERRIDES if (value := getattr(request, name)) is not None}
    hyperparameters = choose_hyperparameters(default_hyperparameters(request, examples), chosen)
    return prepare_job(examples, request.model, solo_terms(), seed=request.seed, hyperparameters=hyperparameters)


def default_hyperparameters(request: Request, examples: Examples) -> Hyperparameters:
    """Return the tuned values for the digits, a robust choice for everything else."""
    if request.data == DIGITS:
        return digits_hyperparameters(1)
    prepared = examples.prepared
    rows = len(examples.x) * (PPM - TEST_PPM) // PPM
    parameters = parameter_count(parse_model(request.model).shapes(prepared.width, prepared.outputs))
    return table_hyperparameters(rows, prepared.task, parameters)


def facts_of(state: JobState) -> str:
    """Return the figures beside the progress bar."""
    if not state.steps:
        return ""
    figures = describe_metrics(state.manifest.task, state.steps[-1].metrics)
    accuracy = f", test accuracy {100 * figures['accuracy']:.1f} %" if "accuracy" in figures else ""
    return f"test loss {number(figures['loss'])}{accuracy}"


def number(value: float | None) -> str:
    """Return a loss for people."""
    return "not finite" if value is None else f"{value:.4f}"


def describe(finished: LocalRun, directory: Path, wall_s: float) -> dict[str, Any]:
    """Return the result as it is printed."""
    state = finished.state
    manifest = state.manifest
    return {
        "audit": "audited" if manifest.audit_rate_ppm else "unaudited",
        "data": manifest.data.name,
        "task": manifest.task,
        "model_spec": manifest.model,
        "outer_steps": len(state.steps),
        "inner_steps": manifest.inner_steps,
        "batch": manifest.batch,
        "seed": manifest.seed,
        "train_rows": sum(shard.rows for shard in manifest.data.shards),
        "test": describe_metrics(manifest.task, state.steps[-1].metrics),
        "params_root": state.root.hex(),
        "semantics_id": manifest.semantics_id.hex(),
        "wall_s": round(wall_s, 3),
        "model": str(finished.model),
        "run": str(directory),
    }


def report(result: dict[str, Any]) -> Table:
    """Return the summary for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    test = result["test"]
    if "accuracy" in test:
        table.add_row("test accuracy", f"{100 * test['accuracy']:.2f} % of {test['rows']} rows not trained on")
    table.add_row("test loss", f"{number(test['loss'])} over {test['rows']} rows not trained on")
    table.add_row("audit", f"{result['audit']}: a mesh of one, nobody re-executed the updates")
    table.add_row("root", result["params_root"])
    table.add_row("wall time", f"{result['wall_s']:.1f} s for {result['outer_steps']} outer steps")
    table.add_row("model", result["model"])
    table.add_row("run record", f"{result['run']} (check it: synaptic verify {result['run']})")
    return table
