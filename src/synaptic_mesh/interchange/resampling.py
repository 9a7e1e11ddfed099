"""Resizing and adaptive pooling along one axis at a time, for ONNX and torch.

A resized axis is a weighted sum of a few elements for each place of the result. Which elements, and with which weights,
follows from extents alone, so both are constants of the graph; the sum goes from the first tap to the last.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.indexing import take
from synaptic_mesh.engine.functions.movement import concat, narrow
from synaptic_mesh.engine.functions.normalization import mean_over
from synaptic_mesh.engine.trace import Tensor

CUBIC = -0.75
"""The cubic kernel's coefficient in torch and ONNX. Keys 1981."""


Kernel = Callable[[Array], Array]


class Taps(msgspec.Struct, frozen=True, eq=False):
    """index (outputs, taps) of elements, weight (outputs, taps) f64."""

    index: Array
    weight: Array


def nearest_taps(index: Array, extent: int) -> Taps:
    """One tap: the element at this place, or at the border."""
    inside = np.clip(index.astype(np.int64), 0, extent - 1)[:, None]
    return Taps(inside, np.ones(inside.shape))


def linear_taps(places: Array, extent: int, reach: float = 1.0) -> Taps:
    """The two neighbours of each place (more when reach > 1, for antialiasing), the border repeated."""
    return _taps(places, extent, reach, 1, lambda d: np.maximum(1.0 - np.abs(d), 0.0), normalized=reach > 1)


def cubic_taps(
    places: Array, extent: int, coefficient: float = CUBIC, reach: float = 1.0, *, exclude_outside: bool = False
) -> Taps:
    """Four neighbours under the cubic kernel; exclude_outside: elements beyond the border weigh nothing."""

    def kernel(distance: Array) -> Array:
        d, a = np.abs(distance), coefficient
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return _taps(places, extent, reach, 2, kernel, normalized=exclude_outside or reach > 1, excluded=exclude_outside)


def _taps(
    places: Array, extent: int, reach: float, half: int, kernel: Kernel, *, normalized: bool, excluded: bool = False
) -> Taps:
    wide = math.ceil(half * reach)
    first = np.floor(places).astype(np.int64) - wide + 1
    index = first[:, None] + np.arange(2 * wide)
    weight = kernel((index - places[:, None]) / reach)
    if excluded:
        weight = np.where((index >= 0) & (index < extent), weight, 0.0)
    if normalized:
        weight = weight / weight.sum(axis=1, keepdims=True)
    return Taps(np.clip(index, 0, extent - 1), weight)


def resample(x: Tensor, axis: int, taps: Taps) -> Tensor:
    """Return the axis resized: out[i] = sum over t of x[index[i, t]] * weight[i, t], t ascending from the first."""
    count, width = taps.index.shape
    if width == 1 and count == x.shape[axis] and (taps.index[:, 0] == np.arange(count)).all():
        return x
    used = [t for t in range(width) if (taps.weight[:, t] != 0).any()] or [0]
    total = _tap(x, axis, taps, used[0])
    for t in used[1:]:
        total = total + _tap(x, axis, taps, t)
    return total


def _tap(x: Tensor, axis: int, taps: Taps, t: int) -> Tensor:
    part = take(x, x.builder.array(taps.index[:, t].astype(np.int32)), axis)
    if (taps.weight[:, t] == 1).all():
        return part
    shape = [len(taps.index) if i == axis else 1 for i in range(len(x.shape))]
    return part * x.builder.array(taps.weight[:, t].astype(np.float32)).reshape(*shape)


def adaptive_pool(x: Tensor, sizes: Sequence[int | None], *, is_max: bool) -> Tensor:
    """Pool the last axes to these extents: window i of n elements over o is i n // o to ceil((i + 1) n / o)."""
    lead = len(x.shape) - len(sizes)
    for axis, size in reversed(list(enumerate(sizes, lead))):
        extent = x.shape[axis]
        if size is None or size == extent:
            continue
        if size < 1:
            raise LocalError(f"pooling to {size} elements is not computed")
        parts = []
        for i in range(size):
            start, end = i * extent // size, -(-(i + 1) * extent // size)
            part = narrow(x, axis, start, end - start)
            found = part.max(axis) if is_max else mean_over(part, (axis,))
            parts.append(found.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        x = concat(parts, axis)
    return x
