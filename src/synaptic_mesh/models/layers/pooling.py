"""Pooling over windows of images and sequences, and over whole ones."""

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.normalization import mean_over
from synaptic_mesh.engine.functions.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.layers.convolution import Padding, sides
from synaptic_mesh.models.scope import Scope


class MaxPool(msgspec.Struct, frozen=True, tag="max_pool"):
    """Greatest element of each window of `kernel` over all axes behind the channels; stride: the kernel unless said."""

    kernel: int = 2
    stride: int | None = None
    padding: Padding = "valid"

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when the windows do not fit."""
        del scope
        count, stride, padding = _windows("MaxPool", x, self.kernel, self.stride, self.padding)
        return max_pool(x, (self.kernel,) * count, stride=(stride,) * count, padding=padding)


class AveragePool(msgspec.Struct, frozen=True, tag="average_pool"):
    """Mean of each window of `kernel` over all axes behind the channels; padding is not counted."""

    kernel: int = 2
    stride: int | None = None
    padding: Padding = "valid"

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when the windows do not fit."""
        del scope
        count, stride, padding = _windows("AveragePool", x, self.kernel, self.stride, self.padding)
        return average_pool(
            x, (self.kernel,) * count, stride=(stride,) * count, padding=padding, count_include_pad=False
        )


class GlobalMaxPool(msgspec.Struct, frozen=True, tag="global_max_pool"):
    """Greatest element of each channel: (rows, channels, ...) -> (rows, channels)."""

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Over all axes behind the channels."""
        del scope
        return global_max_pool(x)


class GlobalAveragePool(msgspec.Struct, frozen=True, tag="global_average_pool"):
    """Mean of each channel: (rows, channels, ...) -> (rows, channels)."""

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Over all axes behind the channels."""
        del scope
        return global_average_pool(x)


class MeanOverSteps(msgspec.Struct, frozen=True, tag="mean_over_steps"):
    """Mean over the steps of a sequence: (rows, steps, features) -> (rows, features)."""

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError unless x is a sequence."""
        del scope
        if len(x.shape) != 3:
            raise LocalError(f"MeanOverSteps needs x (rows, steps, features), not {x.shape}")
        return mean_over(x, (1,))


def _windows(
    name: str, x: Tensor, kernel: int, stride: int | None, padding: Padding
) -> tuple[int, int, list[tuple[int, int]]]:
    if len(x.shape) < 3:
        raise LocalError(f"{name} needs x (rows, channels, ...), not {x.shape}")
    step = kernel if stride is None else stride
    return len(x.shape) - 2, step, [sides(padding, extent, kernel, step, 1, name) for extent in x.shape[2:]]
