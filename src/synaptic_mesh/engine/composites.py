"""Softmax, losses and dense layers: published decompositions into primitives (semantics rule 10).

The order of operations in these functions is part of the semantics: changing it changes graphs and their digests.
"""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, exp, log, maximum, one_hot, stop_gradient


def relu(x: Tensor) -> Tensor:
    """max(x, +0): NaN stays NaN, -0 becomes +0; the gradient at 0 is 0."""
    return maximum(x, 0.0)


def dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias. x: (n, k); weight: (k, m); bias: (m,). The sum starts at +0, the bias is added last."""
    return x @ weight + bias


def mean(x: Tensor, axis: int | None = None) -> Tensor:
    """Sum divided by the count (rounded to f32). Raises LocalError when there is nothing to average."""
    total = x.sum(axis)
    count = x.node.size if axis is None else x.shape[axis]
    if count == 0:
        raise LocalError(f"mean over no elements of shape {x.shape}")
    return total / float(count)


def softmax(x: Tensor) -> Tensor:
    """e^(x - m) / sum e^(x - m) over the last axis, m the row's maximum (no gradient flows through m)."""
    power = exp(_shifted(x))
    return power / _along_last(power.sum(-1), x)


def log_softmax(x: Tensor) -> Tensor:
    """(x - m) - log sum e^(x - m) over the last axis."""
    shifted = _shifted(x)
    return shifted - _along_last(log(exp(shifted).sum(-1)), x)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of -log_softmax(logits)[label]. logits: f32 (n, classes); labels: i32 (n,), checked.

    The row's term is the sum of log_softmax * one_hot; the mean is the negated sum of rows divided by n.
    """
    if len(logits.shape) != 2 or labels.shape != logits.shape[:1] or labels.dtype is not DType.I32:
        raise LocalError(
            f"cross_entropy takes f32 (n, classes) and i32 (n,), not {logits.shape} and "
            f"{labels.dtype.value} {labels.shape}"
        )
    picked = (log_softmax(logits) * one_hot(labels, logits.shape[1])).sum(1)
    return mean(-picked)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of (prediction - target)^2 over all elements; equal shapes."""
    if prediction.shape != target.shape:
        raise LocalError(f"mse: shapes {prediction.shape} and {target.shape} differ")
    error = prediction - target
    return mean(error * error)


def _shifted(x: Tensor) -> Tensor:
    return x - _along_last(stop_gradient(x.max(-1)), x)


def _along_last(rows: Tensor, like: Tensor) -> Tensor:
    """Repeat one value per row along the last axis of `like`."""
    return rows.repeat(len(rows.shape), like.shape[-1])
