"""Reductions of one axis, and argmax.

Over the last axis a sum goes through 16 partials and the tree 8-4-2-1: one vector of 16 lanes, which LLVM divides into
the registers there are. Over any other axis each kept element has one ascending accumulator, and vectors run over kept
elements (semantics rule 3). Maxima have the same bits in any order.
"""

import math

from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.native.chain import LANES_MIN, Part, parts_of
from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.values import FLOAT, INT, Value, VectorOps

PARTIALS = 16
COLUMN_VECTORS = 4
MINUS_INFINITY = 0xFF800000


class Reduction:
    """A dense operand seen as (outer, extent, inner), and how elements join. `empty` is the result over no elements,
    which is also where accumulators start."""

    def __init__(self, f: Function, profile: Profile, shape: Shape, axis: int, dtype: DType, is_sum: bool) -> None:
        self.f = f
        self.profile = profile
        self.outer, self.extent, self.inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        self.is_last = axis == len(shape) - 1
        self.kind = FLOAT if dtype is DType.F32 else INT
        self.is_sum = is_sum
        self.empty = 0 if is_sum else MINUS_INFINITY

    def emit(self, source: str, target: str) -> None:
        """Emit the kernel."""
        (self._rows if self.is_last else self._columns)(source, target)

    def _join(self, width: int, a: str, b: str) -> str:
        ops = VectorOps(self.f, self.profile, width)
        left, right = Value(a, self.kind), Value(b, self.kind)
        if self.kind == INT:
            return ops.int_add(left, right).text
        return (ops.add(left, right) if self.is_sum else ops.maximum(left, right)).text

    def _neutral(self, width: int) -> str:
        ops = VectorOps(self.f, self.profile, width)
        neutral = ops.constant(self.empty)
        return ops.as_float(neutral) if self.kind == FLOAT else ops.as_int(neutral)

    # --- the last axis ---

    def _rows(self, source: str, target: str) -> None:
        f, width = self.f, LANES_MIN
        while width < min(self.extent, PARTIALS):
            width *= 2

        def row(position: str, _: list[str]) -> list[str]:
            start = f.at(source, f.mul(position, 4 * self.extent))
            f.store(self.kind, self._tree(width, self._row(start, width)), f.at(target, f.mul(position, 4)))
            return []

        f.loop(0, self.outer, 1, row)

    def _row(self, start: str, width: int) -> str:
        """Return the partials of one row, in a vector as wide as the row needs at most."""
        f, vector = self.f, f"<{width} x {self.kind}>"
        whole = self.extent // width * width

        def block(position: str, values: list[str]) -> list[str]:
            found = f.load(vector, f.at(start, f.mul(position, 4)))
            return [self._join(width, values[0], found)]

        (partials,) = f.loop(0, whole, width, block, [(vector, self._neutral(width))])
        rest = self.extent - whole
        if rest:
            found = f.load(vector, f.at(start, 4 * whole))
            picked = [*range(rest), *range(width + rest, 2 * width)]  # lanes behind the row belong to somebody else
            partials = self._join(width, partials, f.lanes(found, self.kind, width, picked, self._neutral(width)))
        return partials

    def _tree(self, width: int, partials: str) -> str:
        """Return the one result: partial i joins partial i + 8, then + 4, + 2, + 1. Partials never touched are
        neutral: a sum's are +0, and none is -0, so what joins them keeps its bits."""
        f = self.f
        while width > 2:
            half = width // 2
            low = f.lanes(partials, self.kind, width, range(half))
            high = f.lanes(partials, self.kind, width, range(half, width))
            partials, width = self._join(half, low, high), half
        swapped = f.lanes(partials, self.kind, 2, (1, 0))
        return f.value(f"extractelement <2 x {self.kind}> {self._join(2, partials, swapped)}, i64 0")

    # --- any other axis ---

    def _columns(self, source: str, target: str) -> None:
        f, lanes = self.f, self.profile.lanes
        step = COLUMN_VECTORS * lanes
        whole = self.inner // step * step

        def outer(position: str, _: list[str]) -> list[str]:
            rows = f.at(source, f.mul(position, 4 * self.inner * self.extent))
            results = f.at(target, f.mul(position, 4 * self.inner))

            def block(column: str, _: list[str]) -> list[str]:
                self._block(rows, results, f.mul(column, 4), parts_of(step, lanes))
                return []

            f.loop(0, whole, step, block)
            rest = parts_of(self.inner - whole, lanes)
            if rest:
                self._block(rows, results, 4 * whole, rest)
            return []

        f.loop(0, self.outer, 1, outer)

    def _block(self, rows: str, results: str, offset: Index, parts: list[Part]) -> None:
        """Join the columns of `parts` over the whole axis."""
        f, start = self.f, self.f.at(rows, offset)

        def line(position: str, values: list[str]) -> list[str]:
            at = f.at(start, f.mul(position, 4 * self.inner))
            return [
                self._join(part.width, value, f.load(f"<{part.width} x {self.kind}>", f.at(at, 4 * part.first)))
                for part, value in zip(parts, values, strict=True)
            ]

        carried = [(f"<{part.width} x {self.kind}>", self._neutral(part.width)) for part in parts]
        totals = f.loop(0, self.extent, 1, line, carried)
        for part, total in zip(parts, totals, strict=True):
            target = f.at(f.at(results, offset), 4 * part.first)
            f.store_lanes(total, self.kind, part.width, part.lanes, target)


def emit_argmax(f: Function, shape: Shape, axis: int, source: str, target: str) -> None:
    """First position of the greatest element; the zeros tie, and the first NaN is greater than everything."""
    outer, extent, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])

    def one(o: str, j: str) -> None:
        start = f.at(source, f.mul(f.add(f.mul(o, extent * inner), j), 4))

        def step(k: str, values: list[str]) -> list[str]:
            best, best_at = values
            found = f.load("float", f.at(start, f.mul(k, 4 * inner)))
            above = f.value(f"fcmp ogt float {found}, {best}")
            is_nan = f.value(f"fcmp uno float {found}, {found}")
            was_number = f.value(f"fcmp ord float {best}, {best}")
            better = f.value(f"or i1 {above}, {f.value(f'and i1 {is_nan}, {was_number}')}")
            return [
                f.value(f"select i1 {better}, float {found}, float {best}"),
                f.value(f"select i1 {better}, i64 {k}, i64 {best_at}"),
            ]

        _, best_at = f.loop(1, extent, 1, step, [("float", f.load("float", start)), ("i64", "0")])
        at = f.at(target, f.mul(f.add(f.mul(o, inner), j), 4))
        f.store("i32", f.value(f"trunc i64 {best_at} to i32"), at)

    def row(o: str, _: list[str]) -> list[str]:
        def column(j: str, _: list[str]) -> list[str]:
            one(o, j)
            return []

        f.loop(0, inner, 1, column)
        return []

    f.loop(0, outer, 1, row)
