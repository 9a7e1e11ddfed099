"""`synaptic evaluate`: a model against labelled rows."""

from pathlib import Path
from typing import Any

from rich.table import Table

from synaptic_mesh.cli.cache import open_cached_backend
from synaptic_mesh.cli.output import Exit, console, emit
from synaptic_mesh.training.evaluate import ClassEvaluation, Evaluation
from synaptic_mesh.training.evaluate import evaluate as evaluate_rows
from synaptic_mesh.training.model_file import load_model
from synaptic_mesh.training.sources import load_labelled


def run(model_path: Path, data: str, drop_missing: bool, backend: str, as_json: bool) -> int:
    """Score the model; return the exit code."""
    model = load_model(model_path)
    labelled = load_labelled(model, data, drop_missing)
    found = evaluate_rows(model, labelled.x, labelled.y, open_cached_backend(backend))
    result = describe(found) | {"held_out": labelled.held_out, "audit": model.provenance.audit_label}
    emit("evaluate", result, as_json)
    if not as_json:
        console(False).print(report(result))
    return Exit.OK


def describe(found: Evaluation) -> dict[str, Any]:
    """Return the scores as one object. Scores are exact; the figures derived from them in 64-bit floats are not
    promised to the last bit.
    """
    common: dict[str, Any] = {"rows": found.rows, "loss": found.loss, "trust": found.trust.value}
    if isinstance(found, ClassEvaluation):
        classes = [
            {"name": score.name, "rows": score.rows, "precision": score.precision, "recall": score.recall}
            for score in found.classes
        ]
        accuracy = {"accuracy": found.accuracy, "correct": found.correct}
        return common | accuracy | {"classes": classes, "confusion": [list(row) for row in found.confusion]}
    numbers = [{"name": n.name, "rmse": n.rmse, "mae": n.mae, "r2": n.r2} for n in found.numbers]
    return common | {"numbers": numbers}


def report(result: dict[str, Any]) -> Table:
    """Return the scores for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    if "accuracy" in result:
        table.add_row("accuracy", f"{100 * result['accuracy']:.2f} % ({result['correct']} of {result['rows']} rows)")
        for score in result["classes"]:
            figures = [percent("recall", score["recall"]), percent("precision", score["precision"])]
            table.add_row(f"class {score['name']}", ", ".join([*figures, f"{score['rows']} rows"]))
    for number in result.get("numbers", []):
        r2 = "undefined: the rows do not vary" if number["r2"] is None else f"{number['r2']:.4f}"
        table.add_row(number["name"], f"RMSE {number['rmse']:.6g}, MAE {number['mae']:.6g}, R2 {r2}")
    table.add_row("loss", f"{result['loss']:.6f}")
    held_out = (
        "held out: no worker was assigned them" if result["held_out"] else "as given; they may have been trained on"
    )
    table.add_row("rows", f"{result['rows']}, {held_out}")
    table.add_row("trust", f"{result['trust']} scores, {result['audit']} model")
    return table


def percent(name: str, value: float | None) -> str:
    """Return a share for people; None where it is undefined."""
    return f"{name} undefined" if value is None else f"{name} {100 * value:.1f} %"
