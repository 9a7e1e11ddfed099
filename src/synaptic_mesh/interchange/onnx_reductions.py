"""ONNX operators that reduce axes, and the softmax family."""

import math
from collections.abc import Callable

from synaptic_mesh.engine.functions import activations, indexing
from synaptic_mesh.engine.functions.movement import concat, narrow
from synaptic_mesh.engine.functions.normalization import mean_over
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, log, maximum, minimum, sqrt, where
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of
from synaptic_mesh.interchange.onnx_values import WRAPPED, Call, Value, limits


def _axes(call: Call, rank: int) -> list[int] | None:
    """The axes from the last to the first, or None for nothing to reduce."""
    axes = call.integers(1) if call.has(1) else call.get("axes")
    if axes is None or len(axes) == 0:
        if call.get("noop_with_empty_axes", 0):
            return None
        axes = list(range(rank))
    return sorted({axis_of(axis, rank) for axis in axes}, reverse=True)


def _reduction(
    fold: Callable[[Tensor, int], Tensor],
    before: Callable[[Tensor], Tensor] = lambda x: x,
    after: Callable[[Tensor], Tensor] = lambda x: x,
) -> Handler:
    def build(call: Call) -> Value:
        x = call.tensor()
        axes = _axes(call, len(x.shape))
        if axes is None:
            return call.result(after(before(x)))
        total = before(x)
        for axis in axes:
            total = fold(total, axis)
        return call.result(_kept(call, after(total), x, axes))

    return build


def _kept(call: Call, reduced: Tensor, x: Tensor, axes: list[int]) -> Tensor:
    if not call.get("keepdims", 1):
        return reduced
    return reduced.reshape(*(1 if i in axes else extent for i, extent in enumerate(x.shape)))


def _absolute(x: Tensor) -> Tensor:
    return abs(x) if x.dtype is DType.F32 else where(x < 0, 0 - x, x)


def _mean(call: Call) -> Value:
    x = call.floats()
    axes = _axes(call, len(x.shape))
    return call.result(x if axes is None else mean_over(x, axes, keep=bool(call.get("keepdims", 1))))


def _product(x: Tensor, axis: int) -> Tensor:
    """k ascending, from 1."""
    total = x.builder.constant(1, x.shape[:axis] + x.shape[axis + 1 :], x.dtype)
    for k in range(x.shape[axis]):
        total = total * x.strided(
            tuple(k if i == axis else 0 for i in range(len(x.shape))),
            (1,) * len(x.shape),
            tuple(1 if i == axis else extent for i, extent in enumerate(x.shape)),
        ).reshape(*total.shape)
    return total


def _extreme(is_max: bool) -> Handler:
    def build(call: Call) -> Value:
        x = call.tensor()
        axes = _axes(call, len(x.shape))
        if axes is None:
            return call.result(x)
        total = x
        for axis in axes:
            if x.dtype is not DType.F32:
                total = _whole_extreme(call, total, axis, is_max)
            else:
                total = total.max(axis) if is_max else total.min(axis)
        return call.result(_kept(call, total, x, axes))

    return build


def _whole_extreme(call: Call, x: Tensor, axis: int, is_max: bool) -> Tensor:
    """The greatest or least integer of an axis: halves meet until one is left."""
    pick = maximum if is_max else minimum
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    if x.shape[axis] == 0:
        low, high = limits(call.kind())
        return x.builder.constant(low if is_max else high, shape, x.dtype)
    while x.shape[axis] > 1:
        half = x.shape[axis] // 2
        both = pick(narrow(x, axis, 0, half), narrow(x, axis, half, half))
        x = concat([both, narrow(x, axis, 2 * half, 1)], axis) if x.shape[axis] % 2 else both
    return x.reshape(*shape)


def _log_sum_exp(call: Call) -> Value:
    x = call.floats()
    axes = _axes(call, len(x.shape))
    if axes is None:
        return call.result(x)
    total = x
    for axis in axes:
        total = activations.logsumexp(total, axis)
    return call.result(_kept(call, total, x, axes))


def narrow_floats(call: Call) -> Tensor:
    """Return input 1 as f32: a float, or an integer of at most 16 bits, which f32 holds."""
    if call.kind() in WRAPPED or call.kind() == "bool":
        return call.tensor().convert(DType.F32)
    return call.floats()


def _best(is_max: bool) -> Handler:
    def build(call: Call) -> Value:
        x = narrow_floats(call)
        at = axis_of(call.get("axis", 0), len(x.shape))
        if call.get("select_last_index", 0):
            turned = x[(*(slice(None),) * at, slice(None, None, -1))]
            found = turned.argmax(at) if is_max else turned.argmin(at)
            found = (x.shape[at] - 1) - found
        else:
            found = x.argmax(at) if is_max else x.argmin(at)
        return call.result(_kept(call, found, x, [at]), "int64")

    return build


def _along_axis(function: Callable[[Tensor, int], Tensor], default: int = -1) -> Handler:
    return lambda call: call.result(function(call.floats(), call.get("axis", default)))


def _hardmax(x: Tensor, axis: int) -> Tensor:
    at = axis_of(axis, len(x.shape))
    return indexing.one_hot_along(x.argmax(at), x.shape[at], at)


def _normalize(call: Call) -> Value:
    x, p = call.floats(), call.get("p", 2)
    at = axis_of(call.get("axis", -1), len(x.shape))
    size = abs(x).sum(at) if p == 1 else sqrt((x * x).sum(at))
    wide = size.repeat(at, x.shape[at])
    return call.result(where(wide == 0.0, 0.0, x / wide))


def _pick(call: Call, logits: Tensor, labels: Value, weight: Tensor | None, ignore: int | None) -> Value:
    """Minus logits[label] with weights and a label that does not count, reduced as the node says."""
    index = call.tensor(1)
    depth = logits.shape[1]
    counted = None
    if ignore is not None:
        counted = where(index == ignore, 0.0, 1.0)
        index = where(index == ignore, 0, index)
    hot = indexing.one_hot_along(index, depth, 1)
    losses = -where(hot == 1.0, logits, 0.0).sum(1)
    weights = None if weight is None else indexing.take(weight, index, 0)
    if counted is not None:
        weights = counted if weights is None else weights * counted
    if weights is not None:
        losses = where(weights == 0.0, 0.0, losses * weights)
    del labels
    mode = call.get("reduction", "mean")
    if mode == "none":
        return call.result(losses)
    if mode == "sum":
        return call.result(losses.sum())
    count = float(math.prod(losses.shape)) if weights is None else weights.sum()
    return call.result(losses.sum() / count)


def _negative_log_likelihood(call: Call) -> Value:
    return _pick(call, call.floats(), call.value(1), call.optional(2), call.get("ignore_index"))


def _softmax_cross_entropy(call: Call) -> list[Value]:
    logs = activations.log_softmax_along(call.floats(), 1)
    loss = _pick(call, logs, call.value(1), call.optional(2), call.get("ignore_index"))
    return [loss, call.result(logs)][: call.outputs]


def _mean_variance(call: Call) -> Value:
    x = call.floats()
    axes = call.get("axes", [0, 2, 3])
    centred = x - mean_over(x, axes, keep=True)
    deviation = sqrt(mean_over(centred * centred, axes, keep=True))
    return call.result(centred / (deviation + 1e-9))


REDUCTIONS: dict[str, Handler] = {
    "ReduceSum": _reduction(lambda x, axis: x.sum(axis)),
    "ReduceL1": _reduction(lambda x, axis: x.sum(axis), before=_absolute),
    "ReduceL2": _reduction(lambda x, axis: x.sum(axis), before=lambda x: x * x, after=sqrt),
    "ReduceSumSquare": _reduction(lambda x, axis: x.sum(axis), before=lambda x: x * x),
    "ReduceLogSum": _reduction(lambda x, axis: x.sum(axis), after=log),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMean": _mean,
    "ReduceProd": _reduction(_product),
    "ReduceMax": _extreme(True),
    "ReduceMin": _extreme(False),
    "ArgMax": _best(True),
    "ArgMin": _best(False),
    "Softmax": _along_axis(activations.softmax_along),
    "LogSoftmax": _along_axis(activations.log_softmax_along),
    "Hardmax": _along_axis(_hardmax),
    "LpNormalization": _normalize,
    "MeanVarianceNormalization": _mean_variance,
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
}
