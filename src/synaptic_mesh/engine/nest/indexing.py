"""One-hot, gather and scatter-add. Every index is checked; one outside its range loads and stores nothing and raises
the flag."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from synaptic_mesh.engine.nest.builder import BAD_INDEX, FLOAT, Builder, Part, Walk, walk_row

H = TypeVar("H")
ONE_BITS = 0x3F800000
ONE_ELEMENT = Part(0, 1, 4)


def emit_one_hot(b: Builder[H], count: int, classes: int, index: H, target: H) -> None:
    """target: (count, classes) f32, 1 where the index says, else +0."""
    b.fill(target, 4 * count * classes)

    def store(value: H, here: Sequence[H]) -> None:
        b.store_word(ONE_BITS, b.indexed(here[0], value, 4))

    each_index(b, count, classes, index, store, [Walk(target, 4 * classes)])


def emit_gather(b: Builder[H], count: int, extents: tuple[int, int], table: H, index: H, target: H) -> None:
    """target[i] = table[index[i]]; extents: (rows, width) of the table."""
    rows, width = extents

    def copy(value: H, here: Sequence[H]) -> None:
        b.copy(b.indexed(table, value, 4 * width), here[0], 4 * width)

    each_index(b, count, rows, index, copy, [Walk(target, 4 * width)])


def emit_scatter_add(b: Builder[H], count: int, extents: tuple[int, int], updates: H, index: H, target: H) -> None:
    """target = +0, then target[index[i]] += updates[i] for i ascending; extents: (rows, width) of the target."""
    rows, width = extents
    b.fill(target, 4 * rows * width)

    def add(value: H, here: Sequence[H]) -> None:
        def vector(at: Sequence[H], part: Part) -> None:
            before, more = (b.load(FLOAT, part.width, pointer) for pointer in at)
            b.store(FLOAT, part, b.vectors(part.width).add(before, more), at[0])

        walk_row(b, width, [b.indexed(target, value, 4 * width), here[0]], vector)

    each_index(b, count, rows, index, add, [Walk(updates, 4 * width)])


def emit_gather_last(b: Builder[H], rows: int, extent: int, count: int, x: H, index: H, target: H) -> None:
    """target[r, j] = x[r, index[r, j]]; x: (rows, extent), index: (rows, count)."""

    def row(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        def one(value: H, at: Sequence[H]) -> None:
            b.store_word(b.load_word(b.indexed(here[0], value, 4)), at[0])

        each_index(b, count, extent, here[1], one, [Walk(here[2], 4)])
        return ()

    b.loop(rows, row, [Walk(x, 4 * extent), Walk(index, 4 * count), Walk(target, 4 * count)])


def emit_scatter_add_last(b: Builder[H], rows: int, extent: int, count: int, updates: H, index: H, target: H) -> None:
    """target = +0, then target[r, index[r, j]] += updates[r, j] for j ascending; target: (rows, extent)."""
    b.fill(target, 4 * rows * extent)

    def row(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        def one(value: H, at: Sequence[H]) -> None:
            place = b.indexed(here[2], value, 4)
            total = b.vectors(ONE_ELEMENT.width).add(b.load(FLOAT, 4, place), b.load(FLOAT, 4, at[0]))
            b.store(FLOAT, ONE_ELEMENT, total, place)

        each_index(b, count, extent, here[1], one, [Walk(here[0], 4)])
        return ()

    b.loop(rows, row, [Walk(updates, 4 * count), Walk(index, 4 * count), Walk(target, 4 * extent)])


def each_index(
    b: Builder[H],
    count: int,
    extent: int,
    index: H,
    body: Callable[[H, Sequence[H]], None],
    walks: Sequence[Walk[H]],
) -> None:
    """For each i32 index: `body(index, walked addresses)` when 0 <= index < extent, else the flag."""

    def step(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        found = b.load_word(here[0])
        inside = b.below(found, extent)
        b.branch(inside, lambda: body(b.index(found), here[1:]), lambda: b.raise_flag(BAD_INDEX))
        return ()

    b.loop(count, step, [Walk(index, 4), *walks])
