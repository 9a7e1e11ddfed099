"""ONNX sequences whose length is known while tracing: lists of values. They live inside a model, not at its border."""

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import concat, split, stack
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of
from synaptic_mesh.interchange.onnx_values import Call, Value


def _sequence(items: tuple[Value, ...]) -> Value:
    return Value("sequence", items=items)


def _items(call: Call, index: int = 0) -> tuple[Value, ...]:
    items = call.value(index).items
    if items is None:
        raise LocalError(f"input {index + 1} is no sequence")
    return items


def _place(call: Call, index: int, count: int) -> int:
    """Return a position among `count`, from the front. Raises LocalError when there is none."""
    at = call.integers(index)[0]
    if not -count <= at < count:
        raise LocalError(f"position {at} is not in a sequence of {count}")
    return at % count


def _construct(call: Call) -> Value:
    return _sequence(tuple(call.value(i) for i in range(len(call.inputs))))


def _at(call: Call) -> Value:
    items = _items(call)
    return items[_place(call, 1, len(items))]


def _insert(call: Call) -> Value:
    items = _items(call)
    at = _place(call, 2, len(items) + 1) if call.has(2) else len(items)
    return _sequence((*items[:at], call.value(1), *items[at:]))


def _erase(call: Call) -> Value:
    items = _items(call)
    at = _place(call, 1, len(items)) if call.has(1) else len(items) - 1
    return _sequence((*items[:at], *items[at + 1 :]))


def _join(call: Call) -> Value:
    items = _items(call)
    if not items:
        raise LocalError("an empty sequence has nothing to join")
    tensors = [call.tensor_of(item) for item in items]
    axis = call.get("axis")
    found = stack(tensors, axis) if call.get("new_axis", 0) else concat(tensors, axis)
    return call.result(found, items[0].kind)


def _split(call: Call) -> Value:
    x = call.tensor()
    at = axis_of(call.get("axis", 0), len(x.shape))
    if call.has(1):
        given = call.static(1)
        each = int(given.reshape(-1)[0])
        whole = [each] * (x.shape[at] // each) + ([x.shape[at] % each] if x.shape[at] % each else [])
        sizes = whole if given.ndim == 0 else call.integers(1)
    else:
        sizes = [1] * x.shape[at]
    parts = split(x, sizes, at)
    if not call.has(1) and not call.get("keepdims", 1):
        parts = [part.reshape(*x.shape[:at], *x.shape[at + 1 :]) for part in parts]
    return _sequence(tuple(call.result(part) for part in parts))


SEQUENCES: dict[str, Handler] = {
    "SequenceConstruct": _construct,
    "SequenceEmpty": lambda _: _sequence(()),
    "SequenceAt": _at,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceLength": lambda call: call.number(np.array(len(_items(call)), np.int64)),
    "ConcatFromSequence": _join,
    "SplitToSequence": _split,
}
