"""How good a model is on labelled rows: figures for people, computed in double precision.

The scores come from the backend and are as exact as it is; means and roots over them are *tolerant*: they serve no
verdict and no vote. (Votes over held-out rows carry exact metrics of their own: `collab.evaluate`.)
"""

import math
from typing import cast

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend, Trust
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.predict import predict_scores
from synaptic_mesh.training.prepared import NumberTarget
from synaptic_mesh.training.scaling import unscale_targets


class ClassScore(msgspec.Struct, frozen=True):
    """One class: rows that have it, and what the model made of it. A ratio without rows is None."""

    name: str
    rows: int
    recall: float | None
    precision: float | None


class ClassEvaluation(msgspec.Struct, frozen=True):
    """confusion[i][j]: rows of class i that were given class j. `loss` is the mean cross entropy in nats."""

    rows: int
    correct: int
    accuracy: float
    loss: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    trust: Trust


class NumberScore(msgspec.Struct, frozen=True):
    """One predicted number, in the units of the data. `r2` is None where the rows do not vary."""

    name: str
    rmse: float
    mae: float
    r2: float | None


class NumberEvaluation(msgspec.Struct, frozen=True):
    """`loss` is the mean squared error of the scaled targets: what training minimises."""

    rows: int
    loss: float
    numbers: tuple[NumberScore, ...]
    trust: Trust


Evaluation = ClassEvaluation | NumberEvaluation


def evaluate(model: TrainedModel, x: F32, y: Array, backend: Backend) -> Evaluation:
    """Return the figures for scaled features (rows, width) and targets as trained on; see `sources.load_labelled`.

    Raises LocalError when shapes do not fit the model.
    """
    scores = predict_scores(model, x, backend)
    if len(y) != len(x):
        raise LocalError(f"{len(y)} targets do not fit {len(x)} rows")
    target = model.prepared.target
    if isinstance(target, NumberTarget):
        return _numbers(target, scores, cast(F32, y), backend.trust)
    return _classes(target.classes, scores, y, backend.trust)


def _classes(names: tuple[str, ...], scores: F32, y: Array, trust: Trust) -> ClassEvaluation:
    guesses = scores.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (y, guesses), 1)
    hits, rows, guessed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = tuple(
        ClassScore(name, int(rows[at]), _ratio(hits[at], rows[at]), _ratio(hits[at], guessed[at]))
        for at, name in enumerate(names)
    )
    correct = int(hits.sum())
    return ClassEvaluation(
        rows=len(y),
        correct=correct,
        accuracy=correct / len(y),
        loss=_cross_entropy(scores, y),
        classes=per_class,
        confusion=tuple(tuple(int(count) for count in line) for line in confusion),
        trust=trust,
    )


def _cross_entropy(scores: F32, y: Array) -> float:
    logits = scores.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return float(losses.mean())


def _numbers(target: NumberTarget, scores: F32, y: F32, trust: Trust) -> NumberEvaluation:
    scaled_error = scores.astype(np.float64) - y.astype(np.float64)
    actual = unscale_targets(target, y).astype(np.float64)
    error = unscale_targets(target, scores).astype(np.float64) - actual
    numbers = tuple(_number(name, error[:, at], actual[:, at]) for at, name in enumerate(target.names))
    return NumberEvaluation(len(y), float((scaled_error * scaled_error).mean()), numbers, trust)


def _number(name: str, error: Array, actual: Array) -> NumberScore:
    squared = float((error * error).sum())
    spread = float(((actual - actual.mean()) ** 2).sum())
    r2 = 1 - squared / spread if spread > 0 else None
    return NumberScore(name, math.sqrt(squared / len(error)), float(np.abs(error).mean()), r2)


def _ratio(part: int, whole: int) -> float | None:
    return int(part) / int(whole) if whole else None
