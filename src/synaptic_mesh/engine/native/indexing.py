"""One-hot, gather and scatter-add. Every index is checked; one outside its range loads and stores nothing and raises
the flag. Also the plain loops that fill and copy memory: objects call no library."""

from collections.abc import Callable

from synaptic_mesh.engine.native.chain import parts_of, raise_flag
from synaptic_mesh.engine.native.function import Function, Index

ONE_BITS = 0x3F800000
BAD_INDEX = "2"
"""The flag bit of an index out of range."""


def emit_one_hot(f: Function, lanes: int, count: int, classes: int, index: str, target: str, flags: str) -> None:
    """target: (count, classes) f32, 1 where the index says, else +0."""
    emit_fill(f, lanes, target, count * classes)

    def store(position: str, value: str) -> None:
        row = f.add(f.mul(position, 4 * classes), f.mul(value, 4))
        f.store("i32", str(ONE_BITS), f.at(target, row))

    _each_index(f, count, classes, index, flags, store)


def emit_gather(
    f: Function, lanes: int, count: int, extents: tuple[int, int], table: str, index: str, target: str, flags: str
) -> None:
    """target[i] = table[index[i]]; extents: (rows, width) of the table."""
    rows, width = extents

    def copy(position: str, value: str) -> None:
        source = f.at(table, f.mul(value, 4 * width))
        emit_copy(f, lanes, source, f.at(target, f.mul(position, 4 * width)), width)

    _each_index(f, count, rows, index, flags, copy)


def emit_scatter_add(
    f: Function, lanes: int, count: int, extents: tuple[int, int], updates: str, index: str, target: str, flags: str
) -> None:
    """target = +0, then target[index[i]] += updates[i] for i ascending; extents: (rows, width) of the target."""
    rows, width = extents
    emit_fill(f, lanes, target, rows * width)

    def add(position: str, value: str) -> None:
        source = f.at(updates, f.mul(position, 4 * width))
        row = f.at(target, f.mul(value, 4 * width))

        def vector(offset: Index, size: int, count: int) -> None:
            kind = f"<{size} x float>"
            at = f.at(row, offset)
            total = f.value(f"fadd {kind} {f.load(kind, at)}, {f.load(kind, f.at(source, offset))}")
            f.store_lanes(total, "float", size, count, at)

        _walk(f, lanes, width, vector)

    _each_index(f, count, rows, index, flags, add)


def emit_copy(f: Function, lanes: int, source: str, target: str, count: int) -> None:
    """Copy `count` words."""

    def vector(offset: Index, size: int, count: int) -> None:
        value = f.load(f"<{size} x i32>", f.at(source, offset))
        f.store_lanes(value, "i32", size, count, f.at(target, offset))

    _walk(f, lanes, count, vector)


def emit_fill(f: Function, lanes: int, target: str, count: int) -> None:
    """Set `count` words to zero."""

    def vector(offset: Index, size: int, count: int) -> None:
        f.store_lanes("zeroinitializer", "i32", size, count, f.at(target, offset))

    _walk(f, lanes, count, vector)


def _walk(f: Function, lanes: int, count: int, vector: Callable[[Index, int, int], None]) -> None:
    """Call `vector(byte offset, width, lanes)` for every vector of `count` words."""
    whole = count // lanes * lanes

    def step(position: str, _: list[str]) -> list[str]:
        vector(f.mul(position, 4), lanes, lanes)
        return []

    f.loop(0, whole, lanes, step)
    for part in parts_of(count - whole, lanes):
        vector(4 * whole, part.width, part.lanes)


def _each_index(f: Function, count: int, extent: int, index: str, flags: str, body: Callable[[str, str], None]) -> None:
    """For each i32 index: `body(position, index)` when 0 <= index < extent, else the flag."""

    def step(position: str, _: list[str]) -> list[str]:
        found = f.load("i32", f.at(index, f.mul(position, 4)))
        inside = f.value(f"icmp ult i32 {found}, {extent}")  # a negative index is a large unsigned one
        wide = f.value(f"zext i32 {found} to i64")
        f.branch(inside, lambda: body(position, wide), lambda: raise_flag(f, flags, BAD_INDEX))
        return []

    f.loop(0, count, 1, step)
