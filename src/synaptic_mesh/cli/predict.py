"""`synaptic predict`: rows in, answers out."""

import csv
import io
import sys
from pathlib import Path
from typing import Any

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.cli.cache import open_cached_backend
from synaptic_mesh.cli.output import Exit, emit
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.model_file import load_model
from synaptic_mesh.training.predict import ClassPredictions, Predictions
from synaptic_mesh.training.predict import predict as predict_rows
from synaptic_mesh.training.sources import load_features


def run(model_path: Path, inputs: str, output: Path | None, drop_missing: bool, backend: str, as_json: bool) -> int:
    """Predict every row; return the exit code. Raises LocalError when both a CSV file and JSON are asked for."""
    if as_json and output is not None:
        raise LocalError(f"--output {output} takes CSV and --json prints to standard output: choose one of them")
    model = load_model(model_path)
    answers = predict_rows(model, load_features(model, inputs, drop_missing), open_cached_backend(backend))
    if as_json:
        emit("predict", describe(model, answers), True)
        return Exit.OK
    text = as_csv(answers)
    if output is None:
        sys.stdout.write(text)
        return Exit.OK
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"cannot write {output}: {error.strerror}") from None
    return Exit.OK


def as_csv(answers: Predictions) -> str:
    """Return one line per row: the label and its probabilities, or the values. Shortest decimals that give back the
    same 32-bit floats.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if isinstance(answers, ClassPredictions):
        writer.writerow(["prediction", *[f"p({name})" for name in answers.classes]])
        for label, row in zip(answers.labels, answers.probabilities, strict=True):
            writer.writerow([label, *[str(value) for value in row]])
    else:
        writer.writerow(answers.names)
        writer.writerows([str(value) for value in row] for row in answers.values)
    return text.getvalue()


def describe(model: TrainedModel, answers: Predictions) -> dict[str, Any]:
    """Return the answers as one object."""
    common: dict[str, Any] = {"trust": answers.trust.value, "audit": model.provenance.audit_label}
    if isinstance(answers, ClassPredictions):
        rows = [
            {"label": label, "probabilities": [float(value) for value in row]}
            for label, row in zip(answers.labels, answers.probabilities, strict=True)
        ]
        return {**common, "classes": list(answers.classes), "rows": rows}
    return {**common, "names": list(answers.names), "rows": [[float(value) for value in row] for row in answers.values]}
