"""ONNX operators that move elements: shapes, joins, cuts, indices."""

import math
from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import indexing, movement, order
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, where
from synaptic_mesh.interchange.onnx_values import Call, Value, as_tensor

Handler = Callable[[Call], Value | list[Value]]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the first. Raises LocalError when there is none."""
    if not -rank <= axis < max(rank, 1):
        raise LocalError(f"axis {axis} is not an axis of rank {rank}")
    return axis % rank if rank else 0


def _reshape(call: Call) -> Value:
    x, wanted = call.tensor(), call.integers(1)
    keep_zero = call.get("allowzero", 0)
    shape = [x.shape[i] if extent == 0 and not keep_zero else extent for i, extent in enumerate(wanted)]
    if shape.count(-1) == 1:
        rest = math.prod(extent for extent in shape if extent != -1)
        shape[shape.index(-1)] = x.node.size // rest if rest else 0
    if math.prod(shape) != x.node.size or min(shape, default=0) < 0:
        raise LocalError(f"shape {wanted} does not fit {x.shape}")
    return call.result(x.reshape(*shape))


def _flatten(call: Call) -> Value:
    x = call.tensor()
    axis = call.get("axis", 1)
    at = axis + len(x.shape) if axis < 0 else axis
    return call.result(x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:])))


def _squeeze(call: Call) -> Value:
    x = call.tensor()
    axes = call.integers(1) if call.has(1) else [i for i, extent in enumerate(x.shape) if extent == 1]
    gone = {axis_of(axis, len(x.shape)) for axis in axes}
    if any(x.shape[axis] != 1 for axis in gone):
        raise LocalError(f"axes {axes} of {x.shape} are not all of extent 1")
    return call.result(x.reshape(*(extent for i, extent in enumerate(x.shape) if i not in gone)))


def _unsqueeze(call: Call) -> Value:
    x = call.tensor()
    axes = call.integers(1)
    rank = len(x.shape) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    extents = iter(x.shape)
    return call.result(x.reshape(*(1 if i in new else next(extents) for i in range(rank))))


def _transpose(call: Call) -> Value:
    x = call.tensor()
    return call.result(x.transpose(*call.get("perm", ())) if x.shape else x)


def _expand(call: Call) -> Value:
    x = call.tensor()
    shape = np.broadcast_shapes(x.shape, tuple(call.integers(1)))
    return call.result(x.broadcast_to(tuple(int(extent) for extent in shape)))


def _tile(call: Call) -> Value:
    x, counts = call.tensor(), call.integers(1)
    for axis, count in enumerate(counts):
        if count == 0:
            x = movement.narrow(x, axis, 0, 0)
        elif count > 1:
            x = movement.concat([x] * count, axis)
    return call.result(x)


def _concat(call: Call) -> Value:
    parts = [call.tensor(i) for i in range(len(call.inputs))]
    return call.result(movement.concat(parts, call.get("axis")))


def _split(call: Call) -> list[Value]:
    x = call.tensor()
    at = axis_of(call.get("axis", 0), len(x.shape))
    if call.has(1):
        sizes = call.integers(1)
    else:
        count = call.get("num_outputs", call.outputs)
        each = -(-x.shape[at] // count)
        sizes = [each] * (count - 1) + [x.shape[at] - each * (count - 1)]
    return [call.result(part) for part in movement.split(x, sizes, at)]


def _slice(call: Call) -> Value:
    x = call.tensor()
    starts, ends = call.integers(1), call.integers(2)
    axes = call.integers(3) if call.has(3) else list(range(len(starts)))
    steps = call.integers(4) if call.has(4) else [1] * len(starts)
    key = [slice(None)] * len(x.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = axis_of(axis, len(x.shape))
        extent = x.shape[at]
        low, high = (0, extent) if step > 0 else (-1, extent - 1)
        first = min(max(start + extent if start < 0 else start, 0), high if step > 0 else extent - 1)
        last = min(max(end + extent if end < 0 else end, low), high if step > 0 else extent)
        key[at] = slice(first, None if last < 0 else last, step)
    return call.result(x[tuple(key)])


def _pad(call: Call) -> Value:
    x, counts = call.tensor(), call.integers(1)
    axes = call.integers(3) if call.has(3) else list(range(len(x.shape)))
    low, high = [0] * len(x.shape), [0] * len(x.shape)
    for i, axis in enumerate(axes):
        at = axis_of(axis, len(x.shape))
        low[at], high[at] = counts[i], counts[i + len(axes)]
    mode = call.get("mode", "constant")
    if mode == "constant":
        fill = call.static(2).reshape(-1)[0].item() if call.has(2) else 0
        return call.result(movement.pad(x, low, high, value=fill))
    for axis, (before, after) in enumerate(zip(low, high, strict=True)):
        x = pad_by_copy(x, axis, before, after, mode)
    return call.result(x)


def pad_by_copy(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """Return one axis longer by elements of its own: mode edge, wrap or reflect. Raises LocalError for another."""
    positions = np.arange(-before, x.shape[axis] + after)
    extent = x.shape[axis]
    if mode == "edge":
        source = np.clip(positions, 0, extent - 1)
    elif mode == "wrap":
        source = positions % extent
    elif mode == "reflect":
        turn = max(2 * extent - 2, 1)
        folded = positions % turn
        source = np.where(folded < extent, folded, turn - folded)
    else:
        raise LocalError(f"pad mode {mode!r} is not known")
    if len(source) == extent and (source == np.arange(extent)).all():
        return x
    return indexing.take(x, x.builder.array(source.astype(np.int32)), axis)


def _shape(call: Call) -> Value:
    extents = np.array(call.value(0).shape, np.int64)
    return call.number(extents[slice(call.get("start", 0), call.get("end"))])


def indices(call: Call, index: int, extent: int) -> Tensor:
    """Return an input as i32 indices from the front; negative ones count from the end."""
    value = call.value(index)
    if value.array is not None:
        fixed = np.where(value.array < 0, value.array + extent, value.array).astype(np.int32)
        return call.builder.array(fixed)
    x = call.tensor(index)
    return where(x < 0, x + extent, x)


def _gather(call: Call) -> Value:
    x = call.tensor()
    at = axis_of(call.get("axis", 0), len(x.shape))
    index = indices(call, 1, x.shape[at])
    if not index.shape:
        found = indexing.take(x, index.reshape(1), at)
        return call.result(found.reshape(*x.shape[:at], *x.shape[at + 1 :]))
    return call.result(indexing.take(x, index, at))


def _gather_elements(call: Call) -> Value:
    x = call.tensor()
    at = axis_of(call.get("axis", 0), len(x.shape))
    index = indices(call, 1, x.shape[at])
    for axis, extent in enumerate(index.shape):
        if axis != at and extent != x.shape[axis]:
            x = movement.narrow(x, axis, 0, extent)
    return call.result(indexing.gather_along(x, index, at))


def _gather_nd(call: Call) -> Value:
    x, batch = call.tensor(), call.get("batch_dims", 0)
    if call.value(1).array is None:
        return _gather_nd_computed(call, x, batch)
    index = call.static(1)
    if batch:  # each batch is a first coordinate more
        lead = np.indices(index.shape[:-1])[:batch]
        index = np.concatenate([np.moveaxis(lead, 0, -1), index], axis=-1)
    depth = index.shape[-1]
    extents = np.array(x.shape[:depth], np.int64)
    wrapped = np.where(index < 0, index + extents, index)
    flat = np.zeros(index.shape[:-1], np.int64)
    for axis in range(depth):
        flat = flat * x.shape[axis] + wrapped[..., axis]
    rows = x.reshape(math.prod(x.shape[:depth]), *x.shape[depth:])
    picked = indexing.take(rows, x.builder.array(flat.reshape(-1).astype(np.int32)), 0)
    return call.result(picked.reshape(*index.shape[:-1], *x.shape[depth:]))


def _gather_nd_computed(call: Call, x: Tensor, batch: int) -> Value:
    """Indices that data decide: the position of a row is the sum of its coordinates' strides."""
    index = call.tensor(1)
    lead, depth = index.shape[:-1], index.shape[-1]
    extents = x.shape[: batch + depth]
    numbers = np.indices(lead)[:batch].astype(np.int32)
    coordinates = [x.builder.array(np.ascontiguousarray(line)) for line in numbers]
    for axis in range(depth):
        at = index[..., axis]
        coordinates.append(where(at < 0, at + x.shape[batch + axis], at))
    flat = coordinates[0]
    for line, extent in zip(coordinates[1:], extents[1:], strict=True):
        flat = flat * extent + line
    rows = x.reshape(math.prod(extents), *x.shape[batch + depth :])
    return call.result(indexing.take(rows, flat, 0))


def _one_hot(call: Call) -> Value:
    depth = int(call.static(1).reshape(-1)[0])
    values = call.static(2).reshape(-1)
    x = call.tensor()
    whole = x.convert(DType.I32) if x.dtype is DType.F32 else x
    rank = len(whole.shape) + 1
    at = axis_of(call.get("axis", -1), rank)
    counting = call.builder.array(np.arange(depth, dtype=np.int32))
    wide = counting.reshape(*(depth if i == at else 1 for i in range(rank)))
    positive = where(whole < 0, whole + depth, whole)
    hit = movement.expand(positive, at) == wide
    kind = call.kind(2)
    off = as_tensor(call.builder, Value(kind, array=values[:1].reshape(())))
    on = as_tensor(call.builder, Value(kind, array=values[1:2].reshape(())))
    return call.result(where(hit, on.broadcast_to(hit.shape), off.broadcast_to(hit.shape)), kind)


def _constant_of_shape(call: Call) -> Value:
    value = call.get("value")
    fill = np.zeros(1, np.float32) if value is None else value
    return call.number(np.full(call.integers(0), fill.reshape(-1)[0], fill.dtype))


def _range(call: Call) -> Value:
    first, last, step = (call.static(i).reshape(-1)[0] for i in range(3))
    return call.number(np.arange(first, last, step, dtype=call.static(0).dtype), call.kind())


def _eye(call: Call) -> Value:
    rows, columns = call.value(0).shape
    kind = call.get("dtype") or call.kind()
    return call.number(np.eye(rows, columns, call.get("k", 0), dtype=kind))


def _trilu(call: Call) -> Value:
    x = call.tensor()
    k = int(call.static(1).reshape(-1)[0]) if call.has(1) else 0
    ones = np.ones(x.shape[-2:], np.int32)
    kept = np.triu(ones, k) if call.get("upper", 1) else np.tril(ones, k)
    mask = x.builder.array(kept).broadcast_to(x.shape)
    return call.result(where(mask == 1, x, 0))


def _depth_to_space(call: Call) -> Value:
    x, b = call.tensor(), call.get("blocksize")
    n, c, h, w = x.shape
    if call.get("mode", "DCR") == "DCR":
        moved = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        moved = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return call.result(moved.reshape(n, c // (b * b), h * b, w * b))


def _space_to_depth(call: Call) -> Value:
    x, b = call.tensor(), call.get("blocksize")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    axes = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return call.result(blocks.transpose(*axes).reshape(n, c * b * b, h // b, w // b))


def _top_k(call: Call) -> list[Value]:
    """Integers are ranked by their upper half, and among equals by their lower: f32 holds both."""
    x, k = call.tensor(), int(call.static(1).reshape(-1)[0])
    axis, largest = call.get("axis", -1), bool(call.get("largest", 1))
    if x.dtype is DType.F32:
        values, found = order.top_k(x, k, axis, largest=largest)
        return [call.result(values), call.result(found, "int64")]
    at = axis_of(axis, len(x.shape))
    whole = x.bitcast(DType.I32) ^ (-(1 << 31) if x.dtype is DType.U32 else 0)
    low, high = (whole & 0xFFFF).convert(DType.F32), (whole >> 16).convert(DType.F32)
    _, by_low = order.sort(low, at, descending=largest)
    _, by_high = order.top_k(indexing.gather_along(high, by_low, at), k, at, largest=largest)
    found = indexing.gather_along(by_low, by_high, at)
    return [call.result(indexing.gather_along(x, found, at)), call.result(found, "int64")]


def _cumulative_sum(call: Call) -> Value:
    axis = int(call.static(1).reshape(-1)[0])
    x = call.tensor()
    return call.result(
        order.cumsum(x, axis, exclusive=bool(call.get("exclusive", 0)), reverse=bool(call.get("reverse", 0)))
    )


def _cumulative_product(call: Call) -> Value:
    """k ascending, from 1."""
    x = call.tensor()
    at = axis_of(int(call.static(1).reshape(-1)[0]), len(x.shape))
    parts = [movement.narrow(x, at, k, 1) for k in range(x.shape[at])]
    parts = parts[::-1] if call.get("reverse", 0) else parts
    one = x.builder.constant(1, parts[0].shape, x.dtype) if parts else x
    found, total = [], one
    for part in parts:
        found.append(total)
        total = total * part
    found = found if call.get("exclusive", 0) else [*found[1:], total]
    return call.result(movement.concat(found[::-1] if call.get("reverse", 0) else found, at) if found else x)


def _constant(call: Call) -> Value:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in call.attributes:
            raw = call.attributes[name]
            dtype: type = np.float32 if "float" in name else np.int64
            array: Array = raw if isinstance(raw, np.ndarray) else np.array(raw, dtype)
            return call.number(array)
    raise LocalError(f"a constant of {', '.join(call.attributes)} holds no numbers")


def _reverse_sequence(call: Call) -> Value:
    x, lengths = call.tensor(), call.integers(1)
    time, batch = call.get("time_axis", 0), call.get("batch_axis", 1)
    index = np.tile(np.arange(x.shape[time], dtype=np.int32)[:, None], (1, x.shape[batch]))
    for row, length in enumerate(lengths):
        index[:length, row] = index[:length, row][::-1]
    moved = index if time < batch else index.T
    shape = [1] * len(x.shape)
    shape[time], shape[batch] = x.shape[time], x.shape[batch]
    full = np.broadcast_to(moved.reshape(shape), x.shape)
    return call.result(indexing.gather_along(x, x.builder.array(np.ascontiguousarray(full)), time))


SHAPES: dict[str, Handler] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Shape": _shape,
    "Size": lambda call: call.number(np.array(math.prod(call.value(0).shape), np.int64)),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "Range": _range,
    "EyeLike": _eye,
    "Trilu": _trilu,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "TopK": _top_k,
    "CumSum": _cumulative_sum,
    "CumProd": _cumulative_product,
    "ReverseSequence": _reverse_sequence,
}
