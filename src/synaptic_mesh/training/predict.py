"""Rows in, answers out: a model run on an injected backend. On an exact backend the bits are the same everywhere."""

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend, StepInvalid, Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.models.graphs import PREDICT_ROWS, SCORES, predict_graph, probability_graph
from synaptic_mesh.models.registry import parse_model
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.prepared import ClassTarget, NumberTarget
from synaptic_mesh.training.scaling import unscale_targets


class ClassPredictions(msgspec.Struct, frozen=True):
    """labels: the class of each row, by name (the first of equals); probabilities: (rows, classes) f32."""

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: F32
    trust: Trust


class NumberPredictions(msgspec.Struct, frozen=True):
    """values: (rows, names) f32 in the units of the data."""

    names: tuple[str, ...]
    values: F32
    trust: Trust


Predictions = ClassPredictions | NumberPredictions


def predict(model: TrainedModel, x: F32, backend: Backend) -> Predictions:
    """Return the model's answers for scaled features (rows, width); `sources.load_features` makes them from a file.

    Raises LocalError when the width differs or a result is not finite.
    """
    scores = predict_scores(model, x, backend)
    target = model.prepared.target
    if isinstance(target, NumberTarget):
        return NumberPredictions(target.names, _finite(unscale_targets(target, scores)), backend.trust)
    return _classes(target, scores, backend)


def predict_scores(model: TrainedModel, x: F32, backend: Backend) -> F32:
    """Return logits or scaled values (rows, outputs). A row's scores do not depend on the rows beside it.

    Raises LocalError when the width differs or a score is not finite.
    """
    prepared = model.prepared
    if x.ndim != 2 or x.shape[1] != prepared.width or not len(x):
        raise LocalError(f"features of shape {x.shape} do not fit the model, which takes (rows, {prepared.width})")
    rows = min(PREDICT_ROWS, len(x))
    graph = predict_graph(parse_model(model.spec), width=prepared.width, outputs=prepared.outputs, rows=rows)
    return _run_batches(backend, graph, {**model.parameters}, "x", x)[SCORES]


def _classes(target: ClassTarget, scores: F32, backend: Backend) -> ClassPredictions:
    graph = probability_graph(min(PREDICT_ROWS, len(scores)), scores.shape[1])
    found = _run_batches(backend, graph, {}, SCORES, scores)
    labels = tuple(target.classes[label] for label in found["label"])
    return ClassPredictions(target.classes, labels, found["probabilities"], backend.trust)


def _run_batches(backend: Backend, graph: Graph, fixed: dict[str, F32], name: str, rows: F32) -> dict[str, Array]:
    """Return every output of the graph for all rows; the last batch is filled up with zeros, which are cut off."""
    program = backend.compile(graph)
    for parameter, value in fixed.items():
        program.write(parameter, value)
    size = graph.nodes[graph.inputs[name]].shape[0]
    parts: dict[str, list[Array]] = {output: [] for output in graph.outputs}
    for start in range(0, len(rows), size):
        batch = np.zeros((size, rows.shape[1]), np.float32)
        chosen = rows[start : start + size]
        batch[: len(chosen)] = chosen
        program.write(name, batch)
        try:
            program.run()
        except StepInvalid as error:
            raise LocalError(f"rows {start + 1} to {start + len(chosen)} have no prediction: {error}") from None
        for output in parts:
            parts[output].append(program.read(output)[: len(chosen)])
    return {output: np.concatenate(found) for output, found in parts.items()}


def _finite(values: F32) -> F32:
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise LocalError(f"row {row + 1}: the prediction leaves the range of 32-bit floats; check its features")
    return values
