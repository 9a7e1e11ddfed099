"""Operators of torch that move elements, pick them, or make tensors; products of any shape."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import indexing, movement
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, where
from synaptic_mesh.interchange.onnx_einsum import contract
from synaptic_mesh.interchange.onnx_neural import product
from synaptic_mesh.interchange.onnx_shapes import pad_by_copy
from synaptic_mesh.interchange.torch_call import Handler, TorchCall, engine_kind

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""torch's word for a way to pad -> ONNX's."""


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
    axes = list(range(len(x.shape)))
    if len(axes) < 2:
        return x
    a, b = call.get(1, 0) % len(axes), call.get(2, 1) % len(axes)
    axes[a], axes[b] = axes[b], axes[a]
    return x.transpose(*axes)


def _permute(call: TorchCall) -> Tensor:
    x = call.tensor()
    return x.transpose(*(axis % len(x.shape) for axis in call.get(1)))


def _move_axis(call: TorchCall) -> Tensor:
    sources, targets = call.get(1), call.get(2)
    if not isinstance(sources, int) and len(sources) != 1:
        raise LocalError("several axes that move at once are not computed")
    source, target = (value if isinstance(value, int) else value[0] for value in (sources, targets))
    return movement.move_axis(call.tensor(), source, target)


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


def _repeat(call: TorchCall) -> Tensor:
    x, counts = call.tensor(), call.get(1)
    x = x.reshape(*(1,) * (len(counts) - len(x.shape)), *x.shape)
    for axis, count in enumerate(counts):
        x = movement.concat([x] * count, axis) if count else movement.narrow(x, axis, 0, 0)
    return x


def _repeat_each(call: TorchCall) -> Tensor:
    x, count, axis = call.tensor(), call.get(1), call.get(2, None, "dim")
    if not isinstance(count, int) or axis is None:
        raise LocalError("repeat_interleave without one count and a dim is not computed")
    at = axis % len(x.shape)
    return x.repeat(at + 1, count).reshape(*x.shape[:at], x.shape[at] * count, *x.shape[at + 1 :])


def _slice(call: TorchCall) -> Tensor:
    x = call.tensor()
    at = call.get(1, 0, "dim") % len(x.shape)
    start, end, step = call.get(2, None) or 0, call.get(3, None), call.get(4, 1)
    stop = x.shape[at] if end is None or end >= x.shape[at] else end
    return x[(*(slice(None),) * at, slice(start, stop, step))]


def _narrow(call: TorchCall) -> Tensor:
    x, start = call.tensor(), call.get(2)
    at = call.get(1) % len(x.shape)
    return movement.narrow(x, at, start % max(x.shape[at], 1), call.get(3))


def _select(call: TorchCall) -> Tensor:
    x = call.tensor()
    at, index = call.get(1) % len(x.shape), call.get(2)
    return x[(*(slice(None),) * at, index % x.shape[at])]


def _cat(call: TorchCall) -> Tensor:
    parts = [call.promoted(part) for part in call.get(0) if part.shape != (0,)]
    return movement.concat(parts, call.get(1, 0, "dim"))


def _stack(call: TorchCall) -> Tensor:
    return movement.stack([call.promoted(part) for part in call.get(0)], call.get(1, 0, "dim"))


def _split(call: TorchCall) -> list[Tensor]:
    x, size = call.tensor(), call.get(1)
    at = call.get(2, 0, "dim") % len(x.shape)
    extent = x.shape[at]
    if "chunk" in call.op:
        size = -(-extent // size)
    sizes = list(size) if not isinstance(size, int) else [min(size, extent - i) for i in range(0, extent, size)]
    return movement.split(x, sizes, at)


def _unbind(call: TorchCall) -> list[Tensor]:
    x = call.tensor()
    at = call.get(1, 0, "dim") % len(x.shape)
    return [x[(*(slice(None),) * at, i)] for i in range(x.shape[at])]


def _flip(call: TorchCall) -> Tensor:
    return movement.flip(call.tensor(), *call.get(1))


def _roll(call: TorchCall) -> Tensor:
    x, shifts, axes = call.tensor(), call.get(1), call.get(2, (), "dims")
    if not axes:
        flat = x.reshape(x.node.size)
        return _rolled(flat, 0, shifts if isinstance(shifts, int) else shifts[0]).reshape(*x.shape)
    for shift, axis in zip(_listed(shifts), _listed(axes), strict=True):
        x = _rolled(x, axis % len(x.shape), shift)
    return x


def _rolled(x: Tensor, axis: int, shift: int) -> Tensor:
    count = shift % max(x.shape[axis], 1)
    if count == 0:
        return x
    kept = x.shape[axis] - count
    return movement.concat([movement.narrow(x, axis, kept, count), movement.narrow(x, axis, 0, kept)], axis)


def _listed(value: Any) -> Sequence[int]:
    return (value,) if isinstance(value, int) else tuple(value)


def _pad(call: TorchCall) -> Tensor:
    """Counts stand from the last axis on, before and behind each."""
    x, counts = call.tensor(), list(call.get(1))
    mode, value = call.get(2, "constant", "mode"), call.get(3, None, "value")
    low, high = [0] * len(x.shape), [0] * len(x.shape)
    for i in range(len(counts) // 2):
        low[-1 - i], high[-1 - i] = counts[2 * i], counts[2 * i + 1]
    if mode == "constant":
        return movement.pad(x, low, high, value=value or 0)
    for axis, (before, after) in enumerate(zip(low, high, strict=True)):
        x = pad_by_copy(x, axis, before, after, MODES[mode])
    return x


def _triangle(is_upper: bool) -> Handler:
    def build(call: TorchCall) -> Tensor:
        x = call.tensor()
        ones = np.ones(x.shape[-2:], np.int32)
        k = call.get(1, 0, "diagonal")
        kept = np.triu(ones, k) if is_upper else np.tril(ones, k)
        return where(call.builder.array(kept).broadcast_to(x.shape) == 1, x, 0)

    return build


def _index(call: TorchCall) -> Tensor:
    """x[..., index, ...] with one tensor of integers; the others are whole axes."""
    x, places = call.tensor(), call.get(1)
    chosen = [i for i, place in enumerate(places) if place is not None]
    if len(chosen) != 1 or "bool" in call.kind:
        raise LocalError("indexing by several tensors at once is not computed")
    return _taken(x, places[chosen[0]], chosen[0])


def _taken(x: Tensor, index: Tensor, axis: int) -> Tensor:
    at = axis % len(x.shape)
    whole = index.convert(DType.I32)
    inside = where(whole < 0, whole + x.shape[at], whole)
    if inside.shape:
        return indexing.take(x, inside, at)
    return indexing.take(x, inside.reshape(1), at).reshape(*x.shape[:at], *x.shape[at + 1 :])


def _gather(call: TorchCall) -> Tensor:
    x, index = call.tensor(), call.tensor(2)
    at = call.get(1) % len(x.shape)
    for axis, extent in enumerate(index.shape):
        if axis != at and extent != x.shape[axis]:
            x = movement.narrow(x, axis, 0, extent)
    return indexing.gather_along(x, index, at)


def _one_hot(call: TorchCall) -> Tensor:
    index, count = call.tensor(), call.get(1, -1, "num_classes")
    if count < 1:
        raise LocalError("one_hot without num_classes has a shape that depends on data")
    return indexing.one_hot_along(index, count).convert(DType.I32)


def _einsum(call: TorchCall) -> Tensor:
    return contract(call.get(0), [x.convert(DType.F32) for x in call.get(1)])


def _product_plus(call: TorchCall) -> Tensor:
    beta, alpha = call.keywords.get("beta", 1), call.keywords.get("alpha", 1)
    found = product(call.tensor(1), call.tensor(2))
    found = found if alpha == 1 else found * float(alpha)
    return found if beta == 0 else found + (call.tensor() if beta == 1 else call.tensor() * float(beta))


def _arange(call: TorchCall) -> Tensor:
    numbers = [value for value in call.arguments if isinstance(value, int | float)]
    start, end, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    dtype = np.float32 if engine_kind(call.kind) is DType.F32 else np.int32
    return call.builder.array(np.arange(start, end, step).astype(dtype))


def _filled(value: float | None = None, *, is_like: bool = False) -> Handler:
    def build(call: TorchCall) -> Tensor:
        shape = call.tensor().shape if is_like else tuple(call.get(0))
        return _constant(call, call.get(1, None, "fill_value") if value is None else value, shape)

    return build


def _new_filled(value: float | None = None) -> Handler:
    def build(call: TorchCall) -> Tensor:
        return _constant(call, call.get(2, None, "fill_value") if value is None else value, tuple(call.get(1)))

    return build


def _constant(call: TorchCall, value: float, shape: tuple[int, ...]) -> Tensor:
    dtype = engine_kind(call.kind)
    return call.builder.constant(float(value) if dtype is DType.F32 else int(value), shape, dtype)


def _same(call: TorchCall) -> Tensor:
    return call.tensor()


TENSORS: dict[str, Handler] = {
    **{f"{name}.default": _same for name in ("contiguous", "clone", "detach", "detach_", "alias", "lift_fresh_copy")},
    "view.default": _reshape,
    "reshape.default": _reshape,
    "_unsafe_view.default": _reshape,
    "view_as.default": lambda call: call.tensor().reshape(*call.tensor(1).shape),
    "flatten.using_ints": _flatten,
    "unflatten.int": _unflatten,
    "permute.default": _permute,
    "transpose.int": _transpose,
    "swapaxes.default": _transpose,
    "swapdims.default": _transpose,
    "t.default": _transpose,
    "numpy_T.default": lambda call: call.tensor().transpose(),
    "mT.default": lambda call: movement.move_axis(call.tensor(), -1, -2),
    "movedim.int": _move_axis,
    "movedim.intlist": _move_axis,
    "moveaxis.int": _move_axis,
    "unsqueeze.default": _unsqueeze,
    "squeeze.default": _squeeze,
    "squeeze.dim": _squeeze,
    "squeeze.dims": _squeeze,
    "expand.default": _expand,
    "expand_as.default": lambda call: call.tensor().broadcast_to(call.tensor(1).shape),
    "broadcast_to.default": _expand,
    "repeat.default": _repeat,
    "tile.default": _repeat,
    "repeat_interleave.self_int": _repeat_each,
    "slice.Tensor": _slice,
    "narrow.default": _narrow,
    "select.int": _select,
    "cat.default": _cat,
    "concat.default": _cat,
    "stack.default": _stack,
    "split.Tensor": _split,
    "split.sizes": _split,
    "split_with_sizes.default": _split,
    "chunk.default": _split,
    "unbind.int": _unbind,
    "flip.default": _flip,
    "roll.default": _roll,
    "pad.default": _pad,
    "constant_pad_nd.default": lambda call: _pad(
        TorchCall(call.scope, call.op, (call.get(0), call.get(1), "constant", call.get(2, 0)), {}, call.kind)
    ),
    "triu.default": _triangle(True),
    "tril.default": _triangle(False),
    "index.Tensor": _index,
    "index_select.default": lambda call: _taken(call.tensor(), call.tensor(2), call.get(1)),
    "gather.default": _gather,
    "take_along_dim.default": lambda call: _gather(
        TorchCall(call.scope, call.op, (call.get(0), call.get(2, None, "dim"), call.get(1)), {}, call.kind)
    ),
    "one_hot.default": _one_hot,
    "einsum.default": _einsum,
    "addmm.default": _product_plus,
    "baddbmm.default": _product_plus,
    "arange.default": _arange,
    "arange.start": _arange,
    "arange.start_step": _arange,
    "zeros.default": _filled(0.0),
    "ones.default": _filled(1.0),
    "full.default": _filled(),
    "zeros_like.default": _filled(0.0, is_like=True),
    "ones_like.default": _filled(1.0, is_like=True),
    "full_like.default": _filled(is_like=True),
    "new_zeros.default": _new_filled(0.0),
    "new_ones.default": _new_filled(1.0),
    "new_full.default": _new_filled(),
    "scalar_tensor.default": lambda call: _constant(call, call.get(0), ()),
}
