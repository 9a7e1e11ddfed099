"""Losses: f32 scalars, means over examples unless `reduction` says "sum" or "none"."""

from enum import Enum

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions.activations import log_softmax_along, softplus
from synaptic_mesh.engine.functions.indexing import gather_last
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, gather, log, maximum, where


class Reduction(Enum):
    """How one loss per example becomes a result."""

    MEAN = "mean"
    SUM = "sum"
    NONE = "none"


def softmax_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = Reduction.MEAN,
) -> Tensor:
    """-log_softmax(logits)[label] per row of f32 (n, classes) with i32 (n,), as torch's CrossEntropyLoss.

    class_weights (classes,) weigh each row by its label; the mean divides by the sum of these weights. Rows with
    `ignore_index` weigh 0. label_smoothing s mixes (1 - s) of the label with s / classes of every class.
    """
    if len(logits.shape) != 2 or labels.shape != logits.shape[:1] or labels.dtype is not DType.I32:
        raise LocalError(
            f"cross entropy takes f32 (n, classes) and i32 (n,), not {logits.shape} and "
            f"{labels.dtype.value} {labels.shape}"
        )
    rows, classes = logits.shape
    used = labels if ignore_index is None else where(labels == ignore_index, 0, labels)
    logs = log_softmax_along(logits, -1)
    weights = logits.builder.constant(1.0, (rows,)) if class_weights is None else _weights_of(class_weights, used)
    if ignore_index is not None:
        weights = where(labels == ignore_index, 0.0, weights)
    losses = -(gather_last(logs, used.reshape(rows, 1)).reshape(rows)) * weights
    if label_smoothing:
        every = logs if class_weights is None else logs * class_weights
        spread = -every.sum(-1)
        if ignore_index is not None:
            spread = where(labels == ignore_index, 0.0, spread)
        losses = losses * (1.0 - label_smoothing) + spread * (label_smoothing / classes)
    if reduction is Reduction.MEAN and (class_weights is not None or ignore_index is not None):
        return losses.sum() / weights.sum()
    return reduce_losses(losses, reduction)


def mean_squared_error(prediction: Tensor, target: Tensor, *, reduction: Reduction = Reduction.MEAN) -> Tensor:
    """(prediction - target)^2."""
    error = _error(prediction, target)
    return reduce_losses(error * error, reduction)


def mean_absolute_error(prediction: Tensor, target: Tensor, *, reduction: Reduction = Reduction.MEAN) -> Tensor:
    """|prediction - target|; the gradient at 0 is 0."""
    return reduce_losses(abs(_error(prediction, target)), reduction)


def huber(prediction: Tensor, target: Tensor, *, delta: float = 1.0, reduction: Reduction = Reduction.MEAN) -> Tensor:
    """e^2 / 2 where |e| < delta, else delta (|e| - delta / 2), e = prediction - target. Huber 1964."""
    error = _error(prediction, target)
    size = abs(error)
    return reduce_losses(where(size < delta, (error * error) * 0.5, (size - 0.5 * delta) * delta), reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, *, positive_weight: float = 1.0, reduction: Reduction = Reduction.MEAN
) -> Tensor:
    """-(w y log sigmoid(z) + (1 - y) log(1 - sigmoid(z))) as (1 - y) z + (1 + (w - 1) y) softplus(-z)."""
    if logits.shape != target.shape:
        raise LocalError(f"shapes {logits.shape} and {target.shape} differ")
    if positive_weight == 1.0:
        return reduce_losses((1.0 - target) * logits + softplus(-logits), reduction)
    weight = target * (positive_weight - 1.0) + 1.0
    return reduce_losses((1.0 - target) * logits + weight * softplus(-logits), reduction)


def binary_cross_entropy(probability: Tensor, target: Tensor, *, reduction: Reduction = Reduction.MEAN) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)), each logarithm not below -100 (as in torch)."""
    if probability.shape != target.shape:
        raise LocalError(f"shapes {probability.shape} and {target.shape} differ")
    yes, no = maximum(log(probability), -100.0), maximum(log(1.0 - probability), -100.0)
    return reduce_losses(-(target * yes + (1.0 - target) * no), reduction)


def hinge(score: Tensor, target: Tensor, *, reduction: Reduction = Reduction.MEAN) -> Tensor:
    """max(1 - target * score, 0) for targets of 1 and -1."""
    if score.shape != target.shape:
        raise LocalError(f"shapes {score.shape} and {target.shape} differ")
    return reduce_losses(relu(1.0 - target * score), reduction)


def reduce_losses(losses: Tensor, reduction: Reduction) -> Tensor:
    """Sum over all axes, the last first, and for a mean divide by the count; or the losses as they are."""
    if reduction is Reduction.NONE:
        return losses
    total = losses.sum()
    if reduction is Reduction.SUM:
        return total
    if losses.node.size == 0:
        raise LocalError(f"mean over no losses of shape {losses.shape}")
    return total / float(losses.node.size)


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape:
        raise LocalError(f"shapes {prediction.shape} and {target.shape} differ")
    return prediction - target


def _weights_of(class_weights: Tensor, labels: Tensor) -> Tensor:
    """Weight of each row's class: (n,)."""
    table = class_weights.reshape(class_weights.shape[0], 1)
    return gather(table, labels).reshape(labels.shape[0])
