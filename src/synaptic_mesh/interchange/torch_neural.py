"""Operators of torch that are layers: products, convolutions, pooling, norms, attention, recurrences, resizing."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions import indexing, movement, normalization, pooling
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.functions.recurrence import GruWeights, LstmWeights, gru, lstm, scan
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, sqrt, tanh
from synaptic_mesh.interchange import resampling
from synaptic_mesh.interchange.onnx_attention import per_query
from synaptic_mesh.interchange.onnx_neural import product
from synaptic_mesh.interchange.spatial import Reach, convolve, convolve_transposed
from synaptic_mesh.interchange.torch_call import Handler, TorchCall

Recurrence = Callable[[Tensor, tuple[Tensor, ...], tuple[Tensor, ...], bool], tuple[Tensor, tuple[Tensor, ...]]]
"""(steps, states, weights of one direction, reverse) -> (outputs, last states)."""


def _linear(call: TorchCall) -> Tensor:
    weight, bias = call.tensor(1), call.get(2, None, "bias")
    found = product(call.tensor(0), weight.transpose(1, 0) if len(weight.shape) == 2 else weight)
    return found if bias is None else found + bias


def _bilinear(call: TorchCall) -> Tensor:
    """y[o] = a W[o] b + bias[o]."""
    a, b, weight, bias = call.tensor(0), call.tensor(1), call.tensor(2), call.get(3, None, "bias")
    rows, (outputs, left, right) = math.prod(a.shape[:-1]), weight.shape
    half = a.reshape(rows, left) @ weight.transpose(1, 0, 2).reshape(left, outputs * right)
    found = (half.reshape(rows, outputs, right) * b.reshape(rows, 1, right)).sum(2).reshape(*a.shape[:-1], outputs)
    return found if bias is None else found + bias


def _conv(call: TorchCall) -> Tensor:
    x, w, bias = call.tensor(0), call.tensor(1), call.get(2, None, "bias")
    count = len(x.shape) - 2
    steps, padding = call.get(3, (1,) * count, "stride"), call.get(4, (0,) * count, "padding")
    gaps, groups = spread(call.get(5, (1,) * count, "dilation"), count), call.get(6, 1, "groups")
    if isinstance(padding, str):
        reach = [(w.shape[2 + i] - 1) * gaps[i] if padding == "same" else 0 for i in range(count)]
        sides = tuple((total // 2, total - total // 2) for total in reach)
    else:
        sides = tuple((side, side) for side in spread(padding, count))
    return convolve(x, w, bias, Reach(spread(steps, count), sides, gaps, groups))


def _conv_transpose(call: TorchCall) -> Tensor:
    x, w, bias = call.tensor(0), call.tensor(1), call.get(2, None, "bias")
    count = len(x.shape) - 2
    steps, padding = (spread(call.get(i, (d,) * count, n), count) for i, d, n in ((3, 1, "stride"), (4, 0, "padding")))
    more, groups = spread(call.get(5, (0,) * count, "output_padding"), count), call.get(6, 1, "groups")
    gaps = spread(call.get(7, (1,) * count, "dilation"), count)
    return convolve_transposed(x, w, bias, Reach(steps, tuple((side, side) for side in padding), gaps, groups, more))


def spread(value: Any, count: int) -> tuple[int, ...]:
    """Return one setting for each axis."""
    found = (value,) if isinstance(value, int) else tuple(value)
    return found * count if len(found) == 1 else found


def _pool(is_max: bool, count: int) -> Handler:
    def build(call: TorchCall) -> Tensor:
        kernel = spread(call.get(1, None, "kernel_size"), count)
        stride = call.get(2, None, "stride") or kernel
        padding = spread(call.get(3, 0, "padding"), count)
        sides = [(side, side) for side in padding]
        mode = call.get(5 if is_max else 4, False, "ceil_mode")
        if is_max:
            gaps = spread(call.get(4, 1, "dilation"), count)
            return pooling.max_pool(
                call.tensor(), kernel, stride=spread(stride, count), padding=sides, dilation=gaps, ceil_mode=bool(mode)
            )
        if call.get(6, None, "divisor_override") is not None:
            raise LocalError("a mean with divisor_override is not computed")
        return pooling.average_pool(
            call.tensor(), kernel, stride=spread(stride, count), padding=sides,
            ceil_mode=bool(mode), count_include_pad=bool(call.get(5, True, "count_include_pad")),
        )  # fmt: skip

    return build


def _adaptive_average(call: TorchCall) -> Tensor:
    return resampling.adaptive_pool(call.tensor(), _listed(call.get(1)), is_max=False)


def _adaptive_max(call: TorchCall) -> tuple[Tensor, None]:
    """The places of the maxima are not computed; a module that uses them is refused where it does."""
    return resampling.adaptive_pool(call.tensor(), _listed(call.get(1)), is_max=True), None


def _listed(value: Any) -> tuple[int | None, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _batch_norm(call: TorchCall) -> Tensor:
    x, scale, shift, mean, variance = (call.get(i) for i in range(5))
    if mean is None or variance is None:
        raise LocalError("batch norm without running statistics is not computed: a row would depend on the others")
    channels = x.shape[1]
    scale = x.builder.constant(1.0, (channels,)) if scale is None else scale
    shift = x.builder.constant(0.0, (channels,)) if shift is None else shift
    epsilon = call.get(7, 1e-5) if "batch_norm.default" in call.op else call.get(6, 1e-5)
    return normalization.batch_norm(x, scale, shift, mean, variance, epsilon=epsilon)


def _layer_norm(call: TorchCall) -> Tensor:
    axes, scale, shift = len(call.get(1)), call.get(2, None, "weight"), call.get(3, None, "bias")
    return normalization.layer_norm(call.tensor(), scale, shift, axes=axes, epsilon=call.get(4, 1e-5, "eps"))


def _rms_norm(call: TorchCall) -> Tensor:
    x, axes, scale = call.tensor(), len(call.get(1)), call.get(2, None, "weight")
    epsilon = call.get(3, None, "eps")
    last = tuple(range(len(x.shape) - axes, len(x.shape)))
    power = normalization.mean_over(x * x, last, keep=True)
    found = x / sqrt(power + (float(np.finfo(np.float32).eps) if epsilon is None else epsilon))
    return found if scale is None else found * scale


def _group_norm(call: TorchCall) -> Tensor:
    return _normed(
        call.tensor(), call.get(1), call.get(2, None, "weight"), call.get(3, None, "bias"), call.get(4, 1e-5)
    )


def _instance_norm(call: TorchCall) -> Tensor:
    x, scale, shift, mean, variance, is_own = (call.get(i) for i in range(6))
    epsilon = call.get(7, 1e-5, "eps")
    if is_own:
        return _normed(x, x.shape[1], scale, shift, epsilon)
    one, zero = x.builder.constant(1.0, (x.shape[1],)), x.builder.constant(0.0, (x.shape[1],))
    return normalization.batch_norm(
        x, one if scale is None else scale, zero if shift is None else shift, mean, variance, epsilon=epsilon
    )


def _normed(x: Tensor, groups: int, scale: Tensor | None, shift: Tensor | None, epsilon: float) -> Tensor:
    scale = x.builder.constant(1.0, (x.shape[1],)) if scale is None else scale
    shift = x.builder.constant(0.0, (x.shape[1],)) if shift is None else shift
    return normalization.group_norm(x, groups, scale, shift, epsilon=epsilon)


def _weight_norm(call: TorchCall) -> Tensor:
    """g v / |v|, the length over all axes but `dim`."""
    v, g, at = call.tensor(0), call.tensor(1), call.get(2, 0, "dim")
    total = v * v
    for axis in reversed(range(len(v.shape))):
        total = total if axis == at % len(v.shape) else total.sum(axis)
    shape = [extent if i == at % len(v.shape) else 1 for i, extent in enumerate(v.shape)]
    return v * (g / sqrt(total).reshape(*shape))


def _attention(call: TorchCall) -> Tensor:
    query, key, value = (call.tensor(i) for i in range(3))
    mask, causal = call.get(3, None, "attn_mask"), call.get(5, False, "is_causal")
    if call.get(4, 0.0, "dropout_p"):
        raise LocalError("dropout that is active while predicting is not computed")
    if call.keywords.get("enable_gqa", False):
        key, value = per_query(key, query.shape[1]), per_query(value, query.shape[1])
    scale = call.keywords.get("scale")
    return attention(query, key, value, mask=mask, causal=bool(causal), scale=scale)


def _embedding(call: TorchCall) -> Tensor:
    return indexing.take(call.tensor(0), call.tensor(1).convert(DType.I32), 0)


def _dropout(call: TorchCall) -> Tensor:
    if call.get(2, False):
        raise LocalError("dropout that is active while predicting is not computed")
    return call.tensor()


def _nearest(call: TorchCall) -> Tensor:
    """Element floor(i * scale); scale is what the module says, else the quotient of extents, in f32 as torch has it."""
    x, sizes, scales = _resize_settings(call)
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True), 2):
        step = np.float32(1.0 / scale) if scale else np.float32(x.shape[axis]) / np.float32(size)
        index = np.floor(np.arange(size, dtype=np.float32) * step)
        x = resampling.resample(x, axis, resampling.nearest_taps(index, x.shape[axis]))
    return x


def _resized(is_cubic: bool) -> Handler:
    def build(call: TorchCall) -> Tensor:
        x, sizes, scales = _resize_settings(call)
        is_aligned = bool(call.get(2, False, "align_corners"))
        for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True), 2):
            extent = x.shape[axis]
            places = _places(extent, size, scale, is_aligned)
            if is_cubic:
                taps = resampling.cubic_taps(places, extent)
            else:
                taps = resampling.linear_taps(np.clip(places, 0, extent - 1), extent)
            x = resampling.resample(x, axis, taps)
        return x

    return build


def _places(extent: int, size: int, scale: float | None, is_aligned: bool) -> Any:
    if is_aligned:
        return np.arange(size) * ((extent - 1) / (size - 1) if size > 1 else 0.0)
    return (np.arange(size) + 0.5) * (1.0 / scale if scale else extent / size) - 0.5


def _resize_settings(call: TorchCall) -> tuple[Tensor, list[int], list[float | None]]:
    """The forms ".vec" give sizes or scales: (x, sizes, [align_corners,] scales)."""
    x = call.tensor()
    count = len(x.shape) - 2
    if not call.op.endswith(".vec"):
        raise LocalError("resizing in this form is not computed")
    scales = (
        call.get(len(call.arguments) - 1) if "scale_factors" not in call.keywords else call.keywords["scale_factors"]
    )
    sizes = call.get(1, None, "output_size")
    if sizes is None:
        factors = [float(scale) for scale in scales]
        return x, [math.floor(x.shape[2 + i] * factors[i]) for i in range(count)], list(factors)
    return x, [int(size) for size in sizes], [None] * count


def _pixel_shuffle(call: TorchCall) -> Tensor:
    x, r = call.tensor(), call.get(1)
    *lead, c, h, w = x.shape
    n = math.prod(lead)
    apart = x.reshape(n, c // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3)
    return apart.reshape(*lead, c // (r * r), h * r, w * r)


def _pixel_unshuffle(call: TorchCall) -> Tensor:
    x, r = call.tensor(), call.get(1)
    *lead, c, h, w = x.shape
    n = math.prod(lead)
    apart = x.reshape(n * c, h // r, r, w // r, r).transpose(0, 2, 4, 1, 3)
    return apart.reshape(*lead, c * r * r, h // r, w // r)


def _channel_shuffle(call: TorchCall) -> Tensor:
    x, groups = call.tensor(), call.get(1)
    n, c, *rest = x.shape
    apart = x.reshape(n, groups, c // groups, math.prod(rest)).transpose(0, 2, 1, 3)
    return apart.reshape(n, c, *rest)


def _unfold(call: TorchCall) -> Tensor:
    """im2col: (n, c, h, w) -> (n, c kh kw, windows), the elements of each window from the first row on."""
    x = call.tensor()
    kernel, gaps = spread(call.get(1), 2), spread(call.get(2, (1, 1)), 2)
    padding, steps = spread(call.get(3, (0, 0)), 2), spread(call.get(4, (1, 1)), 2)
    full = movement.pad(x, [0, 0, *padding], [0, 0, *padding])
    counts = [(full.shape[2 + i] - (kernel[i] - 1) * gaps[i] - 1) // steps[i] + 1 for i in (0, 1)]
    parts = []
    for i in range(kernel[0]):
        rows = movement.narrow(full, 2, i * gaps[0], counts[0], steps[0])
        for j in range(kernel[1]):
            part = movement.narrow(rows, 3, j * gaps[1], counts[1], steps[1])
            parts.append(part.reshape(*x.shape[:2], 1, counts[0] * counts[1]))
    return movement.concat(parts, 2).reshape(x.shape[0], x.shape[1] * len(parts), counts[0] * counts[1])


def _lstm_layer(
    x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...], reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    w, u, *biases = weights
    bias = biases[0] + biases[1] if len(biases) > 1 else w.builder.constant(0.0, (w.shape[0],))
    packed = LstmWeights(w.transpose(1, 0), u.transpose(1, 0), bias)
    found, h, c = lstm(x, states[0], states[1], packed, reverse=reverse)
    return found, (h, c)


def _gru_layer(
    x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...], reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    w, u, *biases = weights
    zeros = w.builder.constant(0.0, (w.shape[0],))
    ours, theirs = (biases[0], biases[1]) if biases else (zeros, zeros)
    found, h = gru(x, states[0], GruWeights(w.transpose(1, 0), u.transpose(1, 0), ours, theirs), reverse=reverse)
    return found, (h,)


def _plain_layer(bend: Callable[[Tensor], Tensor]) -> Recurrence:
    """h' = bend(W x + b + U h + c). Elman 1990."""

    def build(
        x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...], reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        w, u, *biases = weights
        gates = x @ w.transpose(1, 0)
        gates = gates + (biases[0] + biases[1]) if biases else gates
        turned = u.transpose(1, 0)

        def step(now: dict[str, Tensor], slices: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            after = bend(slices["gates"] + now["h"] @ turned)
            return {"h": after}, {"h": after}

        done = scan(step, {"h": states[0]}, {"gates": gates}, reverse=reverse)
        return done.outputs["h"], (done.states["h"],)

    return build


def _recurrent(layer: Recurrence, *, has_cells: bool = False) -> Handler:
    """Every layer and direction of (x, states, weights, has_biases, layers, dropout, train, both_ways, batch_first)."""

    def build(call: TorchCall) -> tuple[Tensor, ...]:
        x, given, weights = call.get(0), call.get(1), call.get(2)
        starts: list[Tensor] = list(given) if has_cells else [given]
        layers, ways, is_batch_first = _recurrent_settings(call)
        if has_cells and starts[0].shape[-1] != starts[1].shape[-1]:
            raise LocalError("an LSTM with proj_size is not computed: its output is a product of the hidden state")
        steps = x.transpose(1, 0, 2) if is_batch_first else x
        each = 4 if call.get(3) else 2
        lasts: list[tuple[Tensor, ...]] = []
        for number in range(layers):
            outputs = []
            for at in range(number * ways, (number + 1) * ways):
                own = tuple(weights[at * each : (at + 1) * each])
                found, last = layer(steps, tuple(state[at] for state in starts), own, at % ways == 1)
                outputs.append(found)
                lasts.append(last)
            steps = outputs[0] if len(outputs) == 1 else movement.concat(outputs, 2)
        y = steps.transpose(1, 0, 2) if is_batch_first else steps
        return y, *(movement.stack([last[i] for last in lasts], 0) for i in range(len(starts)))

    return build


def _recurrent_settings(call: TorchCall) -> tuple[int, int, bool]:
    if len(call.get(0).shape) != 3 or isinstance(call.get(3), tuple):
        raise LocalError("a recurrence over packed sequences is not computed; give (rows, steps, features)")
    if call.get(6, False):
        raise LocalError("a recurrence in training mode is not computed")
    return call.get(4), 2 if call.get(7, False) else 1, bool(call.get(8, False))


def _cell(layer: Recurrence, *, has_cells: bool = False) -> Handler:
    """One step: (x, states, w, u[, bias, bias])."""

    def build(call: TorchCall) -> Any:
        x, starts = call.get(0), call.get(1)
        states = tuple(starts) if has_cells else (starts,)
        weights = tuple(weight for weight in call.arguments[2:] if weight is not None)
        _, last = layer(x.reshape(1, *x.shape), states, weights, False)
        return last if has_cells else last[0]

    return build


NEURAL: dict[str, Handler] = {
    "linear.default": _linear,
    "bilinear.default": _bilinear,
    **{f"{name}.default": (lambda call: product(call.floats(0), call.floats(1))) for name in ("mm", "bmm", "matmul")},
    "mv.default": lambda call: product(call.floats(0), call.floats(1)),
    "dot.default": lambda call: product(call.floats(0), call.floats(1)),
    "vdot.default": lambda call: product(call.floats(0), call.floats(1)),
    **{f"conv{count}d.{form}": _conv for count in (1, 2, 3) for form in ("default", "padding")},
    "conv_transpose1d.default": _conv_transpose,
    "conv_transpose2d.input": _conv_transpose,
    "conv_transpose3d.input": _conv_transpose,
    **{f"max_pool{count}d.default": _pool(True, count) for count in (1, 2, 3)},
    **{f"avg_pool{count}d.default": _pool(False, count) for count in (1, 2, 3)},
    **{f"adaptive_avg_pool{count}d.default": _adaptive_average for count in (1, 2, 3)},
    **{f"adaptive_max_pool{count}d.default": _adaptive_max for count in (1, 2, 3)},
    "batch_norm.default": _batch_norm,
    "_native_batch_norm_legit_no_training.default": lambda call: (_batch_norm(call),),
    "layer_norm.default": _layer_norm,
    "rms_norm.default": _rms_norm,
    "group_norm.default": _group_norm,
    "instance_norm.default": _instance_norm,
    "_weight_norm.default": _weight_norm,
    "scaled_dot_product_attention.default": _attention,
    "embedding.default": _embedding,
    **{
        f"{name}.default": _dropout for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
    },
    **{f"upsample_nearest{count}d.vec": _nearest for count in (1, 2, 3)},
    "upsample_linear1d.vec": _resized(False),
    "upsample_bilinear2d.vec": _resized(False),
    "upsample_trilinear3d.vec": _resized(False),
    "upsample_bicubic2d.vec": _resized(True),
    "pixel_shuffle.default": _pixel_shuffle,
    "pixel_unshuffle.default": _pixel_unshuffle,
    "channel_shuffle.default": _channel_shuffle,
    "im2col.default": _unfold,
    "lstm.input": _recurrent(_lstm_layer, has_cells=True),
    "gru.input": _recurrent(_gru_layer),
    "rnn_tanh.input": _recurrent(_plain_layer(tanh)),
    "rnn_relu.input": _recurrent(_plain_layer(relu)),
    "lstm_cell.default": _cell(_lstm_layer, has_cells=True),
    "gru_cell.default": _cell(_gru_layer),
    "rnn_tanh_cell.default": _cell(_plain_layer(tanh)),
    "rnn_relu_cell.default": _cell(_plain_layer(relu)),
}
