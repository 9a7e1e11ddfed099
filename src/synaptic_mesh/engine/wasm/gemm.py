"""Packed matrix product for large operands: C = A @ B with any strides on A and B.

Every output is acc = acc + a*b from +0 with k ascending, product and sum rounded by themselves (semantics rule 2).
Vectors and tiles run over outputs only; a k-block reloads C, which is the same accumulator. So no parameter of the
schedule can change a bit.

Schedule: B is packed in panels of `nr` columns for a block of `kc` x `nc` that stays in the second-level cache; A is
packed one strip of `mr` rows at a time, each element already splatted to four lanes, and that strip stays in the
first-level cache while it meets every panel. In the micro-kernel a never-taken branch stands between unrolled k
steps: Cranelift computes pure values as late as it can, and without a block boundary it keeps the operands of many
steps alive at once and spills. Edges are computed as full tiles into a scratch tile, of which the valid part is
copied: rows and columns beyond the edge repeat the last valid one, so no padding value is invented.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import Bound, advance, counted, push, stepping
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32, F32, V128 = ValueType.I32, ValueType.F32, ValueType.V128


class GemmSchedule(NamedTuple):
    """How the packed kernel walks. None of it changes a result."""

    mr: int = 4  # rows of a tile
    nr: int = 8  # columns of a tile, a multiple of 4
    unroll: int = 10  # k steps per iteration
    kc: int = 256  # k steps per block, before rounding to `unroll`
    nc: int = 1024  # columns per block
    presplat: bool = True  # pack A with every element in four lanes
    barrier: bool = True  # never-taken branch between k steps

    @property
    def a_step_bytes(self) -> int:
        """Bytes of packed A for one k step."""
        return self.mr * (16 if self.presplat else 4)

    @property
    def b_step_bytes(self) -> int:
        """Bytes of one packed B panel for one k step."""
        return self.nr * 4

    def k_block(self, k: int) -> int:
        """Return the k steps per block for a sum of length k: even blocks, rounded up to whole unrolled iterations."""
        blocks = max(1, -(-k // self.kc))
        block = -(-k // blocks)
        return max(self.unroll, -(-block // self.unroll) * self.unroll)

    def workspace_bytes(self, k: int, n: int) -> int:
        """Return how much scratch memory a product with k steps and n columns needs."""
        kc = self.k_block(k)
        panels = -(-min(n, self.nc) // self.nr)
        return kc * self.a_step_bytes + panels * kc * self.b_step_bytes + self.mr * self.b_step_bytes + 64


DEFAULT_SCHEDULE = GemmSchedule()
"""For wasmtime."""
V8_SCHEDULE = GemmSchedule(barrier=False, unroll=1)
"""For V8 (Node.js, Chromium)."""


def micro_kernel(schedule: GemmSchedule, name: str) -> Function:
    """tile(pa, pb, pc, c_stride, steps, first): C tile (+)= packed A strip times packed B panel.
    With `first` the accumulators start at +0, else at C."""
    f = Function(name, (I32, I32, I32, I32, I32, I32))
    pa, pb, pc, stride, steps, first = (Local(i, I32) for i in range(6))
    mr, lanes = schedule.mr, schedule.nr // 4
    acc = [f.locals_of(V128, lanes) for _ in range(mr)]
    rows = [pc, *f.locals_of(I32, mr - 1)]
    for above, row in itertools.pairwise(rows):
        f.get(above)
        f.get(stride)
        f.emit("i32.add")
        f.set(row)
    f.get(first)
    f.emit("i32.eqz")
    with f.if_():
        for row, tiles in zip(rows, acc, strict=True):
            for lane, tile in enumerate(tiles):
                f.get(row)
                f.load("v128.load", 16 * lane)
                f.set(tile)
    _k_loops(f, schedule, pa, pb, steps, acc)
    for row, tiles in zip(rows, acc, strict=True):
        for lane, tile in enumerate(tiles):
            f.get(row)
            f.get(tile)
            f.store("v128.store", 16 * lane)
    return f


def _k_loops(f: Function, s: GemmSchedule, pa: Local, pb: Local, steps: Local, acc: list[list[Local]]) -> None:
    """`unroll` steps per iteration, then single steps."""
    left = f.local(I32)
    f.get(steps)
    f.set(left)
    with f.block() as done, f.loop() as again:
        f.get(left)
        f.i32(s.unroll)
        f.emit("i32.lt_s")
        f.br_if(done)
        with f.block() as never:
            for step in range(s.unroll):
                _step(f, s, pa, pb, acc, step)
                if s.barrier and step < s.unroll - 1:
                    f.get(left)
                    f.emit("i32.eqz")
                    f.br_if(never)
        advance(f, pa, s.unroll * s.a_step_bytes)
        advance(f, pb, s.unroll * s.b_step_bytes)
        advance(f, left, -s.unroll)
        f.i32(1)
        f.br_if(again)
    position = f.local(I32)
    with counted(f, position, 0, left, 1):
        _step(f, s, pa, pb, acc, 0)
        advance(f, pa, s.a_step_bytes)
        advance(f, pb, s.b_step_bytes)


def _step(f: Function, s: GemmSchedule, pa: Local, pb: Local, acc: list[list[Local]], step: int) -> None:
    columns = []
    for lane in range(s.nr // 4):
        f.get(pb)
        f.load("v128.load", step * s.b_step_bytes + 16 * lane)
        columns.append(f.keep(V128))
    for row, tiles in enumerate(acc):
        f.get(pa)
        if s.presplat:
            f.load("v128.load", step * s.a_step_bytes + 16 * row)
        else:
            f.load("v128.load32_splat", step * s.a_step_bytes + 4 * row)
        a = f.keep(V128)
        for tile, column in zip(tiles, columns, strict=True):
            f.get(tile)
            f.get(a)
            f.get(column)
            f.emit("f32x4.mul")
            f.emit("f32x4.add")
            f.set(tile)


def pack_rows(schedule: GemmSchedule, name: str) -> Function:
    """pack_a(src, row_stride, k_stride, rows, steps, dst): one strip of A, k by k; rows past the edge repeat the
    last."""
    f = Function(name, (I32, I32, I32, I32, I32, I32))
    src, row_stride, k_stride, rows, steps, dst = (Local(i, I32) for i in range(6))
    pointers = [src]
    for row in range(1, schedule.mr):
        f.get(pointers[-1])
        f.get(row_stride)
        f.i32(0)
        f.i32(row)
        f.get(rows)
        f.emit("i32.lt_s")
        f.select()
        f.emit("i32.add")
        pointers.append(f.keep(I32))
    offset, step = f.local(I32), f.local(I32)
    with counted(f, step, 0, steps, 1):
        for row, pointer in enumerate(pointers):
            f.get(dst)
            f.get(pointer)
            f.get(offset)
            f.emit("i32.add")
            f.load("f32.load")
            if schedule.presplat:
                f.emit("f32x4.splat")
                f.store("v128.store", 16 * row)
            else:
                f.store("f32.store", 4 * row)
        advance(f, dst, schedule.a_step_bytes)
        advance(f, offset, k_stride)
    return f


def pack_columns(schedule: GemmSchedule, name: str) -> Function:
    """pack_b(src, k_stride, column_stride, columns, steps, dst): one panel of B, k by k; columns past the edge repeat
    the last. A full panel of neighbouring columns is copied as vectors."""
    f = Function(name, (I32, I32, I32, I32, I32, I32))
    src, k_stride, column_stride, columns, steps, dst = (Local(i, I32) for i in range(6))
    step = f.local(I32)
    f.get(column_stride)
    f.i32(4)
    f.emit("i32.eq")
    f.get(columns)
    f.i32(schedule.nr)
    f.emit("i32.ge_s")
    f.emit("i32.and")
    with f.if_():
        with counted(f, step, 0, steps, 1):
            for lane in range(schedule.nr // 4):
                f.get(dst)
                f.get(src)
                f.load("v128.load", 16 * lane)
                f.store("v128.store", 16 * lane)
            advance(f, dst, schedule.b_step_bytes)
            advance(f, src, k_stride)
        f.else_()
        pointers = [src]
        for column in range(1, schedule.nr):
            f.get(pointers[-1])
            f.get(column_stride)
            f.i32(0)
            f.i32(column)
            f.get(columns)
            f.emit("i32.lt_s")
            f.select()
            f.emit("i32.add")
            pointers.append(f.keep(I32))
        offset = f.local(I32)
        with counted(f, step, 0, steps, 1):
            for column, pointer in enumerate(pointers):
                f.get(dst)
                f.get(pointer)
                f.get(offset)
                f.emit("i32.add")
                f.load("i32.load")
                f.store("i32.store", 4 * column)
            advance(f, dst, schedule.b_step_bytes)
            advance(f, offset, k_stride)
    return f


class GemmCalls(NamedTuple):
    """Function numbers of the three parts in their module."""

    tile: int
    pack_a: int
    pack_b: int


def gemm(schedule: GemmSchedule, name: str, calls: GemmCalls) -> Function:
    """gemm(a, a_row, a_k, b, b_k, b_col, c, m, k, n, work): C[m, n] (dense rows) = A @ B, all strides in bytes.
    `work` points to `workspace_bytes` of scratch. k >= 1; with m or n = 0 nothing is written."""
    f = Function(name, (I32,) * 11)
    a, a_row, a_k, b, b_k, b_column, _, m, k, n, work = (Local(i, I32) for i in range(11))
    w = _Walk(*f.locals_of(I32, len(_Walk._fields)))
    kc = f.local(I32)
    _even_block(f, schedule, k, kc)
    _offset(f, work, kc, schedule.a_step_bytes, w.packed_b)
    with stepping(f, w.jc, n, schedule.nc):
        _clipped(f, n, w.jc, schedule.nc, w.nc)
        with stepping(f, w.p0, k, kc):
            _clipped(f, k, w.p0, kc, w.steps)
            _copy(f, w.packed_b, w.panel)
            with _panels(f, schedule, w):
                _push_sum(f, b, (w.p0, b_k), (w.jc, b_column), (w.jr, b_column))
                for value in (b_k, b_column, w.columns, w.steps, w.panel):
                    f.get(value)
                f.call(calls.pack_b, (I32,) * 6)
            _copy(f, w.panel, w.scratch)
            with stepping(f, w.ir, m, schedule.mr):
                _clipped(f, m, w.ir, schedule.mr, w.rows)
                _push_sum(f, a, (w.ir, a_row), (w.p0, a_k))
                for value in (a_row, a_k, w.rows, w.steps, work):
                    f.get(value)
                f.call(calls.pack_a, (I32,) * 6)
                _copy(f, w.packed_b, w.panel)
                with _panels(f, schedule, w):
                    _tile(f, schedule, calls, w)
    return f


class _Walk(NamedTuple):
    """Locals of `gemm`: where the loops stand, and how much of the current block, strip and panel is left."""

    jc: Local  # first column of the block
    p0: Local  # first k step of the block
    ir: Local  # first row of the strip
    jr: Local  # first column of the panel, within the block
    nc: Local
    steps: Local
    rows: Local
    columns: Local
    packed_b: Local  # address of the first packed panel
    panel: Local  # address of the current packed panel
    scratch: Local  # address of the scratch tile


@contextmanager
def _panels(f: Function, s: GemmSchedule, w: _Walk) -> Iterator[None]:
    """Visit every panel of the block, `panel` following along."""
    with stepping(f, w.jr, w.nc, s.nr):
        _clipped(f, w.nc, w.jr, s.nr, w.columns)
        yield
        _offset(f, w.panel, w.steps, s.b_step_bytes, w.panel)


def _tile(f: Function, s: GemmSchedule, calls: GemmCalls, w: _Walk) -> None:
    """One tile: straight into C when it is full, else through the scratch tile."""
    c, n, target, stride = Local(6, I32), Local(9, I32), f.local(I32), f.local(I32)
    f.get(n)
    f.i32(4)
    f.emit("i32.mul")
    f.set(stride)
    _push_sum(f, c, (w.ir, stride))
    f.get(w.jc)
    f.get(w.jr)
    f.emit("i32.add")
    f.i32(4)
    f.emit("i32.mul")
    f.emit("i32.add")
    f.set(target)
    f.get(w.rows)
    f.i32(s.mr)
    f.emit("i32.eq")
    f.get(w.columns)
    f.i32(s.nr)
    f.emit("i32.eq")
    f.emit("i32.and")
    with f.if_():
        _call_tile(f, calls, w, target, stride)
        f.else_()
        _copy_tile(f, (w.scratch, s.b_step_bytes), (target, stride), w)
        _call_tile(f, calls, w, w.scratch, s.b_step_bytes)
        _copy_tile(f, (target, stride), (w.scratch, s.b_step_bytes), w)


def _call_tile(f: Function, calls: GemmCalls, w: _Walk, target: Local, stride: Bound) -> None:
    for value in (Local(10, I32), w.panel, target, stride, w.steps):  # the packed strip lies at `work`
        push(f, value)
    f.get(w.p0)
    f.emit("i32.eqz")
    f.call(calls.tile, (I32,) * 6)


def _copy_tile(f: Function, target: tuple[Local, Bound], source: tuple[Local, Bound], w: _Walk) -> None:
    """Copy the valid rows and columns of a tile; both are (address, bytes from row to row)."""
    row, to, at, length = f.locals_of(I32, 4)
    _copy(f, target[0], to)
    _copy(f, source[0], at)
    f.get(w.columns)
    f.i32(4)
    f.emit("i32.mul")
    f.set(length)
    with counted(f, row, 0, w.rows, 1):
        f.get(to)
        f.get(at)
        f.get(length)
        f.emit("memory.copy")
        advance(f, to, target[1])
        advance(f, at, source[1])


def _even_block(f: Function, s: GemmSchedule, k: Local, kc: Local) -> None:
    """kc = GemmSchedule.k_block(k), at run time."""
    blocks = f.local(I32)
    f.get(k)
    f.i32(s.kc - 1)
    f.emit("i32.add")
    f.i32(s.kc)
    f.emit("i32.div_u")
    f.set(blocks)
    f.get(k)
    f.get(blocks)
    f.emit("i32.add")
    f.i32(1)
    f.emit("i32.sub")
    f.get(blocks)
    f.emit("i32.div_u")
    f.i32(s.unroll - 1)
    f.emit("i32.add")
    f.i32(s.unroll)
    f.emit("i32.div_u")
    f.i32(s.unroll)
    f.emit("i32.mul")
    f.set(kc)


def _clipped(f: Function, total: Local, start: Local, width: Bound, out: Local) -> None:
    """out = min(total - start, width)."""
    f.get(total)
    f.get(start)
    f.emit("i32.sub")
    f.tee(out)
    push(f, width)
    f.get(out)
    push(f, width)
    f.emit("i32.lt_s")
    f.select()
    f.set(out)


def _copy(f: Function, source: Local, target: Local) -> None:
    f.get(source)
    f.set(target)


def _offset(f: Function, base: Local, count: Local, stride: int, out: Local) -> None:
    """out = base + count * stride."""
    f.get(base)
    f.get(count)
    f.i32(stride)
    f.emit("i32.mul")
    f.emit("i32.add")
    f.set(out)


def _push_sum(f: Function, base: Local, *terms: tuple[Local, Local]) -> None:
    f.get(base)
    for index, stride in terms:
        f.get(index)
        f.get(stride)
        f.emit("i32.mul")
        f.emit("i32.add")
