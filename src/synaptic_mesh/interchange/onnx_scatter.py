"""ONNX operators that put elements at indices, or pick some by a mask that is known while tracing."""

import math
from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import indexing
from synaptic_mesh.engine.trace import Tensor, maximum, minimum, scatter_add, where
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of, indices
from synaptic_mesh.interchange.onnx_values import Call, Value

JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": maximum,
    "min": minimum,
}


def _join(call: Call) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return how an update meets what stands there; None where it takes its place."""
    name = call.get("reduction", "none")
    if name == "none":
        return None
    if name not in JOINS:
        raise LocalError(f"reduction {name!r} is not known")
    return JOINS[name]


def _put(call: Call, table: Tensor, updates: Tensor, places: Array) -> Tensor:
    """(rows, width) with updates (n, width) at rows `places`, in the order of the updates.

    Updates of one row are put in turns, each of distinct rows, so that every reduction is one of elements.
    """
    join = _join(call)
    rows, width = table.shape
    if join is None and len(np.unique(places)) != places.size:
        raise LocalError("indices repeat, so the result would depend on an order that ONNX does not define")
    turn = np.array([np.count_nonzero(places[:i] == place) for i, place in enumerate(places)], np.int64)
    for number in range(int(turn.max(initial=-1)) + 1):
        chosen = np.flatnonzero(turn == number).astype(np.int32)
        own = updates if len(chosen) == len(places) else indexing.take(updates, table.builder.array(chosen), 0)
        spread = scatter_add(own, table.builder.array(places[chosen].astype(np.int32)), rows)
        hit = np.zeros((rows, 1), np.int32)
        hit[places[chosen]] = 1
        mask = table.builder.array(hit).broadcast_to((rows, width))
        table = where(mask == 1, spread if join is None else join(table, spread), table)
    return table


def _scatter_nd(call: Call) -> Value:
    x, updates, index = call.floats(), call.floats(2), call.static(1)
    depth = index.shape[-1]
    flat = np.zeros(index.shape[:-1], np.int64)
    for axis in range(depth):
        at = index[..., axis]
        flat = flat * x.shape[axis] + np.where(at < 0, at + x.shape[axis], at)
    rows, width = math.prod(x.shape[:depth]), math.prod(x.shape[depth:])
    found = _put(call, x.reshape(rows, width), updates.reshape(flat.size, width), flat.reshape(-1))
    return call.result(found.reshape(*x.shape))


def _scatter_elements(call: Call) -> Value:
    x, updates = call.floats(), call.floats(2)
    at = axis_of(call.get("axis", 0), len(x.shape))
    given = call.value(1)
    if given.array is None:
        return _scatter_computed(call, x, updates, at)
    index = np.where(given.array < 0, given.array + x.shape[at], given.array)
    if (index < 0).any() or (index >= x.shape[at]).any():
        raise LocalError(f"an index lies outside axis {at} of {x.shape}")
    places = np.indices(index.shape)
    places[at] = index
    flat = np.asarray(np.ravel_multi_index(tuple(place.reshape(-1) for place in places), x.shape))
    found = _put(call, x.reshape(x.node.size, 1), updates.reshape(index.size, 1), flat)
    return call.result(found.reshape(*x.shape))


def _scatter_computed(call: Call, x: Tensor, updates: Tensor, axis: int) -> Value:
    """Indices that data decide: sums, or one index for each line, which cannot repeat."""
    index = indices(call, 1, x.shape[axis])
    if any(index.shape[i] != x.shape[i] for i in range(len(x.shape)) if i != axis):
        raise LocalError(f"indices {index.shape} cover a part of {x.shape}; they must be equal but for axis {axis}")
    if call.get("reduction", "none") == "add":
        return call.result(x + indexing.scatter_add_along(updates, index, axis, x.shape[axis]))
    if call.get("reduction", "none") == "none" and index.shape[axis] == 1:
        return call.result(indexing.scatter_along(x, updates, index, axis))
    raise LocalError("indices that are computed from data may repeat; only sums, or one index a line, are computed")


def _compress(call: Call) -> Value:
    x, kept = call.tensor(), np.flatnonzero(call.static(1).reshape(-1)).astype(np.int32)
    axis = call.get("axis")
    if axis is None:
        return call.result(indexing.take(x.reshape(x.node.size), x.builder.array(kept), 0))
    return call.result(indexing.take(x, x.builder.array(kept), axis_of(axis, len(x.shape))))


def _nonzero(call: Call) -> Value:
    return call.number(np.stack(np.nonzero(call.static(0))).astype(np.int64))


def _columns_to_image(call: Call) -> Value:
    """Col2Im: the elements of all windows added where they came from, window by window."""
    x, image, block = call.floats(), call.integers(1), call.integers(2)
    count = len(image)
    steps, gaps = call.get("strides") or [1] * count, call.get("dilations") or [1] * count
    pads = call.get("pads") or [0] * (2 * count)
    padded = [image[i] + pads[i] + pads[i + count] for i in range(count)]
    outputs = [(padded[i] - (block[i] - 1) * gaps[i] - 1) // steps[i] + 1 for i in range(count)]
    taps, windows = np.indices(block).reshape(count, -1), np.indices(outputs).reshape(count, -1)
    at = taps[:, :, None] * np.array(gaps)[:, None, None] + windows[:, None, :] * np.array(steps)[:, None, None]
    flat = np.ravel_multi_index(tuple(line.reshape(-1) for line in at), padded).astype(np.int32)
    batch, channels = x.shape[0], x.shape[1] // math.prod(block)
    rows = x.reshape(batch * channels, flat.size).transpose(1, 0)
    added = scatter_add(rows, x.builder.array(flat), math.prod(padded)).transpose(1, 0)
    whole = added.reshape(batch, channels, *padded)
    return call.result(whole[(slice(None), slice(None), *(slice(pads[i], pads[i] + image[i]) for i in range(count)))])


SCATTER: dict[str, Handler] = {
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements,
    "Compress": _compress,
    "NonZero": _nonzero,
    "Col2Im": _columns_to_image,
}
