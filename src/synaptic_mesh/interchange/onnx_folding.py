"""Operators on static values: the arithmetic of shapes, done by NumPy while tracing.

Integers and bools, and a few floats under operations that round as the graph does: some exporters turn extents into
floats and back.
"""

from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.interchange.onnx_values import Call, Value


def fold(call: Call) -> Array | None:
    """Return the node's value when all its inputs are static and of a kind that is folded, else None."""
    values = [value for value in call.inputs if value is not None]
    if call.op not in FOLDERS or not values or not all(_is_folded(call.op, value) for value in values):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(FOLDERS[call.op](call))


def _is_folded(op: str, value: Value) -> bool:
    if value.array is None or value.names is not None:
        return False
    if value.array.dtype.kind in "iub":
        return True
    is_small = value.tensor is None and value.array.size <= FLOATS_MAX
    return is_small and op in ROUNDED_ALIKE and value.array.dtype == np.float32


FLOATS_MAX = 16
"""Most elements of a float value that is taken for the arithmetic of a shape."""
ROUNDED_ALIKE = frozenset(
    {
        "Identity",
        "Cast",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Floor",
        "Ceil",
        "Concat",
        "Gather",
        "Slice",
        "Unsqueeze",
        "Squeeze",
    }
)
"""Operations of floats whose f32 result NumPy and the engine have alike."""


def _a(call: Call, index: int = 0) -> Array:
    return call.static(index)


def _axes(call: Call) -> tuple[int, ...] | None:
    return tuple(call.integers(1)) if call.has(1) else None


def _unsqueeze(call: Call) -> Array:
    found = _a(call)
    rank = found.ndim + len(call.integers(1))
    for axis in sorted(a % rank for a in call.integers(1)):
        found = np.expand_dims(found, axis)
    return found


def _slice(call: Call) -> Array:
    data = _a(call)
    starts, ends = call.integers(1), call.integers(2)
    axes = call.integers(3) if call.has(3) else list(range(len(starts)))
    steps = call.integers(4) if call.has(4) else [1] * len(starts)
    key = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -data.shape[axis] else end
        key[axis] = slice(start, stop, step)
    return np.asarray(data[tuple(key)])


def _divide(call: Call) -> Array:
    a, b = _a(call), _a(call, 1)
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)), a.dtype)


def _reduce(function: Callable[..., Array]) -> Callable[[Call], Array]:
    return lambda call: function(_a(call), axis=_axes(call), keepdims=bool(call.get("keepdims", 1)))


def _cast(call: Call) -> Array:
    return _a(call).astype(call.get("to"))


def _bounded(function: Callable[[Array, Array], Array]) -> Callable[[Call], Array]:
    """Max and Min of any number of values."""

    def build(call: Call) -> Array:
        total = _a(call)
        for index in range(1, len(call.inputs)):
            total = function(total, _a(call, index))
        return total

    return build


def _gather(call: Call) -> Array:
    return np.take(_a(call), _a(call, 1), axis=call.get("axis", 0))


FOLDERS: dict[str, Callable[[Call], Array]] = {
    "Identity": _a,
    "Cast": lambda call: _cast(call) if np.dtype(call.get("to")).kind in "iub" else _a(call).astype(call.get("to")),
    "Add": lambda call: _a(call) + _a(call, 1),
    "Sub": lambda call: _a(call) - _a(call, 1),
    "Mul": lambda call: _a(call) * _a(call, 1),
    "Div": _divide,
    "Mod": lambda call: np.fmod(_a(call), _a(call, 1)) if call.get("fmod", 0) else np.mod(_a(call), _a(call, 1)),
    "Neg": lambda call: -_a(call),
    "Abs": lambda call: np.abs(_a(call)),
    "Equal": lambda call: _a(call) == _a(call, 1),
    "Less": lambda call: _a(call) < _a(call, 1),
    "Greater": lambda call: _a(call) > _a(call, 1),
    "And": lambda call: _a(call) & _a(call, 1),
    "Or": lambda call: _a(call) | _a(call, 1),
    "Not": lambda call: ~_a(call),
    "Where": lambda call: np.where(_a(call), _a(call, 1), _a(call, 2)),
    "Concat": lambda call: np.concatenate([_a(call, i) for i in range(len(call.inputs))], axis=call.get("axis")),
    "Gather": _gather,
    "Slice": _slice,
    "Unsqueeze": _unsqueeze,
    "Squeeze": lambda call: np.squeeze(_a(call), axis=_axes(call)),
    "Reshape": lambda call: _a(call).reshape(call.integers(1)),
    "Expand": lambda call: np.broadcast_to(_a(call), np.broadcast_shapes(_a(call).shape, tuple(call.integers(1)))),
    "Transpose": lambda call: np.transpose(_a(call), call.get("perm")),
    "Tile": lambda call: np.tile(_a(call), call.integers(1)),
    "GreaterOrEqual": lambda call: _a(call) >= _a(call, 1),
    "LessOrEqual": lambda call: _a(call) <= _a(call, 1),
    "Floor": lambda call: np.floor(_a(call)),
    "Ceil": lambda call: np.ceil(_a(call)),
    "Max": _bounded(np.maximum),
    "Min": _bounded(np.minimum),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}
