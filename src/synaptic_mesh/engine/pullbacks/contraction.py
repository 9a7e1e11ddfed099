"""Gradients of matrix product and convolution: they are such operations again."""

from collections.abc import Sequence

from synaptic_mesh.engine.functions.convolution import exchange_channels, raw_conv
from synaptic_mesh.engine.geometry import ConvGeometry
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.pullbacks.pullback import Pullback, Thunk
from synaptic_mesh.engine.trace import Tensor, matmul


def _matmul(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """dA = G B^T and dB = A^T G, each in its operand's stored orientation, so nothing is transposed in memory."""
    a, b = o
    left, right = y.node.attributes.transpose_left, y.node.attributes.transpose_right

    def pull_a() -> Tensor:
        if left:
            return matmul(b, g, transpose_left=right, transpose_right=True)
        return matmul(g, b, transpose_right=not right)

    def pull_b() -> Tensor:
        if right:
            return matmul(g, a, transpose_left=True, transpose_right=left)
        return matmul(a, g, transpose_left=not left)

    return [pull_a, pull_b]


def _conv(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    x, w = o
    geometry = ConvGeometry.of(y.node)
    return [lambda: _conv_input(x, w, g, geometry), lambda: _conv_weight(x, w, g, geometry)]


def _conv_input(x: Tensor, w: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    """Over g dilated by the stride, the kernel turned by half a turn: sum over (output channel, taps) ascending."""
    kernel = w.shape[2:]
    starts = [-(kernel[i] - 1) * geometry.kernel_steps[i] - geometry.starts[i] for i in (0, 1)]
    back = ConvGeometry(
        (starts[0], starts[1]), geometry.input_steps, geometry.kernel_steps, geometry.steps, geometry.groups
    )
    return raw_conv(g, exchange_channels(w, geometry.groups), back, (x.shape[2], x.shape[3]))


def _conv_weight(x: Tensor, w: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    """x with g as the kernel, examples as channels: sum over (example, output row, output column) ascending."""
    groups, batch = geometry.groups, x.shape[0]
    inner, outer = w.shape[1], w.shape[0] // groups
    extents = x.shape[2:], g.shape[2:]
    field = x.reshape(batch, groups, inner, *extents[0]).transpose(2, 1, 0, 3, 4)
    taps = g.reshape(batch, groups, outer, *extents[1]).transpose(1, 2, 0, 3, 4)
    turned = ConvGeometry(geometry.starts, geometry.kernel_steps, geometry.steps, geometry.input_steps, groups)
    found = raw_conv(
        field.reshape(inner, groups * batch, *extents[0]),
        taps.reshape(groups * outer, batch, *extents[1]),
        turned,
        (w.shape[2], w.shape[3]),
    )
    return found.transpose(1, 0, 2, 3)


CONTRACTION: dict[Op, Pullback] = {Op.MATMUL: _matmul, Op.CONV: _conv}
