"""The operators that torch.export writes for the usual modules, in terms of the engine. Imports no torch."""

import math
from collections.abc import Callable
from typing import Any

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions import (
    activations,
    convolution,
    elementwise,
    indexing,
    movement,
    normalization,
    pooling,
)
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.functions.recurrence import GruWeights, LstmWeights, gru, lstm
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, exp, log, maximum, minimum, sigmoid, sqrt, tanh, where
from synaptic_mesh.interchange.onnx_neural import product
from synaptic_mesh.models.scope import Scope


class TorchCall:
    """One operator while it is traced."""

    def __init__(self, scope: Scope, op: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.scope, self.op, self.arguments, self.keywords = scope, op, arguments, keywords

    def get(self, index: int, default: Any = None, name: str = "") -> Any:
        """Return an argument by place or name."""
        if index < len(self.arguments):
            return self.arguments[index]
        return self.keywords.get(name, default)

    def tensor(self, index: int = 0) -> Tensor:
        """Return an argument that is a tensor. Raises LocalError when it is not."""
        found = self.get(index)
        if not isinstance(found, Tensor):
            raise LocalError(f"argument {index + 1} is {found!r}, not a tensor")
        return found


Handler = Callable[[TorchCall], Any]


def _one(function: Callable[[Tensor], Tensor]) -> Handler:
    return lambda call: function(call.tensor())


def _two(function: Callable[[Any, Any], Any]) -> Handler:
    def build(call: TorchCall) -> Any:
        a, b = call.get(0), call.get(1)
        alpha = call.keywords.get("alpha", 1)
        return function(a, b if alpha == 1 else b * alpha)

    return build


def _linear(call: TorchCall) -> Tensor:
    found = product(call.tensor(0), call.tensor(1).transpose(1, 0))
    bias = call.get(2, None, "bias")
    return found if bias is None else found + bias


def _conv(call: TorchCall) -> Tensor:
    x, w, bias = call.tensor(0), call.tensor(1), call.get(2, None, "bias")
    count = len(x.shape) - 2
    steps, padding = call.get(3, (1,) * count, "stride"), call.get(4, (0,) * count, "padding")
    gaps, groups = call.get(5, (1,) * count, "dilation"), call.get(6, 1, "groups")
    steps, gaps = _spread(steps, count), _spread(gaps, count)
    if isinstance(padding, str):
        reach = [(w.shape[2 + i] - 1) * gaps[i] if padding == "same" else 0 for i in range(count)]
        sides = [(total // 2, total - total // 2) for total in reach]
    else:
        sides = [(side, side) for side in _spread(padding, count)]
    if count == 1:
        return convolution.conv1d(x, w, bias, stride=steps[0], padding=sides[0], dilation=gaps[0], groups=groups)
    if count != 2:
        raise LocalError(f"a convolution over {count} axes is not computed")
    return convolution.conv2d(
        x,
        w,
        bias,
        stride=(steps[0], steps[1]),
        padding=(sides[0], sides[1]),
        dilation=(gaps[0], gaps[1]),
        groups=groups,
    )


def _spread(value: Any, count: int) -> tuple[int, ...]:
    found = (value,) if isinstance(value, int) else tuple(value)
    return found * count if len(found) == 1 else found


def _pool(is_max: bool, count: int) -> Handler:
    def build(call: TorchCall) -> Tensor:
        kernel = _spread(call.get(1, None, "kernel_size"), count)
        stride = call.get(2, None, "stride") or kernel
        padding = _spread(call.get(3, 0, "padding"), count)
        sides = [(side, side) for side in padding]
        mode = call.get(5 if is_max else 4, False, "ceil_mode")
        if is_max:
            gaps = _spread(call.get(4, 1, "dilation"), count)
            return pooling.max_pool(
                call.tensor(), kernel, stride=_spread(stride, count), padding=sides, dilation=gaps,
                ceil_mode=bool(mode),
            )  # fmt: skip
        if call.get(6, None, "divisor_override") is not None:
            raise LocalError("a mean with divisor_override is not computed")
        return pooling.average_pool(
            call.tensor(), kernel, stride=_spread(stride, count), padding=sides,
            ceil_mode=bool(mode), count_include_pad=bool(call.get(5, True, "count_include_pad")),
        )  # fmt: skip

    return build


def _adaptive(call: TorchCall) -> Tensor:
    x, wanted = call.tensor(), call.get(1)
    extents = x.shape[len(x.shape) - len(wanted) :]
    sizes = [extent if size is None else size for extent, size in zip(extents, wanted, strict=True)]
    if any(extent % size for extent, size in zip(extents, sizes, strict=True)):
        raise LocalError(f"windows of unequal extent, from {extents} to {sizes}, are not computed")
    kernel = [extent // size for extent, size in zip(extents, sizes, strict=True)]
    return pooling.average_pool(x, kernel)


def _batch_norm(call: TorchCall) -> Tensor:
    x, scale, shift, mean, variance = (call.get(i) for i in range(5))
    if mean is None or variance is None:
        raise LocalError("batch norm without running statistics is not computed")
    channels = x.shape[1]
    scale = x.builder.constant(1.0, (channels,)) if scale is None else scale
    shift = x.builder.constant(0.0, (channels,)) if shift is None else shift
    epsilon = call.get(7, 1e-5) if "batch_norm.default" in call.op else call.get(6, 1e-5)
    return normalization.batch_norm(x, scale, shift, mean, variance, epsilon=epsilon)


def _layer_norm(call: TorchCall) -> Tensor:
    axes, scale, shift = len(call.get(1)), call.get(2), call.get(3)
    return normalization.layer_norm(call.tensor(), scale, shift, axes=axes, epsilon=call.get(4, 1e-5, "eps"))


def _group_norm(call: TorchCall) -> Tensor:
    x = call.tensor()
    scale, shift = call.get(2, None, "weight"), call.get(3, None, "bias")
    scale = x.builder.constant(1.0, (x.shape[1],)) if scale is None else scale
    shift = x.builder.constant(0.0, (x.shape[1],)) if shift is None else shift
    return normalization.group_norm(x, call.get(1), scale, shift, epsilon=call.get(4, 1e-5, "eps"))


def _reshape(call: TorchCall) -> Tensor:
    x, shape = call.tensor(), list(call.get(1))
    if -1 in shape:
        rest = math.prod(extent for extent in shape if extent != -1)
        shape[shape.index(-1)] = x.node.size // max(rest, 1)
    return x.reshape(*shape)


def _flatten(call: TorchCall) -> Tensor:
    x = call.tensor()
    first, last = call.get(1, 0, "start_dim") % len(x.shape), call.get(2, -1, "end_dim") % len(x.shape)
    return x.reshape(*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])


def _unflatten(call: TorchCall) -> Tensor:
    x, sizes = call.tensor(), list(call.get(2))
    at = call.get(1) % len(x.shape)
    known = math.prod(size for size in sizes if size != -1)
    sizes = [x.shape[at] // known if size == -1 else size for size in sizes]
    return x.reshape(*x.shape[:at], *sizes, *x.shape[at + 1 :])


def _transpose(call: TorchCall) -> Tensor:
    x = call.tensor()
    order = list(range(len(x.shape)))
    a, b = call.get(1, 0) % len(order), call.get(2, 1) % len(order)
    order[a], order[b] = order[b], order[a]
    return x.transpose(*order)


def _unsqueeze(call: TorchCall) -> Tensor:
    x = call.tensor()
    at = call.get(1) % (len(x.shape) + 1)
    return x.reshape(*x.shape[:at], 1, *x.shape[at:])


def _squeeze(call: TorchCall) -> Tensor:
    x, axes = call.tensor(), call.get(1)
    chosen = range(len(x.shape)) if axes is None else (axes,) if isinstance(axes, int) else axes
    gone = {axis % len(x.shape) for axis in chosen if x.shape[axis] == 1}
    return x.reshape(*(extent for i, extent in enumerate(x.shape) if i not in gone))


def _expand(call: TorchCall) -> Tensor:
    x, wanted = call.tensor(), list(call.get(1))
    lead = len(wanted) - len(x.shape)
    shape = [x.shape[i - lead] if extent == -1 else extent for i, extent in enumerate(wanted)]
    return x.broadcast_to(tuple(shape))


def _slice(call: TorchCall) -> Tensor:
    x = call.tensor()
    at = call.get(1, 0) % len(x.shape)
    start, end, step = call.get(2, None) or 0, call.get(3, None), call.get(4, 1)
    stop = x.shape[at] if end is None or end >= x.shape[at] else end
    return x[(*(slice(None),) * at, slice(start, stop, step))]


def _select(call: TorchCall) -> Tensor:
    x = call.tensor()
    at, index = call.get(1) % len(x.shape), call.get(2)
    return x[(*(slice(None),) * at, index % x.shape[at])]


def _cat(call: TorchCall) -> Tensor:
    return movement.concat(call.get(0), call.get(1, 0, "dim"))


def _split(call: TorchCall) -> list[Tensor]:
    x, size = call.tensor(), call.get(1)
    at = call.get(2, 0, "dim") % len(x.shape)
    extent = x.shape[at]
    if "chunk" in call.op:
        size = -(-extent // size)
    sizes = list(size) if not isinstance(size, int) else [min(size, extent - i) for i in range(0, extent, size)]
    return movement.split(x, sizes, at)


def _axes(call: TorchCall, x: Tensor) -> list[int]:
    axes = call.get(1, None, "dim")
    chosen = range(len(x.shape)) if axes is None or axes == () else (axes,) if isinstance(axes, int) else axes
    return sorted({axis % len(x.shape) for axis in chosen}, reverse=True)


def _mean(call: TorchCall) -> Tensor:
    x = call.tensor()
    return normalization.mean_over(x, _axes(call, x), keep=bool(call.get(2, False, "keepdim")))


def _sum(call: TorchCall) -> Tensor:
    x = call.tensor()
    axes = _axes(call, x)
    total = x
    for axis in axes:
        total = total.sum(axis)
    is_kept = bool(call.get(2, False, "keepdim"))
    return total.reshape(*(1 if i in axes else e for i, e in enumerate(x.shape))) if is_kept else total


def _attention(call: TorchCall) -> Tensor:
    mask, causal = call.get(3, None, "attn_mask"), call.get(5, False, "is_causal")
    scale = call.keywords.get("scale")
    return attention(call.tensor(0), call.tensor(1), call.tensor(2), mask=mask, causal=bool(causal), scale=scale)


def _embedding(call: TorchCall) -> Tensor:
    index = call.tensor(1)
    return indexing.take(call.tensor(0), index.convert(DType.I32), 0)


def _dropout(call: TorchCall) -> Tensor:
    if call.get(2, False):
        raise LocalError("dropout that is active while predicting is not computed")
    return call.tensor()


def _clamp(call: TorchCall) -> Tensor:
    return elementwise.clip(call.tensor(), call.get(1, None, "min"), call.get(2, None, "max"))


def _gelu(call: TorchCall) -> Tensor:
    is_tanh = call.keywords.get("approximate", call.get(1, "none")) == "tanh"
    return activations.gelu_tanh(call.tensor()) if is_tanh else activations.gelu(call.tensor())


def _softplus(call: TorchCall) -> Tensor:
    """log(1 + e^(beta x)) / beta, and x itself where beta x is over the threshold."""
    x, beta, most = call.tensor(), call.get(1, 1.0, "beta"), call.get(2, 20.0, "threshold")
    scaled = x if beta == 1 else x * float(beta)
    soft = activations.softplus(scaled)
    return where(scaled > float(most), x, soft if beta == 1 else soft / float(beta))


def _elu(call: TorchCall) -> Tensor:
    if call.get(2, 1, "scale") != 1 or call.get(3, 1, "input_scale") != 1:
        raise LocalError("elu with scale or input_scale is not computed")
    return activations.elu(call.tensor(), call.get(1, 1.0, "alpha"))


def _prelu(call: TorchCall) -> Tensor:
    x, slope = call.tensor(), call.tensor(1)
    return activations.prelu(x, slope.reshape(1, slope.shape[0], *(1,) * (len(x.shape) - 2)))


def _power(call: TorchCall) -> Tensor:
    found: Tensor = call.get(0) ** call.get(1)
    return found


def _addmm(call: TorchCall) -> Tensor:
    if call.get(3, 1, "beta") != 1 or call.get(4, 1, "alpha") != 1:
        raise LocalError("addmm with beta or alpha is not computed")
    return call.tensor(1) @ call.tensor(2) + call.tensor(0)


def _lstm(call: TorchCall) -> tuple[Tensor, Tensor, Tensor]:
    x, states, weights = call.get(0), call.get(1), call.get(2)
    layers, both, is_batch_first = _recurrent_settings(call)
    steps = x.transpose(1, 0, 2) if is_batch_first else x
    each = 4 if call.get(3) else 2
    hidden, cells = [], []
    for layer in range(layers):
        outputs = []
        for way in range(2 if both else 1):
            at = layer * (2 if both else 1) + way
            w, u, *biases = weights[at * each : (at + 1) * each]
            bias = biases[0] + biases[1] if biases else w.builder.constant(0.0, (w.shape[0],))
            packed = LstmWeights(w.transpose(1, 0), u.transpose(1, 0), bias)
            found, h, c = lstm(steps, states[0][at], states[1][at], packed, reverse=way == 1)
            outputs.append(found)
            hidden.append(h)
            cells.append(c)
        steps = outputs[0] if len(outputs) == 1 else movement.concat(outputs, 2)
    y = steps.transpose(1, 0, 2) if is_batch_first else steps
    return y, movement.stack(hidden, 0), movement.stack(cells, 0)


def _gru(call: TorchCall) -> tuple[Tensor, Tensor]:
    x, start, weights = call.get(0), call.get(1), call.get(2)
    layers, both, is_batch_first = _recurrent_settings(call)
    steps = x.transpose(1, 0, 2) if is_batch_first else x
    each = 4 if call.get(3) else 2
    hidden = []
    for layer in range(layers):
        outputs = []
        for way in range(2 if both else 1):
            at = layer * (2 if both else 1) + way
            w, u, *biases = weights[at * each : (at + 1) * each]
            zeros = w.builder.constant(0.0, (w.shape[0],))
            ours, theirs = (biases[0], biases[1]) if biases else (zeros, zeros)
            packed = GruWeights(w.transpose(1, 0), u.transpose(1, 0), ours, theirs)
            found, h = gru(steps, start[at], packed, reverse=way == 1)
            outputs.append(found)
            hidden.append(h)
        steps = outputs[0] if len(outputs) == 1 else movement.concat(outputs, 2)
    return steps.transpose(1, 0, 2) if is_batch_first else steps, movement.stack(hidden, 0)


def _recurrent_settings(call: TorchCall) -> tuple[int, bool, bool]:
    if call.get(6, False):
        raise LocalError("a recurrence in training mode is not computed")
    return call.get(4), bool(call.get(7, False)), bool(call.get(8, False))


def _filled(value: float) -> Handler:
    return lambda call: call.scope.builder.constant(value, tuple(call.get(0)))


def _masked(call: TorchCall) -> Tensor:
    return where(call.tensor(1), call.get(2), call.tensor(0))


_ATEN: dict[str, Handler] = {
    "linear.default": _linear,
    "addmm.default": _addmm,
    "mm.default": _two(product),
    "bmm.default": _two(product),
    "matmul.default": _two(product),
    "conv1d.default": _conv,
    "conv2d.default": _conv,
    "conv1d.padding": _conv,
    "conv2d.padding": _conv,
    "max_pool1d.default": _pool(True, 1),
    "max_pool2d.default": _pool(True, 2),
    "avg_pool1d.default": _pool(False, 1),
    "avg_pool2d.default": _pool(False, 2),
    "adaptive_avg_pool1d.default": _adaptive,
    "adaptive_avg_pool2d.default": _adaptive,
    "batch_norm.default": _batch_norm,
    "_native_batch_norm_legit_no_training.default": lambda call: (_batch_norm(call),),
    "layer_norm.default": _layer_norm,
    "group_norm.default": _group_norm,
    "relu.default": _one(relu),
    "relu_.default": _one(relu),
    "leaky_relu.default": lambda call: activations.leaky_relu(call.tensor(), call.get(1, 0.01, "negative_slope")),
    "elu.default": _elu,
    "celu.default": lambda call: activations.celu(call.tensor(), call.get(1, 1.0, "alpha")),
    "selu.default": _one(activations.selu),
    "relu6.default": _one(activations.relu6),
    "glu.default": lambda call: activations.glu(call.tensor(), call.get(1, -1, "dim")),
    "prelu.default": _prelu,
    "hardsigmoid.default": _one(activations.hard_sigmoid),
    "log_sigmoid.default": _one(lambda x: -activations.softplus(-x)),
    "gelu.default": _gelu,
    "silu.default": _one(activations.silu),
    "mish.default": _one(activations.mish),
    "hardswish.default": _one(activations.hard_swish),
    "hardtanh.default": lambda call: elementwise.clip(call.tensor(), call.get(1, -1.0), call.get(2, 1.0)),
    "softplus.default": _softplus,
    "tanh.default": _one(tanh),
    "sigmoid.default": _one(sigmoid),
    "exp.default": _one(exp),
    "log.default": _one(log),
    "sqrt.default": _one(sqrt),
    "rsqrt.default": _one(elementwise.reciprocal_sqrt),
    "abs.default": _one(abs),
    "neg.default": _one(lambda x: -x),
    "erf.default": _one(elementwise.erf),
    "sin.default": _one(elementwise.sin),
    "cos.default": _one(elementwise.cos),
    "softmax.int": lambda call: activations.softmax_along(call.tensor(), call.get(1)),
    "_softmax.default": lambda call: activations.softmax_along(call.tensor(), call.get(1)),
    "log_softmax.int": lambda call: activations.log_softmax_along(call.tensor(), call.get(1)),
    "_log_softmax.default": lambda call: activations.log_softmax_along(call.tensor(), call.get(1)),
    "add.Tensor": _two(lambda a, b: a + b),
    "add_.Tensor": _two(lambda a, b: a + b),
    "sub.Tensor": _two(lambda a, b: a - b),
    "mul.Tensor": _two(lambda a, b: a * b),
    "div.Tensor": _two(lambda a, b: a / b),
    "maximum.default": _two(maximum),
    "minimum.default": _two(minimum),
    "pow.Tensor_Scalar": _power,
    "pow.Tensor_Tensor": _power,
    "clamp.default": _clamp,
    "view.default": _reshape,
    "reshape.default": _reshape,
    "_unsafe_view.default": _reshape,
    "flatten.using_ints": _flatten,
    "unflatten.int": _unflatten,
    "permute.default": lambda call: call.tensor().transpose(*(a % len(call.tensor().shape) for a in call.get(1))),
    "transpose.int": _transpose,
    "t.default": _transpose,
    "unsqueeze.default": _unsqueeze,
    "squeeze.default": _squeeze,
    "squeeze.dim": _squeeze,
    "squeeze.dims": _squeeze,
    "expand.default": _expand,
    "slice.Tensor": _slice,
    "select.int": _select,
    "cat.default": _cat,
    "stack.default": lambda call: movement.stack(call.get(0), call.get(1, 0, "dim")),
    "split.Tensor": _split,
    "split_with_sizes.default": _split,
    "chunk.default": _split,
    "unbind.int": lambda call: [
        call.tensor()[(*(slice(None),) * (call.get(1, 0) % len(call.tensor().shape)), i)]
        for i in range(call.tensor().shape[call.get(1, 0)])
    ],
    "mean.dim": _mean,
    "mean.default": _mean,
    "sum.dim_IntList": _sum,
    "embedding.default": _embedding,
    "dropout.default": _dropout,
    "feature_dropout.default": _dropout,
    "scaled_dot_product_attention.default": _attention,
    "lstm.input": _lstm,
    "gru.input": _gru,
    "zeros.default": _filled(0.0),
    "ones.default": _filled(1.0),
    "masked_fill.Scalar": _masked,
    "contiguous.default": _one(lambda x: x),
    "clone.default": _one(lambda x: x),
    "detach.default": _one(lambda x: x),
    "detach_.default": _one(lambda x: x),
    "alias.default": _one(lambda x: x),
    "lift_fresh_copy.default": _one(lambda x: x),
    "to.dtype": lambda call: _to(call),
    "_to_copy.default": lambda call: _to(call),
    "_assert_tensor_metadata.default": lambda _: None,
}


def _to(call: TorchCall) -> Tensor:
    wanted = str(call.get(1, None, "dtype"))
    x = call.tensor()
    if wanted in ("torch.float32", "None"):
        return x.convert(DType.F32)
    if wanted in ("torch.int64", "torch.int32"):
        return x.convert(DType.I32)
    raise LocalError(f"a cast to {wanted} is not computed")


TORCH_OPERATORS: dict[str, Handler] = {
    **{f"aten.{name}": handler for name, handler in _ATEN.items()},
    "<built-in function getitem>": lambda call: call.get(0)[call.get(1)],
    "aten.sym_size.int": lambda call: call.tensor().shape[call.get(1)],
    "<built-in function mul>": lambda call: call.get(0) * call.get(1),
    "<built-in function add>": lambda call: call.get(0) + call.get(1),
    "<built-in function sub>": lambda call: call.get(0) - call.get(1),
    "<built-in function floordiv>": lambda call: call.get(0) // call.get(1),
    **{f"<built-in function {name}>": (lambda _: None) for name in ("ge", "le", "eq", "ne", "lt", "gt")},
    "aten._assert_scalar.default": lambda _: None,
}
