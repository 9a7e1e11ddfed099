"""ONNX operators of neural networks: products, convolutions, pooling, normalisation, attention, dropout."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import movement, normalization, pooling
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, matmul, maximum, sqrt, where
from synaptic_mesh.interchange.onnx_einsum import einsum
from synaptic_mesh.interchange.onnx_reductions import narrow_floats
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of
from synaptic_mesh.interchange.onnx_values import WRAPPED, Call, Value, truth
from synaptic_mesh.interchange.spatial import Reach, convolve, convolve_transposed

Pair = tuple[int, int]


def _matmul(call: Call) -> Value:
    return call.result(product(call.floats(0), call.floats(1)))


def product(a: Tensor, b: Tensor) -> Tensor:
    """numpy's matmul: leading axes broadcast, a vector is a row or a column that disappears again."""
    left = a.reshape(1, a.shape[0]) if len(a.shape) == 1 else a
    right = b.reshape(b.shape[0], 1) if len(b.shape) == 1 else b
    if len(right.shape) == 2 and len(left.shape) > 2:
        flat = left.reshape(math.prod(left.shape[:-1]), left.shape[-1]) @ right
        found = flat.reshape(*left.shape[:-1], right.shape[1])
    elif len(left.shape) == len(right.shape) == 2:
        found = left @ right
    else:
        lead = tuple(int(e) for e in np.broadcast_shapes(left.shape[:-2], right.shape[:-2]))
        found = matmul(left.broadcast_to((*lead, *left.shape[-2:])), right.broadcast_to((*lead, *right.shape[-2:])))
    shape = list(found.shape)
    if len(b.shape) == 1:
        shape.pop(-1)
    if len(a.shape) == 1:
        shape.pop(-1 if len(b.shape) == 1 else -2)
    return found.reshape(*shape)


def _gemm(call: Call) -> Value:
    a, b = call.floats(0), call.floats(1)
    found = matmul(a, b, transpose_left=bool(call.get("transA", 0)), transpose_right=bool(call.get("transB", 0)))
    if call.get("alpha", 1.0) != 1.0:
        found = found * call.get("alpha")
    if call.has(2):
        c = call.floats(2)
        found = found + (c if call.get("beta", 1.0) == 1.0 else c * call.get("beta"))
    return call.result(found)


def _sides(
    call: Call, extents: Sequence[int], kernel: Sequence[int], steps: Sequence[int], gaps: Sequence[int]
) -> list[Pair]:
    """Padding before and behind each axis, from pads or auto_pad."""
    count = len(kernel)
    mode = call.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for i in range(count):
            missing = max((-(-extents[i] // steps[i]) - 1) * steps[i] + (kernel[i] - 1) * gaps[i] + 1 - extents[i], 0)
            small, large = missing // 2, missing - missing // 2
            found.append((small, large) if mode == "SAME_UPPER" else (large, small))
        return found
    pads = call.get("pads") or [0] * (2 * count)
    return [(0, 0)] * count if mode == "VALID" else [(pads[i], pads[i + count]) for i in range(count)]


def _conv(call: Call) -> Value:
    x, w = call.floats(0), call.floats(1)
    count = len(x.shape) - 2
    steps, gaps = call.get("strides") or [1] * count, call.get("dilations") or [1] * count
    sides = _sides(call, x.shape[2:], w.shape[2:], steps, gaps)
    reach = Reach(tuple(steps), tuple(sides), tuple(gaps), call.get("group", 1))
    return call.result(convolve(x, w, call.optional(2), reach))


def _conv_transpose(call: Call) -> Value:
    x, w = call.floats(0), call.floats(1)
    count = len(x.shape) - 2
    steps, gaps = call.get("strides") or [1] * count, call.get("dilations") or [1] * count
    more = list(call.get("output_padding") or [0] * count)
    sides = _transpose_sides(call, x.shape[2:], w.shape[2:], steps, gaps, more)
    reach = Reach(tuple(steps), tuple(sides), tuple(gaps), call.get("group", 1), tuple(more))
    return call.result(convolve_transposed(x, w, call.optional(2), reach))


def _transpose_sides(
    call: Call,
    extents: Sequence[int],
    kernel: Sequence[int],
    steps: Sequence[int],
    gaps: Sequence[int],
    more: list[int],
) -> list[Pair]:
    mode, wanted = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    count = len(kernel)
    full = [(extents[i] - 1) * steps[i] + more[i] + (kernel[i] - 1) * gaps[i] + 1 for i in range(count)]
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [extents[i] * steps[i] for i in range(count)]
    if wanted is None:
        return _sides(call, extents, kernel, steps, gaps)
    found = []
    for i in range(count):
        total = full[i] - wanted[-count:][i]
        if total < 0:
            more[i] -= total
            total = 0
        small = total // 2
        found.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
    return found


def _pool_settings(call: Call, x: Tensor) -> dict[str, Any]:
    kernel = call.get("kernel_shape")
    steps, gaps = call.get("strides") or [1] * len(kernel), call.get("dilations") or [1] * len(kernel)
    return {
        "stride": steps,
        "padding": _sides(call, x.shape[2:], kernel, steps, gaps),
        "dilation": gaps,
        "ceil_mode": bool(call.get("ceil_mode", 0)),
    }


def _max_pool(call: Call) -> Value | list[Value]:
    x = narrow_floats(call)
    kernel, settings = call.get("kernel_shape"), _pool_settings(call, x)
    found = pooling.max_pool(x, kernel, **settings)
    shown = call.result(found.convert(DType.I32) if call.kind() in WRAPPED else found)
    return [shown, _places_of_maxima(call, x, kernel, settings)] if call.outputs > 1 else shown


def _places_of_maxima(call: Call, x: Tensor, kernel: Sequence[int], settings: dict[str, Any]) -> Value:
    """Positions in the whole tensor, row-major unless storage_order says columns first; the first maximum counts."""
    count = len(kernel)
    extents = x.shape[2:]
    steps = [1] * count
    order = range(count) if call.get("storage_order", 0) else reversed(range(count))
    size = 1
    for axis in order:
        steps[axis], size = size, size * extents[axis]
    local = sum(np.indices(extents)[axis] * steps[axis] for axis in range(count))
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * count)
    places = x.builder.array((planes * size + local).astype(np.int32))
    best, at = None, None
    for tap in np.ndindex(*kernel):
        value, place = (_tap(t, tap, kernel, settings, fill) for t, fill in ((x, -math.inf), (places, 0)))
        if best is None or at is None:
            best, at = value, place
        else:
            at, best = where(value > best, place, at), maximum(value, best)
    if at is None:
        raise LocalError(f"windows {list(kernel)} hold nothing")
    return call.result(at, "int64")


def _tap(x: Tensor, tap: tuple[int, ...], kernel: Sequence[int], settings: dict[str, Any], fill: float) -> Tensor:
    """The elements that one place of the kernel meets, window by window."""
    outer = pooling.max_pool(x.convert(DType.F32), kernel, **settings).shape[2:]
    for axis, (sides, step, gap) in enumerate(
        zip(settings["padding"], settings["stride"], settings["dilation"], strict=True), 2
    ):
        reach = (outer[axis - 2] - 1) * step + (kernel[axis - 2] - 1) * gap + 1
        low, high = [0] * len(x.shape), [0] * len(x.shape)
        low[axis], high[axis] = sides[0], reach - sides[0] - x.shape[axis]
        x = movement.narrow(movement.pad(x, low, high, value=fill), axis, tap[axis - 2] * gap, outer[axis - 2], step)
    return x


def _average_pool(call: Call) -> Value:
    x = call.floats()
    counted = bool(call.get("count_include_pad", 0))
    found = pooling.average_pool(x, call.get("kernel_shape"), count_include_pad=counted, **_pool_settings(call, x))
    return call.result(found)


def _lp_pool(call: Call) -> Value:
    x, p = call.floats(), call.get("p", 2)
    kernel = call.get("kernel_shape")
    powers = abs(x) if p == 1 else x * x if p == 2 else abs(x) ** float(p)
    mean = pooling.average_pool(powers, kernel, count_include_pad=True, **_pool_settings(call, x))
    total = mean * float(math.prod(kernel))
    return call.result(total if p == 1 else sqrt(total) if p == 2 else total ** (1.0 / p))


def _global(function: Any) -> Handler:
    def build(call: Call) -> Value:
        x = call.floats()
        return call.result(function(x).reshape(*x.shape[:2], *(1 for _ in x.shape[2:])))

    return build


def _batch_norm(call: Call) -> Value | list[Value]:
    x, scale, shift, mean, variance = (call.floats(i) for i in range(5))
    epsilon = call.get("epsilon", 1e-5)
    if not call.get("training_mode", 0):
        return call.result(normalization.batch_norm(x, scale, shift, mean, variance, epsilon=epsilon))
    keep = call.get("momentum", 0.9)
    axes = (0, *range(2, len(x.shape)))
    centre = normalization.mean_over(x, axes)
    spread = normalization.variance_over(x, axes)
    y = normalization.batch_norm(x, scale, shift, centre, spread, epsilon=epsilon)
    moved = [mean * keep + centre * (1.0 - keep), variance * keep + spread * (1.0 - keep)]
    return [call.result(y), *(call.result(t) for t in moved)][: max(call.outputs, 1)]


def _layer_norm(call: Call) -> list[Value]:
    x = call.floats()
    at = axis_of(call.get("axis", -1), len(x.shape))
    axes = tuple(range(at, len(x.shape)))
    centre = normalization.mean_over(x, axes, keep=True)
    spread = normalization.variance_over(x, axes, keep=True)
    inverse = 1.0 / sqrt(spread + call.get("epsilon", 1e-5))
    y = (x - centre) * inverse * call.floats(1)
    y = y + call.floats(2) if call.has(2) else y
    return [call.result(y), call.result(centre), call.result(inverse)][: call.outputs]


def _rms_norm(call: Call) -> Value:
    x = call.floats()
    at = axis_of(call.get("axis", -1), len(x.shape))
    power = normalization.mean_over(x * x, tuple(range(at, len(x.shape))), keep=True)
    return call.result(x / sqrt(power + call.get("epsilon", 1e-5)) * call.floats(1))


def _group_norm(call: Call) -> Value:
    x, scale, shift = call.floats(0), call.floats(1), call.floats(2)
    groups = call.get("num_groups")
    if call.opset < 21:  # one scale per group
        each = x.shape[1] // groups
        scale, shift = (t.repeat(1, each).reshape(x.shape[1]) for t in (scale, shift))
    return call.result(normalization.group_norm(x, groups, scale, shift, epsilon=call.get("epsilon", 1e-5)))


def _instance_norm(call: Call) -> Value:
    x = call.floats()
    found = normalization.group_norm(x, x.shape[1], call.floats(1), call.floats(2), epsilon=call.get("epsilon", 1e-5))
    return call.result(found)


def _local_response(call: Call) -> Value:
    x, size = call.floats(), call.get("size")
    low = (size - 1) // 2
    squares = movement.pad(
        x * x, [0, low, *([0] * (len(x.shape) - 2))], [0, size - 1 - low, *([0] * (len(x.shape) - 2))]
    )
    total = movement.narrow(squares, 1, 0, x.shape[1])
    for at in range(1, size):
        total = total + movement.narrow(squares, 1, at, x.shape[1])
    scaled = total * (call.get("alpha", 1e-4) / size) + call.get("bias", 1.0)
    return call.result(x / scaled ** call.get("beta", 0.75))


def _dropout(call: Call) -> list[Value]:
    x = call.floats()
    ratio = float(call.static(1).reshape(-1)[0]) if call.has(1) else 0.5
    if call.has(2) and bool(call.static(2).reshape(-1)[0]) and ratio > 0:
        raise LocalError("dropout in training mode draws from a generator that ONNX does not define")
    mask = truth(x.builder.constant(1.0, x.shape) == 1.0)
    return [call.result(x), call.result(mask, "bool")][: call.outputs]


NEURAL: dict[str, Handler] = {
    "MatMul": _matmul,
    "Einsum": einsum,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalMaxPool": _global(pooling.global_max_pool),
    "GlobalAveragePool": _global(pooling.global_average_pool),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response,
    "Dropout": _dropout,
}
