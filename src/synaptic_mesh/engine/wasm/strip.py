"""Unblocked matrix product for operands that fit in cache, with a fused chain on every finished tile.

One strip of rows of A is packed with every element splatted to four lanes, then meets all columns of B; accumulators
stay in registers for the whole sum, k ascending from +0, product and sum rounded by themselves. B is read where it
lies when its columns are neighbours, or packed in panels first. Each (rows, columns) tile that occurs is emitted for
itself, so edges cost code, not padding.
"""

from collections.abc import Callable
from typing import NamedTuple

from synaptic_mesh.engine.wasm.chain import LANES, Chain
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import advance, counted, repeated
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32, V128 = ValueType.I32, ValueType.V128
TILES = {1: 32, 2: 16, 3: 12, 4: 8}
"""Rows of a tile -> its columns: 8 or 9 accumulators, which leave registers for operands."""
UNROLL = 10
PACK_RIGHT_STRIPS_MIN = 4
"""Strips of A from which packing B in panels pays."""
PACK_RIGHT_STRIDE_MIN = 256
"""Bytes between the rows of B below which its columns are near enough to read where they lie."""
L1_BYTES = 16 << 10


class Product(NamedTuple):
    """C[m, n] = sum over k; strides are bytes."""

    m: int
    k: int
    n: int
    a_row: int
    a_k: int
    b_k: int
    b_column: int

    @property
    def rows(self) -> int:
        """Rows of a full tile."""
        return min(self.m, 4)

    @property
    def columns(self) -> int:
        """Columns of a full tile."""
        return min(TILES[self.rows], -(-self.n // LANES) * LANES)

    @property
    def packs_left(self) -> bool:
        """A strip is packed when at least two tiles read it."""
        return self.n > self.columns

    @property
    def packs_right(self) -> bool:
        """B is packed when its columns are not neighbours, or when its panels are read often and lie far apart."""
        if self.b_column != 4 and self.n > 1:
            return True
        strips = -(-self.m // self.rows)
        return strips >= PACK_RIGHT_STRIPS_MIN and self.k * self.b_k > L1_BYTES and self.b_k >= PACK_RIGHT_STRIDE_MIN

    @property
    def strip_bytes(self) -> int:
        """Scratch memory of a packed strip."""
        return -(-self.k * self.rows * 16 // 64) * 64 if self.packs_left else 0

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory of packed strip and panels."""
        panels = -(-self.n // LANES) * LANES * 4 * self.k if self.packs_right else 0
        return self.strip_bytes + panels + 64


class Pointers(NamedTuple):
    """Parameters that hold addresses."""

    a: Local
    b: Local
    work: Local


def emit_product(f: Function, product: Product, pointers: Pointers, chain: Chain) -> None:
    """Emit the kernel for m, n >= 1 (k = 0 gives zeros through the chain)."""
    panels = f.local(I32)
    f.get(pointers.work)
    f.i32(product.strip_bytes)
    f.emit("i32.add")
    f.set(panels)
    if product.packs_right and product.k:
        _pack_right(f, product, pointers.b, panels)
    row, mr = f.local(I32), product.rows
    whole = product.m // mr * mr
    strip = _Strip(f, product, pointers, panels, chain, row)
    with counted(f, row, 0, whole, mr):
        strip.emit(mr)
    if product.m > whole:
        strip.emit(product.m - whole)


def _each_panel(f: Function, product: Product, body: Callable[[Local, int], None]) -> None:
    """Call `body(first column, width)` for full panels in a loop and for the last one by itself."""
    column, nr = f.local(I32), product.columns
    whole = product.n // nr * nr
    if whole == nr:
        f.i32(0)
        f.set(column)
        body(column, nr)
        f.i32(nr)
        f.set(column)
    elif whole:
        with counted(f, column, 0, whole, nr):
            body(column, nr)
    else:
        f.i32(0)
        f.set(column)
    if product.n > whole:
        body(column, product.n - whole)


def _pack_right(f: Function, product: Product, b: Local, panels: Local) -> None:
    """Panels of B one after another, each k by k, whole vectors; lanes past the edge hold whatever is there."""
    target = f.local(I32)
    f.get(panels)
    f.set(target)

    def panel(column: Local, width: int) -> None:
        source, step = f.local(I32), f.local(I32)
        f.get(b)
        f.get(column)
        f.i32(product.b_column)
        f.emit("i32.mul")
        f.emit("i32.add")
        f.set(source)
        vectors = -(-width // LANES)
        with repeated(f, step, 0, product.k, 1):
            for vector in range(vectors):
                f.get(target)
                if product.b_column == 4:
                    f.get(source)
                    f.load("v128.load", 16 * vector)
                else:
                    _collect(f, source, product.b_column, vector, min(LANES, width - vector * LANES))
                f.store("v128.store", 16 * vector)
            advance(f, target, 16 * vectors)
            advance(f, source, product.b_k)

    _each_panel(f, product, panel)


def _collect(f: Function, source: Local, stride: int, vector: int, lanes: int) -> None:
    """Push a vector of up to four values that lie `stride` bytes apart."""
    start = vector * LANES * stride
    f.get(source)
    f.load("v128.load32_zero", start)
    value = f.keep(V128)
    for lane in range(1, lanes):
        f.get(source)
        f.get(value)
        f.emit("v128.load32_lane", 0, start + lane * stride, lane)
        f.set(value)
    f.get(value)


class _Strip:
    """The tiles of `mr` rows that start at local `row`."""

    def __init__(
        self, f: Function, product: Product, pointers: Pointers, panels: Local, chain: Chain, row: Local
    ) -> None:
        self.f, self.product, self.pointers, self.panels, self.chain, self.row = (
            f,
            product,
            pointers,
            panels,
            chain,
            row,
        )

    def emit(self, mr: int) -> None:
        f, product = self.f, self.product
        left = f.local(I32)
        f.get(self.pointers.a)
        f.get(self.row)
        f.i32(product.a_row)
        f.emit("i32.mul")
        f.emit("i32.add")
        f.set(left)
        if product.packs_left and product.k:
            _pack_left(f, product, left, self.pointers.work, mr)
        offsets = self._row_offsets()
        _each_panel(f, product, lambda column, width: self._tile(mr, column, width, left, offsets))

    def _row_offsets(self) -> dict[tuple[int, ...], Local]:
        """Byte offset of the strip's first row, per strides."""
        f = self.f
        offsets = {}
        for strides in self.chain.classes():
            f.get(self.row)
            f.i32(4 * strides[0])
            f.emit("i32.mul")
            offsets[strides] = f.keep(I32)
        return offsets

    def _tile(self, mr: int, column: Local, width: int, left: Local, row_offsets: dict[tuple[int, ...], Local]) -> None:
        f, product = self.f, self.product
        vectors = -(-width // LANES)
        accumulators = [f.locals_of(V128, vectors) for _ in range(mr)]
        for line in accumulators:
            for accumulator in line:
                f.splat_bits(0)
                f.set(accumulator)
        if product.k:
            _sum(f, product, self._operands(left, column, vectors), mr, accumulators)
        offsets = {}
        for strides, start in row_offsets.items():
            f.get(start)
            f.get(column)
            f.i32(4 * strides[1])
            f.emit("i32.mul")
            f.emit("i32.add")
            offsets[strides] = f.keep(I32)
        for row, line in enumerate(accumulators):
            for vector, accumulator in enumerate(line):
                lanes = min(LANES, width - vector * LANES)
                self.chain.emit(offsets, (row, vector * LANES), lanes, accumulator)

    def _operands(self, left: Local, column: Local, vectors: int) -> "_Operands":
        """Fresh pointers to the first step of A's strip and of B's columns."""
        f, product = self.f, self.product
        pa, pb = f.local(I32), f.local(I32)
        f.get(self.pointers.work if product.packs_left else left)
        f.set(pa)
        f.get(self.panels if product.packs_right else self.pointers.b)
        f.get(column)
        f.i32(4 * product.k if product.packs_right else 4)
        f.emit("i32.mul")
        f.emit("i32.add")
        f.set(pb)
        return _Operands(pa, pb, 16 * vectors if product.packs_right else product.b_k)


class _Operands(NamedTuple):
    pa: Local
    pb: Local
    b_step: int


def _pack_left(f: Function, product: Product, left: Local, work: Local, mr: int) -> None:
    source, target, step = f.locals_of(I32, 3)
    f.get(left)
    f.set(source)
    f.get(work)
    f.set(target)
    with repeated(f, step, 0, product.k, 1):
        for row in range(mr):
            f.get(target)
            f.get(source)
            f.load("f32.load", row * product.a_row)
            f.emit("f32x4.splat")
            f.store("v128.store", 16 * row)
        advance(f, target, 16 * mr)
        advance(f, source, product.a_k)


def _sum(f: Function, product: Product, operands: _Operands, mr: int, accumulators: list[list[Local]]) -> None:
    """Add all k products. A never-taken branch between steps keeps the compiler from holding many steps in
    registers."""
    pa, pb, b_step = operands
    a_step = 16 * mr if product.packs_left else product.a_k
    full = len(accumulators) * len(accumulators[0]) >= 8
    unroll = min(product.k, UNROLL if full else 4)
    left = f.local(I32)
    whole = product.k // unroll * unroll
    with f.block() as never:
        with repeated(f, left, 0, whole, unroll):
            for step in range(unroll):
                _step(f, product, operands, step, mr, accumulators)
                f.get(pb)
                f.emit("i32.eqz")
                f.br_if(never)
            advance(f, pa, unroll * a_step)
            advance(f, pb, unroll * b_step)
        for step in range(product.k - whole):
            _step(f, product, operands, step, mr, accumulators)
            f.get(pb)
            f.emit("i32.eqz")
            f.br_if(never)


def _step(
    f: Function, product: Product, operands: _Operands, step: int, mr: int, accumulators: list[list[Local]]
) -> None:
    columns = []
    for vector in range(len(accumulators[0])):
        f.get(operands.pb)
        f.load("v128.load", step * operands.b_step + 16 * vector)
        columns.append(f.keep(V128))
    for row in range(mr):
        f.get(operands.pa)
        if product.packs_left:
            f.load("v128.load", 16 * (step * mr + row))
        else:
            f.load("f32.load", step * product.a_k + row * product.a_row)
            f.emit("f32x4.splat")
        a = f.keep(V128)
        for accumulator, column in zip(accumulators[row], columns, strict=True):
            f.get(accumulator)
            f.get(a)
            f.get(column)
            f.emit("f32x4.mul")
            f.emit("f32x4.add")
            f.set(accumulator)
