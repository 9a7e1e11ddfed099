"""Layers that bring values to a common scale."""

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import mean
from synaptic_mesh.engine.trace import Tensor, sqrt
from synaptic_mesh.models.initial_values import Constant
from synaptic_mesh.models.scope import Scope


class LayerNorm(msgspec.Struct, frozen=True, tag="layer_norm"):
    """(x - mean) / sqrt(variance + epsilon) along the last axis, times "scale", plus "shift". arXiv:1607.06450.

    variance = mean of (x - mean)^2.
    """

    epsilon: float = 1e-5

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        features = _features("LayerNorm", x)
        centred = x - _spread(mean(x, -1), features)
        deviation = sqrt(mean(centred * centred, -1) + self.epsilon)
        scale = scope.parameter("scale", (features,), Constant(1.0))
        return (centred / _spread(deviation, features)) * scale + scope.parameter("shift", (features,), Constant(0.0))


class RMSNorm(msgspec.Struct, frozen=True, tag="rms_norm"):
    """x / sqrt(mean of x^2 + epsilon) along the last axis, times "scale". Zhang and Sennrich 2019, arXiv:1910.07467."""

    epsilon: float = 1e-5

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        features = _features("RMSNorm", x)
        size = sqrt(mean(x * x, -1) + self.epsilon)
        return (x / _spread(size, features)) * scope.parameter("scale", (features,), Constant(1.0))


class BatchNorm(msgspec.Struct, frozen=True, tag="batch_norm"):
    """Each channel (axis 1) brought to mean 0 and deviation 1, times "scale", plus "shift". arXiv:1502.03167.

    In training mean and variance are those of the batch, and the running ones move towards them:
    running = running * momentum + batch * (1 - momentum), the variance with n / (n - 1) as torch has it. Elsewhere the
    running ones are used.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError for a training batch with one value per channel."""
        if len(x.shape) < 2:
            raise LocalError(f"BatchNorm needs x (rows, channels, ...), not {x.shape}")
        channels, count = x.shape[1], x.node.size // max(x.shape[1], 1)
        centre = scope.state("mean", np.zeros(channels, np.float32))
        variance = scope.state("variance", np.ones(channels, np.float32))
        if scope.is_training:
            if count < 2:
                raise LocalError(f"BatchNorm cannot train on a batch {x.shape}: one value in a channel has no variance")
            old_centre, old_variance = centre, variance
            centre = self._mean(x, count)
            error = x - _per_channel(centre, x)
            variance = self._mean(error * error, count)
            unbiased = variance * (count / (count - 1))
            scope.keep("mean", old_centre * self.momentum + centre * (1.0 - self.momentum))
            scope.keep("variance", old_variance * self.momentum + unbiased * (1.0 - self.momentum))
        scaled = (x - _per_channel(centre, x)) / _per_channel(sqrt(variance + self.epsilon), x)
        scale = scope.parameter("scale", (channels,), Constant(1.0))
        shift = scope.parameter("shift", (channels,), Constant(0.0))
        return scaled * _per_channel(scale, x) + _per_channel(shift, x)

    def _mean(self, x: Tensor, count: int) -> Tensor:
        """Over all axes but the channels': the last first."""
        for axis in reversed(range(2, len(x.shape))):
            x = x.sum(axis)
        return x.sum(0) / float(count)


def _features(name: str, x: Tensor) -> int:
    if len(x.shape) < 2 or not x.shape[-1]:
        raise LocalError(f"{name} needs x (rows, ..., features), not {x.shape}")
    return x.shape[-1]


def _spread(rows: Tensor, features: int) -> Tensor:
    """Repeat one value per row along a new last axis."""
    return rows.repeat(len(rows.shape), features)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, x.shape[1], *(1 for _ in x.shape[2:])).broadcast_to(x.shape)
