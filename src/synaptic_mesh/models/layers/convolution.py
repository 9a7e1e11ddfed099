"""Convolutions over sequences (rows, channels, length) and images (rows, channels, height, width)."""

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.convolution import conv1d, conv2d
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.initial_values import AnyInitializer, Constant
from synaptic_mesh.models.layers.activation import activate
from synaptic_mesh.models.layers.dense import default_initializer
from synaptic_mesh.models.scope import Scope

Padding = str | int
"""A count for all sides, "valid" (none), or "same": ceil(extent / stride) results, the odd one behind."""


class Conv2d(msgspec.Struct, frozen=True, tag="conv2d"):
    """activation(convolution + bias): (rows, c, h, w) -> (rows, channels, oh, ow).

    Parameters: "weight" (channels, c / groups, kernel, kernel) and "bias" (channels,).
    """

    channels: int
    kernel: int | tuple[int, int] = 3
    stride: int | tuple[int, int] = 1
    padding: Padding = "valid"
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    activation: str = "linear"
    use_bias: bool = True
    initializer: AnyInitializer | None = None

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when kernel, groups and x do not fit."""
        if len(x.shape) != 4:
            raise LocalError(f"Conv2d needs x (rows, channels, height, width), not {x.shape}")
        kernel, stride, dilation = pair(self.kernel), pair(self.stride), pair(self.dilation)
        height, width = (
            sides(self.padding, x.shape[2 + i], kernel[i], stride[i], dilation[i], "Conv2d") for i in (0, 1)
        )
        weight = scope.parameter(
            "weight",
            (self.channels, per_group("Conv2d", x, self.channels, self.groups), *kernel),
            self.initializer or default_initializer(self.activation),
        )
        bias = scope.parameter("bias", (self.channels,), Constant(0.0)) if self.use_bias else None
        result = conv2d(x, weight, bias, stride=stride, padding=(height, width), dilation=dilation, groups=self.groups)
        return activate(self.activation, result)


class Conv1d(msgspec.Struct, frozen=True, tag="conv1d"):
    """activation(convolution + bias): (rows, c, length) -> (rows, channels, positions).

    Parameters: "weight" (channels, c / groups, kernel) and "bias" (channels,).
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: Padding = "valid"
    dilation: int = 1
    groups: int = 1
    activation: str = "linear"
    use_bias: bool = True
    initializer: AnyInitializer | None = None

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when kernel, groups and x do not fit."""
        if len(x.shape) != 3:
            raise LocalError(f"Conv1d needs x (rows, channels, length), not {x.shape}")
        padding = sides(self.padding, x.shape[2], self.kernel, self.stride, self.dilation, "Conv1d")
        weight = scope.parameter(
            "weight",
            (self.channels, per_group("Conv1d", x, self.channels, self.groups), self.kernel),
            self.initializer or default_initializer(self.activation),
        )
        bias = scope.parameter("bias", (self.channels,), Constant(0.0)) if self.use_bias else None
        result = conv1d(
            x, weight, bias, stride=self.stride, padding=padding, dilation=self.dilation, groups=self.groups
        )
        return activate(self.activation, result)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def sides(padding: Padding, extent: int, kernel: int, stride: int, dilation: int, name: str) -> tuple[int, int]:
    """Return how many zeros stand before and behind an axis. Raises LocalError for a padding that is not known."""
    if isinstance(padding, int):
        return padding, padding
    if padding == "valid":
        return 0, 0
    if padding != "same":
        raise LocalError(f"{name}: padding {padding!r} is not known; choose 'valid', 'same' or a count")
    missing = (-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent
    return max(missing, 0) // 2, max(missing, 0) - max(missing, 0) // 2


def per_group(name: str, x: Tensor, channels: int, groups: int) -> int:
    """Return the input channels of a group. Raises LocalError when groups divide one side and not the other."""
    if groups < 1 or channels < 1 or x.shape[1] % groups or channels % groups:
        raise LocalError(f"{name}: {groups} groups do not divide {x.shape[1]} input and {channels} output channels")
    return x.shape[1] // groups
