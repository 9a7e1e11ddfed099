"""Reductions of one axis, and argmax.

Over the last axis a sum goes through 16 partials and the tree 8-4-2-1. Over any other axis each kept element has one
ascending accumulator, and vectors run over kept elements (semantics rule 3). Maxima have the same bits in any order.
"""

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.nest.builder import FLOAT, INT, LANES_MIN, Builder, Carried, Part, Walk, parts_of
from synaptic_mesh.engine.nest.vectors import Vectors

H = TypeVar("H")
PARTIALS = 16
COLUMN_VECTORS = 4
MINUS_INFINITY = 0xFF800000


class Reduction(Generic[H]):
    """A dense operand seen as (outer, extent, inner), and how elements join. `empty` is the result over no elements,
    which is also where accumulators start."""

    def __init__(self, b: Builder[H], shape: Shape, axis: int, dtype: DType, is_sum: bool) -> None:
        self.b = b
        self.outer, self.extent, self.inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        self.is_last = axis == len(shape) - 1
        self.kind = FLOAT if dtype is DType.F32 else INT
        self.join = ("f32.add" if dtype is DType.F32 else "i32.add") if is_sum else "f32.max"
        self.empty = 0 if is_sum else MINUS_INFINITY

    def emit(self, source: H, target: H) -> None:
        """Build the kernel."""
        (self._rows if self.is_last else self._columns)(source, target)

    def _neutral(self, width: int) -> Carried[H]:
        return Carried(self.kind, width, self.b.vectors(width).constant(self.empty))

    # --- the last axis ---

    def _rows(self, source: H, target: H) -> None:
        b = self.b
        total = LANES_MIN
        while total < min(self.extent, PARTIALS):
            total *= 2
        width = min(total, b.schedule.widest)

        def row(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            partials = self._row(here[0], width, total // width)
            b.store(self.kind, *self._tree(width, partials), here[1])
            return ()

        b.loop(self.outer, row, [Walk(source, 4 * self.extent), Walk(target, 4)])

    def _row(self, start: H, width: int, vectors: int) -> list[H]:
        """Return the partials of one row: neighbouring lanes of as many vectors as the row needs at most."""
        b, kind, ops = self.b, self.kind, self.b.vectors(width)
        block = width * vectors
        whole = self.extent // block

        def step(_: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
            found = [b.load(kind, width, here[0], 4 * width * number) for number in range(vectors)]
            return [ops.op(self.join, value, more) for value, more in zip(values, found, strict=True)]

        partials = b.loop(whole, step, [Walk(start, 4 * block)], [self._neutral(width)] * vectors)
        rest = self.extent - whole * block
        for number in range(-(-rest // width)):
            part = Part(0, min(width, rest - number * width), width)
            more = b.load(kind, width, start, 4 * (whole * block + number * width))
            if part.lanes < width:  # lanes behind the row belong to somebody else
                more = b.keep_lanes(kind, part, more, self.empty, width)
            partials[number] = ops.op(self.join, partials[number], more)
        return partials

    def _tree(self, width: int, partials: list[H]) -> tuple[Part, H]:
        """Return the one result: partial i joins partial i + 8, then + 4, + 2, + 1. Partials never touched are
        neutral: a sum's are +0, and none is -0, so what joins them keeps its bits."""
        while len(partials) > 1:
            half = len(partials) // 2
            ops = self.b.vectors(width)
            partials = [ops.op(self.join, a, c) for a, c in zip(partials[:half], partials[half:], strict=True)]
        (value,) = partials
        while width > 1:
            low, high = self.b.halves(self.kind, width, value)
            width //= 2
            value = self.b.vectors(width).op(self.join, low, high)
        return Part(0, 1, width), value

    # --- any other axis ---

    def _columns(self, source: H, target: H) -> None:
        b, lanes = self.b, self.b.schedule.lanes
        step = COLUMN_VECTORS * lanes
        blocks = self.inner // step

        def outer(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            def block(_: H, columns: Sequence[H], __: Sequence[H]) -> Sequence[H]:
                self._block(columns[0], columns[1], 0, parts_of(step, lanes))
                return ()

            b.loop(blocks, block, [Walk(here[0], 4 * step), Walk(here[1], 4 * step)])
            rest = parts_of(self.inner - blocks * step, lanes)
            if rest:
                self._block(here[0], here[1], 4 * blocks * step, rest)
            return ()

        walks = [Walk(source, 4 * self.inner * self.extent), Walk(target, 4 * self.inner)]
        b.loop(self.outer, outer, walks)

    def _block(self, rows: H, results: H, offset: int, parts: list[Part]) -> None:
        """Join the columns of `parts` over the whole axis."""
        b = self.b

        def line(_: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
            return [
                b.vectors(part.width).op(self.join, v, b.load(self.kind, part.width, here[0], offset + 4 * part.first))
                for part, v in zip(parts, values, strict=True)
            ]

        carried = [self._neutral(part.width) for part in parts]
        for part, total in zip(parts, b.loop(self.extent, line, [Walk(rows, 4 * self.inner)], carried), strict=True):
            b.store(self.kind, part, total, results, offset + 4 * part.first)


def emit_argmax(b: Builder[H], shape: Shape, axis: int, source: H, target: H) -> None:
    """First position of the greatest element; the zeros tie, and the first NaN is greater than everything."""
    outer, extent, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    lanes = b.schedule.lanes

    def rows(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        if inner == 1 and extent >= lanes:
            _argmax_row(b, extent, here[0], here[1])
        else:
            for part in parts_of(inner, lanes):
                _argmax_columns(b, extent, 4 * inner, part, here[0], here[1])
        return ()

    b.loop(outer, rows, [Walk(source, 4 * inner * extent), Walk(target, 4 * inner)])


def _argmax_columns(b: Builder[H], extent: int, stride: int, part: Part, source: H, target: H) -> None:
    """Lanes hold neighbouring kept elements. A row's only one has neighbours too; what they compute is dropped."""
    ops, offset = b.vectors(part.width), 4 * part.first

    def step(position: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
        found = b.load(FLOAT, part.width, here[0], offset)
        better = _is_greater(ops, found, values[0])
        at = b.splat_index(position, part.width)
        return [ops.select(better, found, values[0]), ops.select(better, at, values[1])]

    first = [Carried(FLOAT, part.width, b.load(FLOAT, part.width, source, offset))]
    first.append(Carried(INT, part.width, ops.constant(0)))
    b.store(INT, part, b.loop(extent, step, [Walk(source, stride)], first)[1], target, offset)


def _argmax_row(b: Builder[H], extent: int, source: H, target: H) -> None:
    """Lane i looks at every element whose position is i modulo the lanes; then the lanes are compared pair by pair."""
    width = b.schedule.lanes
    ops, whole = b.vectors(width), extent // width
    lane = b.lane_numbers(width)

    def join(found: H, at: H, values: Sequence[H]) -> Sequence[H]:
        better = _is_greater(ops, found, values[0])
        return [ops.select(better, found, values[0]), ops.select(better, at, values[1])]

    def step(position: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
        at = ops.int_add(b.splat_index(position, width), lane)
        return join(b.load(FLOAT, width, here[0]), at, values)

    first = [Carried(FLOAT, width, b.load(FLOAT, width, source)), Carried(INT, width, lane)]
    best: Sequence[H] = b.loop(whole, step, [Walk(source, 4 * width)], first, step=width)
    for part in parts_of(extent - whole * width, width):
        found = b.load(FLOAT, part.width, source, 4 * whole * width)
        found = b.keep_lanes(FLOAT, part, found, MINUS_INFINITY, width)  # never greater than what a lane has seen
        best = join(found, ops.int_add(ops.constant(whole * width), lane), best)
    b.store(INT, *_first_of_lanes(b, width, best[0], best[1]), target)


def _first_of_lanes(b: Builder[H], width: int, value: H, at: H) -> tuple[Part, H]:
    """Return, in lane 0, the lowest position among those of the greatest value."""
    while width > 1:
        value, other = b.halves(FLOAT, width, value)
        at, other_at = b.halves(INT, width, at)
        width //= 2
        ops = b.vectors(width)
        is_nan = ops.op("mask.not", ops.equal(value, value))
        both_nan = ops.op("mask.and", is_nan, ops.op("mask.not", ops.equal(other, other)))
        same = ops.op("mask.or", ops.equal(value, other), both_nan)
        earlier = ops.op("mask.and", same, ops.op("i32.lt_s", other_at, at))
        better = ops.op("mask.or", _is_greater(ops, other, value), earlier)
        value, at = ops.select(better, other, value), ops.select(better, other_at, at)
    return Part(0, 1, width), at


def _is_greater(ops: Vectors[H], value: H, best: H) -> H:
    """The value is more than the best, or the first NaN: a NaN is unequal to itself."""
    first_nan = ops.op("mask.and", ops.op("mask.not", ops.equal(value, value)), ops.equal(best, best))
    return ops.op("mask.or", ops.less(best, value), first_nan)
