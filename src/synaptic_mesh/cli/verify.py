"""`synaptic verify`: executes a finished run again, and compares the model that lies beside it."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.cli.cache import open_cached_foreign_backend
from synaptic_mesh.cli.output import Exit, console, emit
from synaptic_mesh.collab.record import RunRecord
from synaptic_mesh.collab.verification import Finding, Report, verify_run
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.node.run_directory import GetBlob, read_run, trained_model
from synaptic_mesh.training.model_file import FILE_NAME, encode_model, load_model


def run(directory: Path, backend_name: str, as_json: bool) -> int:
    """Verify the run; return OK when every root is reached and the model, if there is one, is that of the last root;
    PROMISE_FAILED otherwise.
    """
    record, get_blob = read_run(directory)
    backend = open_cached_foreign_backend(backend_name)
    terminal = console(as_json)
    columns = (TextColumn("outer step"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal) as progress:
        task = progress.add_task("", total=len(record.steps))
        report = verify_run(
            record, get_blob, backend, semantics_id(), lambda step: progress.update(task, completed=step + 1)
        )
    has_model = (directory / FILE_NAME).exists()
    if report.is_confirmed and has_model and (what := model_finding(directory, record, get_blob)):
        report = replace(report, finding=Finding(None, b"", what))
    audited = bool(record.manifest.audit_rate_ppm)
    emit("verify", describe(report, audited, len(record.steps), has_model), as_json)
    if not as_json:
        terminal.print(sentence(report, len(record.steps)))
        if report.is_confirmed and not has_model:
            terminal.print(f"There is no {FILE_NAME} beside the record to compare.")
        if not audited:
            terminal.print("This was a run in a mesh of one: its record is complete, but nobody else stood behind it.")
    return Exit.OK if report.is_confirmed else Exit.PROMISE_FAILED


def model_finding(directory: Path, record: RunRecord, get_blob: GetBlob) -> str:
    """Return how the model file of a confirmed run departs from its last root, or ""."""
    try:
        found = encode_model(load_model(directory))
    except LocalError as error:
        return str(error)
    if found == encode_model(trained_model(record, get_blob)):
        return ""
    return f"{FILE_NAME} is not the model of the last root, so do not use it; record and blobs hold"


def describe(report: Report, audited: bool, steps: int, has_model: bool) -> dict[str, Any]:
    """Return the report as one object."""
    finding = report.finding
    return {
        "confirmed": report.is_confirmed,
        "job": report.job.hex(),
        "backend": report.backend,
        "audit": "audited" if audited else "unaudited",
        "steps": steps,
        "steps_confirmed": report.steps_confirmed,
        "updates_confirmed": report.updates_confirmed,
        "root": report.root.hex(),
        "model_confirmed": report.is_confirmed if has_model else None,
        "finding": None
        if finding is None
        else {
            "step": finding.step,
            "worker": finding.worker.hex() or None,
            "what": finding.what,
            "sentence": finding.sentence(),
        },
    }


def sentence(report: Report, steps: int) -> str:
    """Return the report for people."""
    if report.finding is None:
        return (
            f"Confirmed on {report.backend}: all {steps} committed roots are reached, "
            f"{report.updates_confirmed} updates executed again bit for bit; last root {report.root.hex()}"
        )
    held = f"the {report.steps_confirmed} outer steps before it hold"
    return f"NOT confirmed on {report.backend}: {report.finding.sentence()} ({held})"
