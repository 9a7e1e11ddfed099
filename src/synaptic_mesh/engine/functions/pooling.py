"""Pooling over windows of the last axes of (n, channels, extents): one axis after the other, the last first.

A window's elements are strided slices of the padded tensor; they are combined from the first to the last. For the
maximum a tie goes to the first of them, so the gradient goes to the first maximum in row-major order, as in torch.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import narrow, pad
from synaptic_mesh.engine.trace import Tensor, maximum

Pair = tuple[int, int]


class Window(msgspec.Struct, frozen=True):
    """Windows along one axis: element j of window i lies at i * step + j * dilation of the padded axis."""

    axis: int
    extent: int
    kernel: int
    step: int
    low: int
    high: int
    dilation: int
    outputs: int

    def fill(self, x: Tensor, value: float) -> Tensor:
        """Return x padded on this axis so that every window lies inside."""
        reach = (self.outputs - 1) * self.step + (self.kernel - 1) * self.dilation + 1
        low, high = [0] * len(x.shape), [0] * len(x.shape)
        low[self.axis], high[self.axis] = self.low, reach - self.low - self.extent
        return pad(x, low, high, value=value)

    def counts(self, include_padding: bool) -> Array:
        """Return how many elements of each window are counted."""
        at = np.arange(self.outputs)[:, None] * self.step + np.arange(self.kernel) * self.dilation - self.low
        first, last = (-self.low, self.extent + self.high) if include_padding else (0, self.extent)
        counted: Array = np.count_nonzero((at >= first) & (at < last), axis=1)
        return counted


def max_pool(
    x: Tensor,
    kernel: Sequence[int],
    *,
    stride: Sequence[int] | None = None,
    padding: Sequence[Pair] | None = None,
    dilation: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Greatest element of each window over the last len(kernel) axes; positions outside count as -infinity.

    stride: the kernel's extents unless said. padding: (low, high) per axis. ceil_mode: a last window may reach out.
    """
    for window in reversed(_windows(x, kernel, stride, padding, dilation, ceil_mode)):
        x = _combine(window.fill(x, -math.inf), window, lambda best, element: maximum(element, best))
    return x


def average_pool(
    x: Tensor,
    kernel: Sequence[int],
    *,
    stride: Sequence[int] | None = None,
    padding: Sequence[Pair] | None = None,
    dilation: Sequence[int] | None = None,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Sum of each window divided by the number of its elements; without count_include_pad padding is not counted.

    What ceil_mode adds behind the padding is never counted.
    """
    windows = _windows(x, kernel, stride, padding, dilation, ceil_mode)
    counts = np.ones((), np.int64)
    for window in windows:
        counts = counts[..., None] * window.counts(count_include_pad)
    for window in reversed(windows):
        x = _combine(window.fill(x, 0.0), window, lambda total, element: total + element)
    distinct = np.unique(counts)
    if distinct.size == 1:
        return x / float(distinct[0])
    return x / x.builder.array(counts.astype(np.float32))


def global_max_pool(x: Tensor) -> Tensor:
    """Greatest element over all axes behind the channels: (n, c, ...) -> (n, c)."""
    for axis in reversed(range(2, len(x.shape))):
        x = x.max(axis)
    return x


def global_average_pool(x: Tensor) -> Tensor:
    """Sum over all axes behind the channels, the last first, divided by the count: (n, c, ...) -> (n, c)."""
    count = math.prod(x.shape[2:])
    if count == 0:
        raise LocalError(f"an average over no elements of shape {x.shape}")
    for axis in reversed(range(2, len(x.shape))):
        x = x.sum(axis)
    return x / float(count)


def _combine(x: Tensor, window: Window, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Join the windows' elements from the first to the last: slices of the filled axis."""
    elements = [narrow(x, window.axis, j * window.dilation, window.outputs, window.step) for j in range(window.kernel)]
    result = elements[0]
    for element in elements[1:]:
        result = join(result, element)
    return result


def _windows(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] | None,
    padding: Sequence[Pair] | None,
    dilation: Sequence[int] | None,
    ceil_mode: bool,
) -> list[Window]:
    steps, sides, gaps = stride or kernel, padding or [(0, 0)] * len(kernel), dilation or [1] * len(kernel)
    lead = len(x.shape) - len(kernel)
    if lead < 0 or not len(steps) == len(sides) == len(gaps) == len(kernel):
        raise LocalError(f"windows {list(kernel)} with stride {steps}, padding {sides} do not fit shape {x.shape}")
    return [
        _window(lead + i, x.shape[lead + i], kernel[i], steps[i], sides[i], gaps[i], ceil_mode)
        for i in range(len(kernel))
    ]


def _window(axis: int, extent: int, kernel: int, step: int, sides: Pair, dilation: int, ceil_mode: bool) -> Window:
    room = extent + sum(sides) - (kernel - 1) * dilation - 1
    if min(kernel, step, dilation) < 1 or min(sides) < 0 or room < 0:
        raise LocalError(
            f"windows of {kernel} with stride {step}, padding {sides}, dilation {dilation} do not fit {extent} elements"
        )
    outputs = room // step + 1
    if ceil_mode and room % step and outputs * step < extent + sides[0]:  # it must start before the high padding
        outputs += 1
    return Window(axis, extent, kernel, step, sides[0], sides[1], dilation, outputs)
