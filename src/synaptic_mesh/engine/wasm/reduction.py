"""Reductions of one axis, and argmax.

Over the last axis a sum goes through 16 partials and the tree 8-4-2-1: four vectors hold the partials. Over any other
axis each kept element has one ascending accumulator, and vectors run over kept elements (semantics rule 3). Maxima
have the same bits in any order.
"""

import math
from typing import NamedTuple

from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.wasm.chain import LANES
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import advance, counted, repeated
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32, F32, V128 = ValueType.I32, ValueType.F32, ValueType.V128
PARTIAL_VECTORS = 4
COLUMN_VECTORS = 4
MINUS_INFINITY_BITS = 0xFF800000


class Reduction(NamedTuple):
    """A dense operand seen as (outer, extent, inner), and how elements join."""

    outer: int
    extent: int
    inner: int
    is_last: bool
    join: str  # instruction that joins an accumulator and a vector
    empty: int  # bits of the result over no elements, which is also where accumulators start

    @staticmethod
    def of(shape: Shape, axis: int, dtype: DType, is_sum: bool) -> "Reduction":
        """Return the reduction of `axis` of an operand."""
        join = ("f32x4.add" if dtype is DType.F32 else "i32x4.add") if is_sum else "f32x4.max"
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        return Reduction(outer, shape[axis], inner, axis == len(shape) - 1, join, 0 if is_sum else MINUS_INFINITY_BITS)


def emit_reduction(f: Function, reduction: Reduction, source: Local, target: Local) -> None:
    """Emit the kernel; both pointers are consumed."""
    if reduction.is_last:
        _rows(f, reduction, source, target)
    else:
        _columns(f, reduction, source, target)


def _rows(f: Function, r: Reduction, source: Local, target: Local) -> None:
    row = f.local(I32)
    partials = f.locals_of(V128, min(PARTIAL_VECTORS, max(1, -(-r.extent // LANES))))
    with counted(f, row, 0, r.outer, 1):
        for partial in partials:
            f.splat_bits(r.empty)
            f.set(partial)
        _sum_row(f, r, source, partials)
        f.get(target)
        _tree(f, r, partials)
        f.store("f32.store")
        advance(f, target, 4)


def _sum_row(f: Function, r: Reduction, source: Local, partials: list[Local]) -> None:
    """Add one row; `source` moves to the next."""
    block = PARTIAL_VECTORS * LANES
    whole = r.extent // block * block
    if whole:
        position = f.local(I32)
        with repeated(f, position, 0, whole, block):
            for vector, partial in enumerate(partials):
                f.get(partial)
                f.get(source)
                f.load("v128.load", 16 * vector)
                f.emit(r.join)
                f.set(partial)
            advance(f, source, 4 * block)
    rest = r.extent - whole
    for vector in range(-(-rest // LANES)):
        lanes = min(LANES, rest - vector * LANES)
        f.get(partials[vector])
        f.get(source)
        f.load("v128.load", 16 * vector)
        if lanes < LANES:
            _mask(f, lanes, r.empty)
        f.emit(r.join)
        f.set(partials[vector])
    advance(f, source, 4 * rest)


def _mask(f: Function, lanes: int, empty: int) -> None:
    """Replace the lanes from `lanes` on, which belong to somebody else, by the neutral value."""
    f.v128(empty.to_bytes(4, "little") * 4)
    f.v128(b"\xff" * (4 * lanes) + b"\0" * (16 - 4 * lanes))
    f.emit("v128.bitselect")


def _tree(f: Function, r: Reduction, partials: list[Local]) -> None:
    """Push the one result: partial i joins partial i + 8, then + 4, + 2, + 1. Vectors never touched are neutral."""
    vectors = list(partials)
    while len(vectors) > 1:
        half = 2 if len(vectors) > 2 else 1
        for high in range(half, len(vectors)):
            f.get(vectors[high - half])
            f.get(vectors[high])
            f.emit(r.join)
            f.set(vectors[high - half])
        vectors = vectors[:half]
    value = vectors[0]
    for lanes in ((2, 3, 0, 1), (1, 0, 3, 2)):
        f.get(value)
        f.get(value)
        f.get(value)
        f.emit("i8x16.shuffle", bytes(4 * lane + byte for lane in lanes for byte in range(4)))
        f.emit(r.join)
        f.set(value)
    f.get(value)
    f.emit("f32x4.extract_lane", 0)


def _columns(f: Function, r: Reduction, source: Local, target: Local) -> None:
    outer = f.local(I32)
    with counted(f, outer, 0, r.outer, 1):
        column = f.local(I32)
        done = 0
        for vectors in (COLUMN_VECTORS, 1):
            step = vectors * LANES
            whole = (r.inner - done) // step * step
            if whole:
                with counted(f, column, 0, whole, step):
                    _column_block(f, r, source, target, vectors, step)
            done += whole
        if r.inner > done:
            _column_block(f, r, source, target, 1, r.inner - done)
        advance(f, source, 4 * r.inner * (r.extent - 1))


def _column_block(f: Function, r: Reduction, source: Local, target: Local, vectors: int, count: int) -> None:
    """Join `count` columns at `source` over the whole axis; both pointers move past them."""
    totals = f.locals_of(V128, vectors)
    for total in totals:
        f.splat_bits(r.empty)
        f.set(total)
    if r.extent:
        at, step = f.local(I32), f.local(I32)
        f.get(source)
        f.set(at)
        with repeated(f, step, 0, r.extent, 1):
            for vector, total in enumerate(totals):
                f.get(total)
                f.get(at)
                f.load("v128.load", 16 * vector)
                f.emit(r.join)
                f.set(total)
            advance(f, at, 4 * r.inner)
    for vector, total in enumerate(totals):
        store_lanes(f, target, total, 16 * vector, min(LANES, count - vector * LANES))
    advance(f, source, 4 * count)
    advance(f, target, 4 * count)


def store_lanes(f: Function, target: Local, value: Local, offset: int, lanes: int) -> None:
    """Store the first `lanes` of a vector at target + offset."""
    if lanes == LANES:
        f.get(target)
        f.get(value)
        f.store("v128.store", offset)
        return
    if lanes >= 2:
        f.get(target)
        f.get(value)
        f.emit("v128.store64_lane", 0, offset, 0)
    if lanes % 2:
        f.get(target)
        f.get(value)
        f.emit("v128.store32_lane", 0, offset + 4 * (lanes - 1), lanes - 1)


def emit_argmax(f: Function, shape: Shape, axis: int, source: Local, target: Local) -> None:
    """First position of the greatest element; the zeros tie, and the first NaN is greater than everything."""
    outer, extent, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    o, j, k, at, best_at = f.locals_of(I32, 5)
    best, value = f.local(F32), f.local(F32)
    with counted(f, o, 0, outer, 1):
        with counted(f, j, 0, inner, 1):
            f.get(source)
            f.tee(at)
            f.load("f32.load")
            f.set(best)
            f.i32(0)
            f.set(best_at)
            with counted(f, k, 1, extent, 1):
                advance(f, at, 4 * inner)
                f.get(at)
                f.load("f32.load")
                f.set(value)
                _is_greater(f, value, best)
                with f.if_():
                    f.get(value)
                    f.set(best)
                    f.get(k)
                    f.set(best_at)
            f.get(target)
            f.get(best_at)
            f.store("i32.store")
            advance(f, target, 4)
            advance(f, source, 4)
        advance(f, source, 4 * inner * (extent - 1))


def _is_greater(f: Function, value: Local, best: Local) -> None:
    f.get(value)
    f.get(best)
    f.emit("f32.gt")
    f.get(value)
    f.get(value)
    f.emit("f32.ne")
    f.get(best)
    f.get(best)
    f.emit("f32.eq")
    f.emit("i32.and")
    f.emit("i32.or")
