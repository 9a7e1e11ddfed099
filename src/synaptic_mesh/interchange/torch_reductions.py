"""Operators of torch that reduce axes or rank along one; the softmax family."""

import math
from collections.abc import Callable, Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import activations, movement, normalization, order
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, sqrt, where
from synaptic_mesh.interchange.onnx_values import truth
from synaptic_mesh.interchange.torch_call import Handler, TorchCall, is_nonzero


def _axes(call: TorchCall, x: Tensor, index: int = 1) -> list[int]:
    axes = call.get(index, None, "dim")
    chosen = range(len(x.shape)) if axes is None or axes == () else (axes,) if isinstance(axes, int) else axes
    return sorted({axis % len(x.shape) for axis in chosen}, reverse=True)


def _reduced(fold: Callable[[Tensor, int], Tensor]) -> Handler:
    """(x, dim or none, keepdim)."""

    def build(call: TorchCall) -> Tensor:
        x = call.promoted(call.tensor())
        axes = _axes(call, x)
        total = x
        for axis in axes:
            total = fold(total, axis)
        return _kept(total, x, axes, bool(call.get(2, False, "keepdim")))

    return build


def _kept(total: Tensor, x: Tensor, axes: Sequence[int], is_kept: bool) -> Tensor:
    return total.reshape(*(1 if i in axes else e for i, e in enumerate(x.shape))) if is_kept else total


def _mean(call: TorchCall) -> Tensor:
    x = call.floats()
    return normalization.mean_over(x, _axes(call, x), keep=bool(call.get(2, False, "keepdim")))


def _spread(is_root: bool) -> Handler:
    def build(call: TorchCall) -> Tensor:
        x = call.tensor()
        correction = call.keywords.get("correction", 1) if "correction" in call.op else int(call.get(2, True))
        correction = 1 if correction is None else int(correction)
        keep = bool(call.keywords.get("keepdim", False) if "correction" in call.op else call.get(3, False, "keepdim"))
        found = normalization.variance_over(x, _axes(call, x), keep=keep, correction=correction)
        return sqrt(found) if is_root else found

    return build


def _product(x: Tensor, axis: int) -> Tensor:
    total = movement.narrow(x, axis, 0, 1)
    for k in range(1, x.shape[axis]):
        total = total * movement.narrow(x, axis, k, 1)
    return total.reshape(*x.shape[:axis], *x.shape[axis + 1 :])


def _best(is_max: bool) -> Handler:
    def build(call: TorchCall) -> tuple[Tensor, Tensor]:
        x = call.floats()
        at = call.get(1, None, "dim") % len(x.shape)
        values, places = (x.max(at), x.argmax(at)) if is_max else (x.min(at), x.argmin(at))
        keep = bool(call.get(2, False, "keepdim"))
        return _kept(call.promoted(values), x, [at], keep), _kept(places, x, [at], keep)

    return build


def _best_place(is_max: bool) -> Handler:
    def build(call: TorchCall) -> Tensor:
        x, axis = call.floats(), call.get(1, None, "dim")
        if axis is None:
            flat = x.reshape(x.node.size)
            return flat.argmax(0) if is_max else flat.argmin(0)
        at = axis % len(x.shape)
        return _kept(x.argmax(at) if is_max else x.argmin(at), x, [at], bool(call.get(2, False, "keepdim")))

    return build


def _top_k(call: TorchCall) -> tuple[Tensor, Tensor]:
    return order.top_k(call.floats(), call.get(1), call.get(2, -1, "dim"), largest=bool(call.get(3, True, "largest")))


def _sort(call: TorchCall) -> tuple[Tensor, Tensor]:
    stable = "stable" in call.op
    axis = call.keywords.get("dim", -1) if stable else call.get(1, -1, "dim")
    is_down = call.keywords.get("descending", False) if stable else call.get(2, False, "descending")
    return order.sort(call.floats(), axis, descending=bool(is_down))


def _log_sum_exp(call: TorchCall) -> Tensor:
    x = call.floats()
    axes = _axes(call, x)
    total = x
    for axis in axes:
        total = activations.logsumexp(total, axis)
    return _kept(total, x, axes, bool(call.get(2, False, "keepdim")))


def _norm(call: TorchCall) -> Tensor:
    x, p = call.floats(), call.get(1, 2, "ord" if "linalg" in call.op else "p")
    p = 2 if p is None else p
    axes = _axes(call, x, 2)
    keep = bool(call.get(3, False, "keepdim"))
    if p not in (1, 2, math.inf):
        raise LocalError(f"a norm of order {p} is not computed; there are 1, 2 and infinity")
    total = abs(x) if p != 2 else x * x
    for axis in axes:
        total = total.max(axis) if p == math.inf else total.sum(axis)
    return _kept(sqrt(total) if p == 2 else total, x, axes, keep)


def _cosine(call: TorchCall) -> Tensor:
    """a . b / (max(|a|, eps) max(|b|, eps)) along one axis."""
    a, b = call.floats(0), call.floats(1)
    at = call.get(2, 1, "dim") % max(len(a.shape), len(b.shape))
    least = float(call.get(3, 1e-8, "eps"))

    def bounded(x: Tensor) -> Tensor:
        length = sqrt((x * x).sum(at))
        return where(length > least, length, least)

    return (a * b).sum(at) / (bounded(a) * bounded(b))


def _any_or_all(is_all: bool) -> Handler:
    def build(call: TorchCall) -> Tensor:
        x = is_nonzero(call.tensor()).convert(DType.F32)
        axes = _axes(call, x)
        total = x
        for axis in axes:
            total = total.min(axis) if is_all else total.max(axis)
        return truth(_kept(total, x, axes, bool(call.get(2, False, "keepdim"))) == 1.0)

    return build


def _cumulative_sum(call: TorchCall) -> Tensor:
    return order.cumsum(call.promoted(call.tensor()), call.get(1, None, "dim"))


def _log_or_softmax(function: Callable[[Tensor, int], Tensor]) -> Handler:
    return lambda call: function(call.floats(), call.get(1, None, "dim"))


REDUCTIONS: dict[str, Handler] = {
    "mean.dim": _mean,
    "mean.default": _mean,
    "sum.dim_IntList": _reduced(lambda x, axis: x.sum(axis)),
    "sum.default": _reduced(lambda x, axis: x.sum(axis)),
    "amax.default": _reduced(lambda x, axis: x.max(axis)),
    "amin.default": _reduced(lambda x, axis: x.min(axis)),
    "max.default": _reduced(lambda x, axis: x.max(axis)),
    "min.default": _reduced(lambda x, axis: x.min(axis)),
    "prod.dim_int": _reduced(_product),
    "prod.default": _reduced(_product),
    "max.dim": _best(True),
    "min.dim": _best(False),
    "argmax.default": _best_place(True),
    "argmin.default": _best_place(False),
    "topk.default": _top_k,
    "sort.default": _sort,
    "sort.stable": _sort,
    "var.correction": _spread(False),
    "var.dim": _spread(False),
    "std.correction": _spread(True),
    "std.dim": _spread(True),
    "logsumexp.default": _log_sum_exp,
    "linalg_vector_norm.default": _norm,
    "norm.ScalarOpt_dim": _norm,
    "cosine_similarity.default": _cosine,
    "any.default": _any_or_all(False),
    "any.dim": _any_or_all(False),
    "all.default": _any_or_all(True),
    "all.dim": _any_or_all(True),
    "cumsum.default": _cumulative_sum,
    "softmax.int": _log_or_softmax(activations.softmax_along),
    "_softmax.default": _log_or_softmax(activations.softmax_along),
    "log_softmax.int": _log_or_softmax(activations.log_softmax_along),
    "_log_softmax.default": _log_or_softmax(activations.log_softmax_along),
}
