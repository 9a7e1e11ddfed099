"""Means, variances and the normalisations built on them. Variances divide by the count (biased) unless said."""

from collections.abc import Sequence
from typing import NamedTuple

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import axis_of
from synaptic_mesh.engine.trace import Tensor, sqrt, stop_gradient


def mean_over(x: Tensor, axes: Sequence[int], *, keep: bool = False) -> Tensor:
    """Sum over these axes, the last first, divided by the count. keep: they stay with extent 1."""
    removed = sorted({axis_of(x, axis) for axis in axes}, reverse=True)
    total, count = x, 1
    for axis in removed:
        total, count = total.sum(axis), count * x.shape[axis]
    if count == 0:
        raise LocalError(f"mean over no elements of shape {x.shape}")
    result = total / float(count)
    return result.reshape(*(1 if i in removed else e for i, e in enumerate(x.shape))) if keep else result


def variance_over(x: Tensor, axes: Sequence[int], *, keep: bool = False, correction: int = 0) -> Tensor:
    """Mean of the squared distances from the mean; the divisor is the count minus `correction`."""
    apart = x - mean_over(x, axes, keep=True)
    spread = mean_over(apart * apart, axes, keep=keep)
    if correction == 0:
        return spread
    count = _count(x, axes)
    if count <= correction:
        raise LocalError(f"variance of {count} elements with correction {correction}")
    return spread * (count / (count - correction))


def layer_norm(
    x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None, *, axes: int = 1, epsilon: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over the last `axes` axes, times scale, plus shift (of these axes' shape).

    Ba et al. 2016, arXiv:1607.06450.
    """
    last = range(len(x.shape) - axes, len(x.shape))
    return _affine(_standardised(x, tuple(last), epsilon), scale, shift)


def rms_norm(x: Tensor, scale: Tensor | None = None, *, epsilon: float = 1e-6) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) over the last axis, times scale. Zhang and Sennrich 2019, arXiv:1910.07467."""
    power = mean_over(x * x, (-1,), keep=True)
    return _affine(x / sqrt(power + epsilon), scale, None)


def group_norm(x: Tensor, groups: int, scale: Tensor, shift: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """(n, c, ...) standardised over each of `groups` groups of channels; scale and shift are (c,).

    Wu and He 2018, arXiv:1803.08494. One channel a group is instance norm.
    """
    batch, channels = x.shape[:2]
    if groups < 1 or channels % groups != 0:
        raise LocalError(f"{groups} groups do not divide {channels} channels")
    apart = x.reshape(batch, groups, x.node.size // max(batch * groups, 1))
    flat = _standardised(apart, (2,), epsilon).reshape(*x.shape)
    return _affine(flat, per_channel(scale, x), per_channel(shift, x))


class BatchNorm(NamedTuple):
    """Result of a training step, and the statistics that the next step carries."""

    y: Tensor
    mean: Tensor
    variance: Tensor


def batch_norm_train(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    *,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
) -> BatchNorm:
    """(n, c, ...) standardised over all axes but the channels, and running = (1 - momentum) running + momentum batch.

    The running variance takes the unbiased one; no gradient flows through the statistics.
    Ioffe and Szegedy 2015, arXiv:1502.03167; momentum as in torch.
    """
    axes = (0, *range(2, len(x.shape)))
    count = _count(x, axes)
    centre = mean_over(x, axes)
    apart = x - per_channel(centre, x)
    spread = mean_over(apart * apart, axes)
    y = _affine(apart / per_channel(sqrt(spread + epsilon), x), per_channel(scale, x), per_channel(shift, x))
    unbiased = spread * (count / max(count - 1, 1))
    return BatchNorm(
        y,
        stop_gradient(running_mean * (1.0 - momentum) + centre * momentum),
        stop_gradient(running_variance * (1.0 - momentum) + unbiased * momentum),
    )


def batch_norm(
    x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift with given statistics per channel: for prediction."""
    apart = (x - per_channel(mean, x)) / per_channel(sqrt(variance + epsilon), x)
    return _affine(apart, per_channel(scale, x), per_channel(shift, x))


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(c,) shaped to broadcast over axis 1 of (n, c, ...)."""
    if len(x.shape) < 2 or values.shape != x.shape[1:2]:
        raise LocalError(f"{values.shape} is not one value per channel of {x.shape}")
    return values.reshape(values.shape[0], *(1,) * (len(x.shape) - 2))


def _standardised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    apart = x - mean_over(x, axes, keep=True)
    return apart / sqrt(mean_over(apart * apart, axes, keep=True) + epsilon)


def _affine(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    scaled = x if scale is None else x * scale
    return scaled if shift is None else scaled + shift


def _count(x: Tensor, axes: Sequence[int]) -> int:
    count = 1
    for axis in {axis_of(x, axis) for axis in axes}:
        count *= x.shape[axis]
    return count
