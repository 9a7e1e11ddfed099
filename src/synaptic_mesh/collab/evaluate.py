"""How good a state is on the held-out rows: exact facts that are part of a root vote.

The predict graph gives scores for a batch of rows: (batch, classes) or (batch, values). The rows of the test shard go
through it in order, the last batch filled up from the shard's beginning. Then one more engine graph over all rows gives
the count of rows whose highest score (the first of equals) is at the label, and the mean loss: cross entropy for
"classify", mean squared error for "regress", where the count is 0.
"""

from collections.abc import Mapping

import numpy as np

from synaptic_mesh.base.arrays import CANONICAL_NAN_BITS, F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.state import State
from synaptic_mesh.engine.backend import Program, StepInvalid
from synaptic_mesh.engine.composites import cross_entropy, mse
from synaptic_mesh.engine.ir import DType, Graph
from synaptic_mesh.engine.trace import Tensor, f32, i32, trace, where
from synaptic_mesh.ledger.manifest import Manifest

FEATURES, TARGET = "x", "y"
"""Names of the tensors of a row: what the model sees and what it is to say."""

Metrics = tuple[int, int, int]


def evaluate(
    predict: Program, metrics: Program, manifest: Manifest, state: State, test: Mapping[str, Array]
) -> Metrics:
    """Return (correct, rows, bits of the mean loss) of a state over the test rows.

    predict: the compiled predict graph. metrics: compiled `metrics_graph` for these rows. When a prediction or the loss
    is not finite, correct is 0 and the loss is the canonical NaN.
    """
    rows = len(test[TARGET])
    try:
        scores = predict_rows(predict, manifest, state, test[FEATURES])
        found = metrics({"scores": scores, "target": test[TARGET]})
    except StepInvalid:
        return 0, rows, CANONICAL_NAN_BITS
    return int(found["correct"]), rows, int(found["loss"].view(np.uint32))


def predict_rows(predict: Program, manifest: Manifest, state: State, features: Array) -> F32:
    """Return the scores of every row, in order. Shape (rows, ...). Raises StepInvalid."""
    for spec in manifest.parameters:
        predict.write(spec.name, state.parameters[spec.name])
    graph = predict.graph
    batch = graph.nodes[graph.inputs[FEATURES]].shape[0]
    output = next(iter(graph.outputs))
    parts = []
    for start in range(0, len(features), batch):
        predict.write(FEATURES, features[np.arange(start, start + batch) % len(features)])
        predict.run()
        parts.append(predict.read(output))
    return np.concatenate(parts)[: len(features)]


def scores_shape(predict: Graph, rows: int) -> tuple[int, ...]:
    """Return the shape of the scores of `rows` rows."""
    return (rows, *predict.nodes[next(iter(predict.outputs.values()))].shape[1:])


def metrics_graph(task: str, scores: tuple[int, ...], target: tuple[int, ...]) -> Graph:
    """Return the graph of (correct, loss) for such scores and targets. Raises LocalError if they do not fit."""
    if task == "regress":
        return trace(_regression, {"scores": f32(*scores), "target": f32(*target)}, checked=("loss",))
    if task == "classify":
        return trace(_classification, {"scores": f32(*scores), "target": i32(*target)}, checked=("loss",))
    raise LocalError(f"task {task!r} is not known: use classify or regress")


def _classification(scores: Tensor, target: Tensor) -> dict[str, Tensor]:
    hit = scores.argmax(1) == target  # (rows,)
    one, zero = (scores.builder.constant(value, target.shape, DType.I32) for value in (1, 0))
    return {"correct": where(hit, one, zero).sum(), "loss": cross_entropy(scores, target)}


def _regression(scores: Tensor, target: Tensor) -> dict[str, Tensor]:
    return {"correct": scores.builder.constant(0, (), DType.I32), "loss": mse(scores, target)}
