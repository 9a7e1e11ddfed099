"""Running sums, and indices by falling value."""

import math
from collections.abc import Sequence
from typing import TypeVar

from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.nest.builder import FLOAT, INT, Builder, Carried, Part, Walk, parts_of
from synaptic_mesh.engine.nest.vectors import Vectors

H = TypeVar("H")
LEAST, MOST = 0x80000000, 0x7FFFFFFF
"""Keys below and above those of all values."""
NAN_KEY = 0x7FC00000


def emit_cumsum(b: Builder[H], shape: Shape, axis: int, dtype: DType, source: H, target: H) -> None:
    """Running sums from +0, ascending; lanes hold neighbouring elements of the axes behind."""
    outer, extent, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    kind, join = (FLOAT, "f32.add") if dtype is DType.F32 else (INT, "i32.add")

    def rows(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        for part in parts_of(inner, b.schedule.lanes):
            ops = b.vectors(part.width)

            def step(
                _: H, at: Sequence[H], totals: Sequence[H], part: Part = part, ops: Vectors[H] = ops
            ) -> Sequence[H]:
                total = ops.op(join, totals[0], b.load(kind, part.width, at[0], 4 * part.first))
                b.store(kind, part, total, at[1], 4 * part.first)
                return [total]

            walks = [Walk(pointer, 4 * inner) for pointer in here]
            b.loop(extent, step, walks, [Carried(kind, part.width, ops.constant(0))])
        return ()

    b.loop(outer, rows, [Walk(source, 4 * inner * extent), Walk(target, 4 * inner * extent)])


def emit_top_k(b: Builder[H], shape: Shape, axis: int, count: int, source: H, target: H) -> None:
    """For j = 0, 1, ...: the greatest of those that are less than the one before, or equal and behind it."""
    outer, extent, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])

    def rows(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        for part in parts_of(inner, b.schedule.lanes):
            _top_columns(b, (extent, count, 4 * inner), part, here[0], here[1])
        return ()

    b.loop(outer, rows, [Walk(source, 4 * inner * extent), Walk(target, 4 * inner * count)])


def _top_columns(b: Builder[H], extents: tuple[int, int, int], part: Part, source: H, target: H) -> None:
    """Lanes hold neighbouring elements of the axes behind; extents: the axis, how many are wanted, bytes per step."""
    (extent, count, stride), ops, offset = extents, b.vectors(part.width), 4 * part.first

    def place(_: H, to: Sequence[H], before: Sequence[H]) -> Sequence[H]:
        def look(position: H, here: Sequence[H], best: Sequence[H]) -> Sequence[H]:
            found = order_key(ops, b.load(FLOAT, part.width, here[0], offset))
            at = b.splat_index(position, part.width)
            behind = ops.op("mask.and", ops.op("i32.eq", found, before[0]), ops.op("i32.lt_s", before[1], at))
            left = ops.op("mask.or", ops.op("i32.lt_s", found, before[0]), behind)
            better = ops.op("mask.and", left, ops.op("i32.lt_s", best[0], found))
            return [ops.select(better, found, best[0]), ops.select(better, at, best[1])]

        first = [Carried(INT, part.width, ops.constant(bits)) for bits in (LEAST, 0)]
        best = b.loop(extent, look, [Walk(source, stride)], first)
        b.store(INT, part, best[1], to[0], offset)
        return best

    first = [Carried(INT, part.width, ops.constant(bits)) for bits in (MOST, 0xFFFFFFFF)]
    b.loop(count, place, [Walk(target, stride)], first)


def order_key(ops: Vectors[H], value: H) -> H:
    """Return integers in the order of the values: zeros equal, NaN greatest."""
    plain = ops.add(value, ops.constant(0))  # -0 + 0 = +0
    signs = ops.bit_and(ops.shift_right(plain, 31), ops.constant(MOST))
    return ops.select(ops.equal(value, value), ops.bit_xor(plain, signs), ops.constant(NAN_KEY))
