"""Layers that bring values to a common scale; the arithmetic is that of engine/functions/normalization.py."""

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.normalization import batch_norm, batch_norm_train, group_norm, layer_norm, rms_norm
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.initial_values import Constant
from synaptic_mesh.models.scope import Scope


class LayerNorm(msgspec.Struct, frozen=True, tag="layer_norm"):
    """(x - mean) / sqrt(variance + epsilon) along the last axis, times "scale", plus "shift". arXiv:1607.06450."""

    epsilon: float = 1e-5

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        features = _features("LayerNorm", x)
        scale = scope.parameter("scale", (features,), Constant(1.0))
        shift = scope.parameter("shift", (features,), Constant(0.0))
        return layer_norm(x, scale, shift, epsilon=self.epsilon)


class RMSNorm(msgspec.Struct, frozen=True, tag="rms_norm"):
    """x / sqrt(mean of x^2 + epsilon) along the last axis, times "scale". arXiv:1910.07467."""

    epsilon: float = 1e-6

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        scale = scope.parameter("scale", (_features("RMSNorm", x),), Constant(1.0))
        return rms_norm(x, scale, epsilon=self.epsilon)


class GroupNorm(msgspec.Struct, frozen=True, tag="group_norm"):
    """Each group of channels (axis 1) of a row to mean 0 and deviation 1, times "scale", plus "shift"."""

    groups: int
    epsilon: float = 1e-5

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when the groups do not divide the channels."""
        channels = _channels("GroupNorm", x)
        scale = scope.parameter("scale", (channels,), Constant(1.0))
        shift = scope.parameter("shift", (channels,), Constant(0.0))
        return group_norm(x, self.groups, scale, shift, epsilon=self.epsilon)


class BatchNorm(msgspec.Struct, frozen=True, tag="batch_norm"):
    """Each channel (axis 1) to mean 0 and deviation 1, times "scale", plus "shift". arXiv:1502.03167.

    In training mean and variance are those of the batch, and the running ones move towards them by `momentum` (torch's
    meaning); elsewhere the running ones are used.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError for a training batch with one value per channel."""
        channels = _channels("BatchNorm", x)
        mean = scope.state("mean", np.zeros(channels, np.float32))
        variance = scope.state("variance", np.ones(channels, np.float32))
        scale = scope.parameter("scale", (channels,), Constant(1.0))
        shift = scope.parameter("shift", (channels,), Constant(0.0))
        if not scope.is_training:
            return batch_norm(x, scale, shift, mean, variance, epsilon=self.epsilon)
        if x.node.size < 2 * channels:
            raise LocalError(
                f"BatchNorm cannot train on a batch {x.shape}: one value in a channel has no variance; "
                "choose a batch_size that leaves no row alone"
            )
        found = batch_norm_train(x, scale, shift, mean, variance, momentum=self.momentum, epsilon=self.epsilon)
        scope.keep("mean", found.mean)
        scope.keep("variance", found.variance)
        return found.y


def _features(name: str, x: Tensor) -> int:
    if len(x.shape) < 2 or not x.shape[-1]:
        raise LocalError(f"{name} needs x (rows, ..., features), not {x.shape}")
    return x.shape[-1]


def _channels(name: str, x: Tensor) -> int:
    if len(x.shape) < 2 or not x.shape[1]:
        raise LocalError(f"{name} needs x (rows, channels, ...), not {x.shape}")
    return x.shape[1]
