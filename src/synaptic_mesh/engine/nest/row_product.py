"""Matrix product with few columns, as the root of a kernel of rows: a vector's lanes are rows, and each column has an
accumulator of its own, k ascending from +0, product and sum rounded by themselves.

The left operand is read along its rows and turned by shuffles a block of k at a time, or as it lies when its rows are
neighbours. With one row or two, vectors run over columns and are turned at the end.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from synaptic_mesh.engine.fusion import Kernel, matmul_extents
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.nest.builder import FLOAT, LANES_MIN, Builder, Carried, Part, Walk
from synaptic_mesh.engine.nest.chain import Spot
from synaptic_mesh.engine.nest.columns import load_columns
from synaptic_mesh.engine.row_fusion import is_few

H = TypeVar("H")
SUMS = 8
"""Accumulators that hide the latency of an addition."""
UNROLL = 4
Step = Callable[[Sequence[H], int, Sequence[H]], list[H]]
"""step(addresses, number, sums) -> sums after one more k."""


class RowProduct(NamedTuple, Generic[H]):
    """C[row, column] = sum over k; strides are elements: `a` over rows and k, `c` over k and columns of the right."""

    b: Builder[H]
    extents: tuple[int, int, int]
    left: H
    right: H
    a: tuple[int, int]
    c: tuple[int, int]

    @staticmethod
    def of(b: Builder[H], graph: Graph, kernel: Kernel, parameters: dict[Spot, H]) -> "RowProduct[H]":
        """Return the product at the root of a kernel."""
        root = kernel.root or 0
        node = graph.nodes[root]
        left, right = (kernel.operands[i] for i in node.inputs)
        (row, a_k), (c_k, column) = left.strides, right.strides
        if node.attributes.transpose_left:
            row, a_k = a_k, row
        if node.attributes.transpose_right:
            c_k, column = column, c_k
        start, other = (parameters[view.base, view.offset] for view in (left, right))
        return RowProduct(b, matmul_extents(graph, root), start, other, (row, a_k), (c_k, column))

    def parts(self, vectors: int) -> int:
        """Return how many vectors of rows are summed together, of so many."""
        return max(1, min(vectors, SUMS // self.extents[2]))

    def columns(self, parts: Sequence[Part], left: H) -> list[list[H]]:
        """Return the columns of each part of the rows whose first one lies at `left`."""
        if is_few(self.extents, self.c[1]):
            return [self._few(part, left) for part in parts]
        return self._many(parts, left)

    def _many(self, parts: Sequence[Part], left: H) -> list[list[H]]:
        """Lanes are rows."""
        (row, a_k), (c_k, column), (_, k, n) = self.a, self.c, self.extents
        b, width = self.b, parts[0].width
        ops = b.vectors(width)
        starts = [b.at(left, 4 * row * part.first) for part in parts]
        turned = a_k == 1 and row > 1
        block = width if turned else UNROLL

        def steps(here: Sequence[H], count: int, sums: Sequence[H]) -> list[H]:
            pairs = zip(parts, here, strict=False)
            lines = [load_columns(b, FLOAT, part, count, (row, a_k), at) for part, at in pairs]
            sums = list(sums)
            for step in range(count):
                for number in range(n):
                    one = b.load_splat(FLOAT, width, here[-1], 4 * (c_k * step + column * number))
                    for at, columns in enumerate(lines):
                        product = ops.mul(columns[min(step, len(columns) - 1)], one)
                        sums[at * n + number] = ops.add(sums[at * n + number], product)
            return sums

        walks = [Walk(start, 4 * a_k * block) for start in starts] + [Walk(self.right, 4 * c_k * block)]
        sums = self._summed(k, block, walks, n * len(parts), width, steps)
        return [sums[at * n : (at + 1) * n] for at in range(len(parts))]

    def _few(self, part: Part, left: H) -> list[H]:
        """Lanes are columns."""
        (row, a_k), (c_k, _), (_, k, n) = self.a, self.c, self.extents
        b, width = self.b, LANES_MIN
        while width < n:
            width *= 2
        ops = b.vectors(width)

        def steps(here: Sequence[H], count: int, sums: Sequence[H]) -> list[H]:
            sums = list(sums)
            for step in range(count):
                line = b.load(FLOAT, width, here[1], 4 * c_k * step)
                for at in range(part.lanes):
                    one = b.load_splat(FLOAT, width, here[0], 4 * (row * at + a_k * step))
                    sums[at] = ops.add(sums[at], ops.mul(one, line))
            return sums

        walks = [Walk(left, 4 * a_k * UNROLL), Walk(self.right, 4 * c_k * UNROLL)]
        sums = self._summed(k, UNROLL, walks, part.lanes, width, steps)
        lanes = [[number + width * at for at in range(part.lanes)] for number in range(n)]
        picked = [(each * part.width)[: part.width] for each in lanes]
        return [b.shuffle(FLOAT, width, sums[0], sums[-1], lane) for lane in picked]

    def _summed(self, k: int, block: int, walks: list[Walk[H]], count: int, width: int, steps: Step[H]) -> list[H]:
        """Return the sums after all steps of k, `block` at a time."""
        b = self.b
        zero = Carried(FLOAT, width, b.vectors(width).constant(0))
        sums = b.loop(k // block, lambda _, here, sums: steps(here, block, sums), walks, [zero] * count)
        if k % block:
            moved = [b.at(walk.start, k // block * walk.step) for walk in walks]
            sums = steps(moved, k % block, sums)
        return list(sums)
