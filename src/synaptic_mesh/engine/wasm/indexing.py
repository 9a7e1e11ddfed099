"""One-hot, gather and scatter-add. Every index is checked; one outside its range loads and stores nothing and raises
the flag."""

from collections.abc import Callable

from synaptic_mesh.engine.wasm.chain import LANES, raise_flag
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import advance, counted
from synaptic_mesh.engine.wasm.opcodes import ValueType
from synaptic_mesh.engine.wasm.reduction import store_lanes

I32, V128 = ValueType.I32, ValueType.V128
ONE_BITS = 0x3F800000
BAD_INDEX = 2
"""The flag bit of an index out of range."""


def emit_one_hot(f: Function, count: int, classes: int, index: Local, target: Local, flags: int) -> None:
    """target: (count, classes) f32, 1 where the index says, else +0."""
    _clear(f, target, 4 * count * classes)

    def store(value: Local) -> None:
        f.get(target)
        f.get(value)
        f.i32(4)
        f.emit("i32.mul")
        f.emit("i32.add")
        f.i32(ONE_BITS)
        f.store("i32.store")

    _each_index(f, count, classes, index, flags, store, lambda: advance(f, target, 4 * classes))


def emit_gather(
    f: Function, count: int, rows: int, width: int, table: Local, index: Local, target: Local, flags: int
) -> None:
    """target[i] = table[index[i]], rows of `width` elements."""

    def copy(value: Local) -> None:
        f.get(target)
        _row(f, table, value, width)
        f.i32(4 * width)
        f.emit("memory.copy")

    _each_index(f, count, rows, index, flags, copy, lambda: advance(f, target, 4 * width))


def emit_scatter_add(
    f: Function, count: int, rows: int, width: int, updates: Local, index: Local, target: Local, flags: int
) -> None:
    """target = +0, then target[index[i]] += updates[i] for i ascending."""
    _clear(f, target, 4 * rows * width)

    def add(value: Local) -> None:
        at, source, column = f.locals_of(I32, 3)
        _row(f, target, value, width)
        f.set(at)
        f.get(updates)
        f.set(source)
        whole = width // LANES * LANES
        with counted(f, column, 0, whole, LANES):
            _add_vector(f, at, source, LANES)
        if width > whole:
            _add_vector(f, at, source, width - whole)

    _each_index(f, count, rows, index, flags, add, lambda: advance(f, updates, 4 * width))


def _add_vector(f: Function, at: Local, source: Local, lanes: int) -> None:
    f.get(at)
    f.load("v128.load")
    f.get(source)
    f.load("v128.load")
    f.emit("f32x4.add")
    store_lanes(f, at, f.keep(V128), 0, lanes)
    advance(f, at, 16)
    advance(f, source, 16)


def _each_index(
    f: Function,
    count: int,
    extent: int,
    index: Local,
    flags: int,
    body: Callable[[Local], None],
    after: Callable[[], None],
) -> None:
    """For each i32 index: `body(value)` when 0 <= value < extent, else the flag; then `after` in any case."""
    position, value = f.local(I32), f.local(I32)
    with counted(f, position, 0, count, 1):
        f.get(index)
        f.load("i32.load")
        f.tee(value)
        f.i32(extent)
        f.emit("i32.lt_u")  # a negative index is a large unsigned one
        with f.if_():
            body(value)
            f.else_()
            raise_flag(f, flags, BAD_INDEX)
        advance(f, index, 4)
        after()


def _row(f: Function, base: Local, row: Local, width: int) -> None:
    f.get(base)
    f.get(row)
    f.i32(4 * width)
    f.emit("i32.mul")
    f.emit("i32.add")


def _clear(f: Function, target: Local, size: int) -> None:
    f.get(target)
    f.i32(0)
    f.i32(size)
    f.emit("memory.fill")
