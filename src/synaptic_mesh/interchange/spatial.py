"""Convolutions over one, two or three axes, for ONNX and torch. The engine has those over two.

Over three axes the slices that one tap of the kernel's first axis meets become channels of their own, and so the whole
is one convolution over two axes: sums go by channel, then by tap.
"""

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import convolution
from synaptic_mesh.engine.functions.movement import concat, narrow, pad
from synaptic_mesh.engine.trace import Tensor

Pair = tuple[int, int]


class Reach(msgspec.Struct, frozen=True):
    """Settings of a convolution, one entry for each axis; sides: padding before and behind."""

    stride: tuple[int, ...]
    sides: tuple[Pair, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    more: tuple[int, ...] = ()
    """Elements that a transposed convolution adds behind."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, reach: Reach) -> Tensor:
    """(n, c, ...) with (o, c / groups, ...): (n, o, ...). Raises LocalError for another number of axes than 1 to 3."""
    count = _axes(x, weight)
    if count == 3:
        return _convolve_volume(x, weight, bias, reach)
    if count == 1:
        return convolution.conv1d(
            x, weight, bias, stride=reach.stride[0], padding=reach.sides[0], dilation=reach.dilation[0],
            groups=reach.groups,
        )  # fmt: skip
    return convolution.conv2d(
        x, weight, bias, stride=(reach.stride[0], reach.stride[1]), padding=(reach.sides[0], reach.sides[1]),
        dilation=(reach.dilation[0], reach.dilation[1]), groups=reach.groups,
    )  # fmt: skip


def convolve_transposed(x: Tensor, weight: Tensor, bias: Tensor | None, reach: Reach) -> Tensor:
    """The gradient of `convolve` as an operation: (n, c, ...) with (c, o / groups, ...). Raises LocalError."""
    count = _axes(x, weight)
    if count == 3:
        return _transpose_volume(x, weight, bias, reach)
    if count == 1:
        x, weight = (t.reshape(*t.shape[:2], 1, t.shape[2]) for t in (x, weight))
        reach = Reach((1, *reach.stride), ((0, 0), *reach.sides), (1, *reach.dilation), reach.groups, (0, *reach.more))
    found = convolution.conv_transpose2d(
        x, weight, bias, stride=(reach.stride[0], reach.stride[1]), padding=(reach.sides[0], reach.sides[1]),
        output_padding=(reach.more[0], reach.more[1]), dilation=(reach.dilation[0], reach.dilation[1]),
        groups=reach.groups,
    )  # fmt: skip
    return found.reshape(*found.shape[:2], found.shape[3]) if count == 1 else found


def _axes(x: Tensor, weight: Tensor) -> int:
    count = len(x.shape) - 2
    if not 1 <= count <= 3 or len(weight.shape) != len(x.shape):
        raise LocalError(f"a convolution of {x.shape} with {weight.shape} is not computed; there are 1 to 3 axes")
    return count


def _rest(reach: Reach) -> Reach:
    return Reach(reach.stride[1:], reach.sides[1:], reach.dilation[1:], reach.groups, reach.more[1:])


def _convolve_volume(x: Tensor, weight: Tensor, bias: Tensor | None, reach: Reach) -> Tensor:
    taps, step, gap = weight.shape[2], reach.stride[0], reach.dilation[0]
    full = pad(x, [0, 0, reach.sides[0][0], 0, 0], [0, 0, reach.sides[0][1], 0, 0])
    room = full.shape[2] - (taps - 1) * gap - 1
    if room < 0:
        raise LocalError(f"a kernel of {weight.shape} does not fit {x.shape} with padding {reach.sides}")
    depth = room // step + 1
    slices = [narrow(full, 2, tap * gap, depth, step) for tap in range(taps)]  # (n, c, depth, h, w)
    n, c, _, h, w = slices[0].shape
    joined = concat([part.reshape(n, c, 1, depth, h, w) for part in slices], 2)  # (n, c, taps, depth, h, w)
    planes = joined.transpose(0, 3, 1, 2, 4, 5).reshape(n * depth, c * taps, h, w)
    kernel = weight.reshape(weight.shape[0], weight.shape[1] * taps, *weight.shape[3:])
    found = convolve(planes, kernel, bias, _rest(reach))
    return found.reshape(n, depth, *found.shape[1:]).transpose(0, 2, 1, 3, 4)


def _transpose_volume(x: Tensor, weight: Tensor, bias: Tensor | None, reach: Reach) -> Tensor:
    n, c, depth, h, w = x.shape
    taps, step, gap = weight.shape[2], reach.stride[0], reach.dilation[0]
    planes = x.transpose(0, 2, 1, 3, 4).reshape(n * depth, c, h, w)
    extent = (depth - 1) * step + (taps - 1) * gap + 1 - sum(reach.sides[0]) + reach.more[0]
    total: Tensor | None = None
    for tap in range(taps):
        kernel = narrow(weight, 2, tap, 1).reshape(*weight.shape[:2], *weight.shape[3:])
        found = convolve_transposed(planes, kernel, None, _rest(reach))
        layers = found.reshape(n, depth, *found.shape[1:]).transpose(0, 2, 1, 3, 4)
        low = tap * gap - reach.sides[0][0]
        high = extent - low - ((depth - 1) * step + 1)
        spread = pad(layers, [0, 0, low, 0, 0], [0, 0, high, 0, 0], [0, 0, step - 1, 0, 0])
        total = spread if total is None else total + spread
    if total is None:
        raise LocalError(f"a transposed kernel of {weight.shape} has no taps")
    return convolution.add_bias(total, bias)
