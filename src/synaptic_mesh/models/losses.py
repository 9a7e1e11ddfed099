"""What training makes small, by name: a loss per row, the kind of target it takes, and how scores are read."""

from collections.abc import Callable, Sequence

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import log_softmax, mean, softmax
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, exp, log, maximum, one_hot, sigmoid, where


class Loss(msgspec.Struct, frozen=True):
    """rows: (scores (rows, ...), targets) -> loss of each row (rows,). read: scores -> probabilities or values."""

    name: str
    rows: Callable[[Tensor, Tensor], Tensor]
    read: Callable[[Tensor], Tensor]
    is_class: bool = False
    """Targets are class numbers, i32, with the shape of the scores without the last axis; else f32 like the scores."""


def cross_entropy_rows(scores: Tensor, labels: Tensor) -> Tensor:
    """-log_softmax(scores)[label] of each row, the mean over places in a row. labels: i32, checked."""
    if labels.dtype is not DType.I32 or labels.shape != scores.shape[:-1]:
        raise LocalError(
            f"cross entropy takes scores (rows, ..., classes) and labels i32 without the last axis, not {scores.shape} "
            f"and {labels.dtype.value} {labels.shape}"
        )
    picked = -(log_softmax(scores) * one_hot(labels, scores.shape[-1])).sum(-1)
    return _mean_of_row(picked)


def binary_cross_entropy_rows(scores: Tensor, targets: Tensor) -> Tensor:
    """max(z, 0) - z t + log(1 + e^-|z|) for logits z and targets t in [0, 1], the mean over a row."""
    _same("binary cross entropy", scores, targets)
    return _mean_of_row(maximum(scores, 0.0) - scores * targets + log(exp(-abs(scores)) + 1.0))


def squared_error_rows(scores: Tensor, targets: Tensor) -> Tensor:
    """(score - target)^2, the mean over a row."""
    _same("mse", scores, targets)
    error = scores - targets
    return _mean_of_row(error * error)


def absolute_error_rows(scores: Tensor, targets: Tensor) -> Tensor:
    """|score - target|, the mean over a row."""
    _same("mae", scores, targets)
    return _mean_of_row(abs(scores - targets))


def huber_rows(scores: Tensor, targets: Tensor) -> Tensor:
    """Half the squared error up to 1, the absolute error - 1/2 beyond, the mean over a row. Huber 1964."""
    _same("huber", scores, targets)
    error = abs(scores - targets)
    return _mean_of_row(where(error < 1.0, (error * error) * 0.5, error - 0.5))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross_entropy", cross_entropy_rows, softmax, is_class=True),
        Loss("binary_cross_entropy", binary_cross_entropy_rows, sigmoid),
        Loss("mse", squared_error_rows, lambda scores: scores),
        Loss("mae", absolute_error_rows, lambda scores: scores),
        Loss("huber", huber_rows, lambda scores: scores),
    )
}


def find_loss(name: str) -> Loss:
    """Return the loss of this name. Raises LocalError naming the known ones."""
    if name not in LOSSES:
        raise LocalError(f"loss {name!r} is not known; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def total_loss(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over rows, or sum(loss * weight) / sum(weight)."""
    if weights is None:
        return mean(rows)
    return (rows * weights).sum() / weights.sum()


# --- metrics: one figure for each row


def accuracy_rows(scores: Tensor, targets: Tensor) -> Tensor:
    """1 where the greatest score is at the label (f32 targets: on its side of 0); the mean over places in a row."""
    if targets.dtype is DType.I32:
        return _mean_of_row(where(scores.argmax(-1) == targets, 1.0, 0.0))
    hit = where(scores > 0.0, 1.0, 0.0) == where(targets > 0.5, 1.0, 0.0)
    return _mean_of_row(where(hit, 1.0, 0.0))


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "accuracy": accuracy_rows,
    "mae": absolute_error_rows,
    "mse": squared_error_rows,
}


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise LocalError naming the first metric that is not known."""
    for name in metrics:
        if name not in METRICS:
            raise LocalError(f"metric {name!r} is not known; choose one of {', '.join(METRICS)}")


def _mean_of_row(values: Tensor) -> Tensor:
    while len(values.shape) > 1:
        values = mean(values, -1)
    return values


def _same(name: str, scores: Tensor, targets: Tensor) -> None:
    if scores.shape != targets.shape or targets.dtype is not DType.F32:
        raise LocalError(
            f"{name}: the network gives {scores.shape}, the targets are {targets.dtype.value} {targets.shape}; "
            "they must have one shape"
        )
