"""Matrix product for operands that fit in cache, with a fused chain on every finished tile.

Accumulators stay in registers for the whole sum, k ascending from +0, product and sum rounded by themselves. B is read
where it lies when its columns are neighbours and few rows meet them, or packed in panels first; A is read where it
lies, one element broadcast to all lanes. Rows are divided evenly over the tiles, so there are at most two heights, and
columns into whole panels and one rest: at most four tiles are emitted.
"""

from collections.abc import Callable
from typing import NamedTuple

from synaptic_mesh.engine.native.chain import Chain, Part, Strides, parts_of
from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.values import FLOAT, Value, VectorOps
from synaptic_mesh.engine.nest.builder import POINTER
from synaptic_mesh.engine.nest.columns import load_columns
from synaptic_mesh.engine.wasm.chain import is_cheap

NARROW_ROWS_MAX = 10
"""Rows of a tile that is one vector wide."""
ROW_VECTORS_MAX = 8
"""Vectors of a tile in one row: enough independent sums to hide the latency of an addition."""
PACK_ROWS_MIN = 64
"""Rows of A from which packing B in panels pays."""
PACK_BYTES_MIN = 128 << 10
"""Extent of B in memory from which packing it pays."""
BLOCK_BYTES = 512 << 10
"""Rows of A that are kept in the second-level cache while they meet every panel."""
UNROLL_SUMS = 8
"""With fewer accumulators than this, or with one row, whose operand comes from the second-level cache as fast as the
core can ask for it, several steps of k stand in one iteration."""
UNROLL = 4


class Product(NamedTuple):
    """C[m, n] = sum over k; strides are bytes."""

    m: int
    k: int
    n: int
    a_row: int
    a_k: int
    b_k: int
    b_column: int

    def columns(self, profile: Profile) -> int:
        """Columns of a full panel."""
        vectors = -(-self.n // profile.lanes)
        most = profile.tile_vectors if self.m >= profile.tile_rows else profile.accumulators // max(self.m, 1)
        return profile.lanes * max(1, min(vectors, most, ROW_VECTORS_MAX))

    def rows(self, profile: Profile) -> int:
        """Most rows of a tile."""
        vectors = self.columns(profile) // profile.lanes
        return min(self.m, NARROW_ROWS_MAX if vectors == 1 else profile.accumulators // vectors)

    def packs_right(self) -> bool:
        """B is packed when its columns are not neighbours, or when its panels are read often and lie far apart."""
        if self.b_column != 4 and self.n > 1:
            return True
        return self.m >= PACK_ROWS_MIN and self.k * self.b_k >= PACK_BYTES_MIN

    def workspace_bytes(self, profile: Profile) -> int:
        """Scratch memory of packed panels, and room behind them."""
        panel = self.columns(profile)
        return (-(-self.n // panel) * panel * 4 * self.k if self.packs_right() else 0) + 64


class Run(NamedTuple):
    """Tiles of equal height one after another, from row `first` on."""

    first: int
    height: int
    tiles: int


def divide(total: int, most: int) -> list[Run]:
    """Return `total` rows as tiles of at most `most`, as even as can be."""
    tiles = -(-total // most)
    height, taller = divmod(total, tiles)
    runs = [Run(0, height + 1, taller), Run((height + 1) * taller, height, tiles - taller)]
    return [run for run in runs if run.tiles]


def emit_product(
    f: Function, profile: Profile, product: Product, pointers: tuple[str, str, str], chain: Chain, flags: str
) -> None:
    """Emit the kernel for m, n >= 1 (k = 0 gives zeros through the chain); pointers: A, B, workspace."""
    emitter = _Product(f, profile, product, pointers, chain)
    if product.packs_right() and product.k:
        emitter.pack_right()
    chain.finish(flags, emitter.blocks(chain.start()))


class _Product:
    def __init__(
        self, f: Function, profile: Profile, product: Product, pointers: tuple[str, str, str], chain: Chain
    ) -> None:
        self.f = f
        self.profile = profile
        self.product = product
        self.a, self.b, self.work = pointers
        self.chain = chain
        self.panel = product.columns(profile)
        self.packed = product.packs_right()
        self.cheap = is_cheap(chain.graph, chain.kernel)

    # --- panels of B ---

    def each_panel(self, state: str, body: Callable[[Index, list[Part], str], str]) -> str:
        """Call `body(first column, parts, state)` for full panels in a loop and for the last one by itself."""
        n, panel = self.product.n, self.panel
        whole = n // panel * panel
        if whole:
            state = self._looped(
                0, whole, panel, state, lambda column, now: body(column, parts_of(panel, self.profile.lanes), now)
            )
        if n > whole:
            state = body(whole, parts_of(n - whole, self.profile.lanes), state)
        return state

    def _looped(self, start: int, stop: int, step: int, state: str, body: Callable[[Index, str], str]) -> str:
        """A loop that carries the state, or just the body where there is one iteration."""
        if stop - start == step:
            return body(start, state)
        if not state:
            self.f.loop(start, stop, step, lambda position, _: [body(position, state)][:0])
            return state
        carry = [(self.chain.state_kind, state)]
        return self.f.loop(start, stop, step, lambda position, values: [body(position, values[0])], carry)[0]

    def pack_right(self) -> None:
        """Panels of B one after another, each k by k; lanes past the edge hold whatever is there."""
        f, product = self.f, self.product

        def panel(column: Index, parts: list[Part], state: str) -> str:
            target = f.at(self.work, f.mul(column, 4 * product.k))
            source = f.at(self.b, f.mul(column, product.b_column))
            step = 4 * sum(part.width for part in parts)
            block = self.profile.lanes if product.b_k == 4 else 1

            def lines(position: Index, count: int) -> None:
                at, to = f.at(source, f.mul(position, product.b_k)), f.at(target, f.mul(position, step))
                for part in parts:
                    for number, line in enumerate(self._lines(at, part, count)):
                        f.store(f"<{part.width} x float>", line, f.at(to, step * number + 4 * part.first))

            def some(position: str, _: list[str]) -> list[str]:
                lines(position, block)
                return []

            whole = product.k // block * block
            f.loop(0, whole, block, some)
            if product.k > whole:
                lines(whole, product.k - whole)
            return state

        self.each_panel("", panel)

    def _lines(self, start: str, part: Part, count: int) -> list[str]:
        """Return the columns of `part` for `count` steps of k, by shuffles where steps of k are neighbours."""
        f, product, kind = self.f, self.product, f"<{part.width} x float>"
        start = f.at(start, product.b_column * part.first)
        if product.b_column == 4:
            return [f.load(kind, f.at(start, product.b_k * step)) for step in range(count)]
        strides = (product.b_column // 4, product.b_k // 4)
        rows = Part(0, part.lanes, part.width)
        found = load_columns(self.chain.b, FLOAT, rows, count, strides, Value(start, POINTER))
        return [found[min(step, len(found) - 1)].text for step in range(count)]

    # --- tiles ---

    def blocks(self, state: str) -> str:
        """Blocks of rows that stay in cache, every panel for each, every tile of the block for each panel."""
        runs = divide(self.product.m, self.product.rows(self.profile))
        tiles = max(1, BLOCK_BYTES // max(1, 4 * self.product.k * runs[0].height))
        for run in runs:
            whole = run.tiles // tiles * tiles
            for first, count, step in ((0, whole, tiles), (whole, run.tiles - whole, run.tiles - whole)):
                if not count:
                    continue
                start, stride = run.first + first * run.height, step * run.height

                def block(row: Index, now: str, run: Run = run, stride: int = stride) -> str:
                    return self._block(row, stride, run.height, now)

                state = self._looped(start, start + count * run.height, stride, state, block)
        return state

    def _block(self, row: Index, rows: int, height: int, state: str) -> str:
        f = self.f

        def panel(column: Index, parts: list[Part], now: str) -> str:
            b_step = 4 * sum(part.width for part in parts) if self.packed else self.product.b_k
            where = (self.work, f.mul(column, 4 * self.product.k)) if self.packed else (self.b, f.mul(column, 4))
            b = f.at(*where)

            def tile(offset: Index, inner: str) -> str:
                return self._tile(f.add(row, offset), column, height, parts, (b, b_step), inner)

            return self._looped(0, rows, height, now, tile)

        return self.each_panel(state, panel)

    def _tile(self, row: Index, column: Index, height: int, parts: list[Part], b: tuple[str, int], state: str) -> str:
        sums = self._sums(self.f.at(self.a, self.f.mul(row, self.product.a_row)), b, height, parts)
        if self.cheap or height * len(parts) == 1:
            return self._finish_straight(row, column, parts, sums, state)
        return self._finish_looped(row, column, height, parts, sums, state)

    def _offsets(self, row: Index, column: Index) -> dict[Strides, Index]:
        f = self.f
        return {s: f.add(f.mul(row, 4 * s[0]), f.mul(column, 4 * s[1])) for s in self.chain.classes()}

    def _finish_straight(self, row: Index, column: Index, parts: list[Part], sums: list[list[str]], state: str) -> str:
        """The chain on every vector. What is the same in all rows, or along a row, is loaded once."""
        offsets = self._offsets(row, column)
        by_part: list[dict[int, Value]] = [{} for _ in parts]
        for number, line in enumerate(sums):
            here = {s: self.f.add(offset, 4 * s[0] * number) for s, offset in offsets.items()}
            for known, part, total in zip(by_part, parts, line, strict=True):
                for leaf, access in self.chain.leaves.items():
                    if access.strides[0] == 0 and leaf not in known:
                        known[leaf] = self.chain.load(access, self.f.at(access.pointer, here[access.strides]), part)
                state = self.chain.emit(here, part, state, known, Value(total, FLOAT))
        return state

    def _finish_looped(
        self, row: Index, column: Index, height: int, parts: list[Part], sums: list[list[str]], state: str
    ) -> str:
        """The chain row by row over a scratch tile: a long one is emitted once for each part."""
        f = self.f
        width = sum(part.width for part in parts)
        scratch = f.allocate(4 * width * height)
        for number, line in enumerate(sums):
            for part, total in zip(parts, line, strict=True):
                kind = f"<{part.width} x float>"
                f.store(kind, total, f.at(scratch, 4 * (number * width + part.first)))

        def one(number: Index, now: str) -> str:
            here = self._offsets(f.add(row, number), column)
            line = f.at(scratch, f.mul(number, 4 * width))
            for part in parts:
                total = f.load(f"<{part.width} x float>", f.at(line, 4 * part.first))
                now = self.chain.emit(here, part, now, {}, Value(total, FLOAT))
            return now

        return self._looped(0, height, 1, state, one)

    def _sums(self, a: str, b: tuple[str, int], height: int, parts: list[Part]) -> list[list[str]]:
        """Return the accumulators after all k products."""
        f, product, (start, b_step) = self.f, self.product, b
        kinds = [f"<{part.width} x float>" for part in parts]
        unroll = UNROLL if height == 1 or height * len(parts) < UNROLL_SUMS else 1
        whole = product.k // unroll * unroll

        def body(position: str, values: list[str]) -> list[str]:
            left, right = f.at(a, f.mul(position, product.a_k)), f.at(start, f.mul(position, b_step))
            for step in range(unroll):
                values = self._step(f.at(left, step * product.a_k), f.at(right, step * b_step), height, parts, values)
            return values

        sums = f.loop(0, whole, unroll, body, [(kind, "zeroinitializer") for _ in range(height) for kind in kinds])
        for step in range(whole, product.k):
            sums = self._step(f.at(a, step * product.a_k), f.at(start, step * b_step), height, parts, sums)
        return [sums[number * len(parts) : (number + 1) * len(parts)] for number in range(height)]

    def _step(self, a: str, b: str, height: int, parts: list[Part], sums: list[str]) -> list[str]:
        f = self.f
        columns = [f.load(f"<{part.width} x float>", f.at(b, 4 * part.first)) for part in parts]
        after = []
        for row in range(height):
            one = f.load("float", f.at(a, row * self.product.a_row))
            splats = {part.width: f.splat(one, FLOAT, part.width) for part in parts}
            for number, (part, column) in enumerate(zip(parts, columns, strict=True)):
                ops = VectorOps(f, self.profile, part.width)
                product = ops.mul(Value(splats[part.width], FLOAT), Value(column, FLOAT))
                after.append(ops.add(Value(sums[row * len(parts) + number], FLOAT), product).text)
        return after
