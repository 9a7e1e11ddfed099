"""Copies between views: what a pad and a concatenation are made of."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.nest.builder import INT, Builder, Part, Walk, parts_of
from synaptic_mesh.engine.nest.elementwise import collapse
from synaptic_mesh.engine.views import dense_strides

H = TypeVar("H")
STRAIGHT_MAX = 4
"""Vectors of a row that are built one after another instead of as a loop."""


class Place(NamedTuple, Generic[H]):
    """Where a tensor's elements lie: the address of the first, and elements to advance per step on each axis."""

    pointer: H
    strides: tuple[int, ...]


def emit_move(b: Builder[H], shape: Shape, source: Place[H], target: Place[H]) -> None:
    """Copy words from view to view. No two elements of the target lie in one place."""
    if 0 in shape:
        return
    extents, change = collapse(shape, [source.strides, target.strides])
    here, there = change[source.strides], change[target.strides]

    def outer(axis: int, places: Sequence[H]) -> None:
        if axis == len(extents) - 1:
            _row(b, extents[axis], Place(places[0], here[axis:]), Place(places[1], there[axis:]))
            return

        def body(_: H, at: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            outer(axis + 1, at)
            return ()

        b.loop(extents[axis], body, [Walk(places[0], 4 * here[axis]), Walk(places[1], 4 * there[axis])])

    outer(0, (source.pointer, target.pointer))


def _row(b: Builder[H], extent: int, source: Place[H], target: Place[H]) -> None:
    lanes, (step_from,), (step_to,) = b.schedule.lanes, source.strides, target.strides
    whole = extent // lanes if extent // lanes > STRAIGHT_MAX else 0

    def one(pointers: Sequence[H], part: Part) -> None:
        start = 4 * step_from * part.first
        if step_from == 1:
            value = b.load(INT, part.width, pointers[0], start)
        elif step_from == 0:
            value = b.load_splat(INT, part.width, pointers[0], start)
        else:
            value = b.load_strided(INT, part, 4 * step_from, pointers[0], start)
        if step_to == 1:
            b.store(INT, part, value, pointers[1], 4 * part.first)
        else:
            b.store_strided(INT, part, value, 4 * step_to, pointers[1], 4 * step_to * part.first)

    def vector(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        one(here, Part(0, lanes, lanes))
        return ()

    pairs = ((source.pointer, 4 * step_from), (target.pointer, 4 * step_to))
    b.loop(whole, vector, [Walk(pointer, step * lanes) for pointer, step in pairs])
    rest = [b.at(pointer, step * lanes * whole) for pointer, step in pairs]
    for part in parts_of(extent - whole * lanes, lanes):
        one(rest, part)


def emit_pad(b: Builder[H], shape: Shape, source: Place[H], target: H, full: Shape, stride: Stride, fill: int) -> None:
    """target (full) = the pattern `fill`, then element start + i * step of it = element i of the source (shape)."""
    size = 1
    for extent in full:
        size *= extent
    if any(extent != inner for extent, inner in zip(full, shape, strict=True)):
        emit_fill(b, target, size, fill)
    dense = dense_strides(full)
    if 0 in shape:
        return
    start = sum(step * at for step, at in zip(dense, stride.starts, strict=True))
    strides = tuple(step * each for step, each in zip(dense, stride.steps, strict=True))
    emit_move(b, shape, source, Place(b.at(target, 4 * start), strides))


def emit_fill(b: Builder[H], target: H, count: int, pattern: int) -> None:
    """Set `count` words to a pattern."""
    if pattern == 0:
        b.fill(target, 4 * count)
        return
    lanes = b.schedule.lanes
    whole = count // lanes

    def vector(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        b.store(INT, Part(0, lanes, lanes), b.vectors(lanes).constant(pattern), here[0])
        return ()

    b.loop(whole, vector, [Walk(target, 4 * lanes)])
    for part in parts_of(count - whole * lanes, lanes):
        b.store(INT, part, b.vectors(part.width).constant(pattern), target, 4 * lanes * whole)


def emit_concat(
    b: Builder[H], axis: int, full: Shape, shapes: Sequence[Shape], sources: Sequence[Place[H]], target: H
) -> None:
    """target (full) = the sources one behind the other along an axis."""
    dense, first = dense_strides(full), 0
    for shape, source in zip(shapes, sources, strict=True):
        emit_move(b, shape, source, Place(b.at(target, 4 * dense[axis] * first), dense))
        first += shape[axis]
