"""Convolutions (cross-correlations, as in torch and ONNX): (n, channels, extents) with (outputs, channels / groups,
kernel extents). A bias is added afterwards, per output channel."""

from collections.abc import Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import flip
from synaptic_mesh.engine.geometry import ConvGeometry
from synaptic_mesh.engine.ir import Attributes, Op
from synaptic_mesh.engine.trace import Tensor

Pair = tuple[int, int]
Padding = int | Pair | tuple[Pair, Pair]
"""One count for all sides, (height, width), or ((top, bottom), (left, right))."""


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """(n, c, h, w) with (o, c / groups, kh, kw) and bias (o,): (n, o, oh, ow), oh = (h + top + bottom - span) // stride
    + 1 where span = (kh - 1) * dilation + 1. Positions outside are +0. Raises LocalError unless the kernel fits."""
    _need_ranks(x, weight, 4)
    steps, kernel_steps, sides = _pair(stride), _pair(dilation), _sides(padding)
    spans = [(weight.shape[2 + i] - 1) * kernel_steps[i] + 1 for i in (0, 1)]
    room = [x.shape[2 + i] + sum(sides[i]) - spans[i] for i in (0, 1)]
    if min(room) < 0 or min(*weight.shape[2:], *steps, *kernel_steps) < 1:
        raise LocalError(
            f"a kernel of {weight.shape} does not fit {x.shape} with stride {steps}, padding {sides}, "
            f"dilation {kernel_steps}"
        )
    geometry = ConvGeometry((-sides[0][0], -sides[1][0]), steps, kernel_steps, (1, 1), groups)
    return add_bias(raw_conv(x, weight, geometry, (room[0] // steps[0] + 1, room[1] // steps[1] + 1)), bias)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int | Pair = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """(n, c, length) with (o, c / groups, k): as `conv2d` with height 1. padding: one count, or (left, right)."""
    _need_ranks(x, weight, 3)
    sides = (padding, padding) if isinstance(padding, int) else padding
    wide, flat = (t.reshape(*t.shape[:2], 1, t.shape[2]) for t in (x, weight))
    y = conv2d(wide, flat, bias, stride=(1, stride), padding=((0, 0), sides), dilation=(1, dilation), groups=groups)
    return y.reshape(*y.shape[:2], y.shape[3])


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Padding = 0,
    output_padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of a convolution as an operation: (n, c, h, w) with (c, o / groups, kh, kw) -> (n, o, oh, ow),
    oh = (h - 1) * stride - top - bottom + (kh - 1) * dilation + 1 + output_padding."""
    _need_ranks(x, weight, 4)
    steps, kernel_steps, sides, more = _pair(stride), _pair(dilation), _sides(padding), _pair(output_padding)
    spans = [(weight.shape[2 + i] - 1) * kernel_steps[i] for i in (0, 1)]
    extents = [(x.shape[2 + i] - 1) * steps[i] - sum(sides[i]) + spans[i] + 1 + more[i] for i in (0, 1)]
    if min(extents) < 0:
        raise LocalError(f"a transposed kernel of {weight.shape} leaves nothing of {x.shape} with padding {sides}")
    starts = (sides[0][0] - spans[0], sides[1][0] - spans[1])
    geometry = ConvGeometry(starts, (1, 1), kernel_steps, steps, groups)
    return add_bias(raw_conv(x, exchange_channels(weight, groups), geometry, (extents[0], extents[1])), bias)


def raw_conv(x: Tensor, weight: Tensor, geometry: ConvGeometry, extents: Pair) -> Tensor:
    """The CONV primitive with its geometry written out."""
    shape = (x.shape[0], weight.shape[0], *extents)
    return x.builder.add(Op.CONV, [x, weight], shape, x.dtype, Attributes(axes=geometry.axes))


def exchange_channels(weight: Tensor, groups: int) -> Tensor:
    """(groups a, b, kh, kw) -> (groups b, a, kh, kw) with the kernel turned by half a turn: the weight that carries a
    gradient, or a transposed convolution, back through the same taps."""
    outer, inner, *kernel = weight.shape
    if groups < 1 or outer % groups != 0:
        raise LocalError(f"{groups} groups do not divide the channels of {weight.shape}")
    turned = flip(weight, 2, 3)
    if groups == 1:
        return turned.transpose(1, 0, 2, 3)
    apart = turned.reshape(groups, outer // groups, inner, *kernel).transpose(0, 2, 1, 3, 4)
    return apart.reshape(groups * inner, outer // groups, *kernel)


def add_bias(y: Tensor, bias: Tensor | None) -> Tensor:
    """y + bias over axis 1; y itself without one."""
    if bias is None:
        return y
    if bias.shape != y.shape[1:2]:
        raise LocalError(f"a bias of {bias.shape} does not fit {y.shape[1]} channels")
    return y + bias.reshape(bias.shape[0], *(1,) * (len(y.shape) - 2))


def _need_ranks(x: Tensor, weight: Tensor, rank: int) -> None:
    if len(x.shape) != rank or len(weight.shape) != rank:
        raise LocalError(f"a {rank - 2}-d convolution needs rank {rank}, not {x.shape} and {weight.shape}")


def _pair(value: int | Sequence[int]) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise LocalError(f"{value} is not one number or (height, width)")
    return pair[0], pair[1]


def _sides(padding: Padding) -> tuple[Pair, Pair]:
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    first, second = padding
    return _pair(first), _pair(second)
