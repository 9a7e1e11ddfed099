"""Packed matrix product for large operands: C = A @ B with any strides on A and B.

Every output is acc = acc + a*b from +0 with k ascending, product and sum rounded by themselves (semantics rule 2).
Vectors and tiles run over outputs only; a k-block reloads C, which is the same accumulator. So no parameter of the
schedule can change a bit.

Schedule: B is packed in panels for a block of `K_BLOCK` steps and `COLUMN_BLOCK` columns that stays in the second-level
cache; A is packed in strips for a block of rows beside it. Edges are computed as full tiles into a scratch tile, of
which the valid part is copied. Extents and strides are parameters: one function serves every product of a graph whose
operands lie the same way.
"""

from collections.abc import Callable
from typing import NamedTuple

from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.values import FLOAT, Value, VectorOps

K_BLOCK = 512
"""Steps of a block: C is read and written once for each."""
ROW_BLOCK_STRIPS = 18
COLUMN_BLOCK = 1024
"""Columns of a block, before they are rounded down to whole panels."""
SCRATCH_ALIGNMENT = 64
CACHE_LINE_BYTES = 64


class Layout(NamedTuple):
    """How operands lie: which axis of each has neighbouring elements ("rows", "columns", or "any" for neither)."""

    left: str
    right: str

    @staticmethod
    def of(a_row: int, a_k: int, b_k: int, b_column: int) -> "Layout":
        """Return the layout for byte strides."""
        left = "columns" if a_k == 4 else "rows" if a_row == 4 else "any"
        return Layout(left, "columns" if b_column == 4 else "rows" if b_k == 4 else "any")


def k_block(k: int) -> int:
    """Return the steps per block for a sum of length k: blocks are even."""
    blocks = max(1, -(-k // K_BLOCK))
    return -(-k // blocks)


def workspace_bytes(profile: Profile, k: int, n: int) -> int:
    """Return how much scratch memory a product needs: panels of B, strips of A, one tile, and room behind them."""
    mr, nr = profile.tile_rows, profile.tile_vectors * profile.lanes
    columns = -(-min(n, _column_block(profile)) // nr) * nr
    return 4 * (k_block(k) * (columns + ROW_BLOCK_STRIPS * mr) + mr * nr) + 4 * SCRATCH_ALIGNMENT


def _column_block(profile: Profile) -> int:
    nr = profile.tile_vectors * profile.lanes
    return max(1, COLUMN_BLOCK // nr) * nr


def gemm_functions(profile: Profile, layout: Layout) -> list[Function]:
    """Return the functions of one layout, the entry last: gemm_L_R(a, a_row, a_k, b, b_k, b_column, c, m, k, n, kc,
    work)."""
    suffix = f"_{layout.left}_{layout.right}"
    tiles = [_micro_kernel(profile, f"tile{v}{suffix}", v) for v in range(1, profile.tile_vectors + 1)]
    left = _pack_left(profile, f"pack_a{suffix}", layout.left)
    right = _pack_right(profile, f"pack_b{suffix}", layout.right)
    return [*tiles, left, right, _gemm(profile, suffix)]


def _micro_kernel(profile: Profile, name: str, nv: int) -> Function:
    """tile(a, b, c, c_stride, steps, first): C tile (+)= packed A strip times the first `nv` vectors of a packed B
    panel. With `first` the accumulators start at +0, else at C."""
    params = [("ptr", "%a"), ("ptr", "%b"), ("ptr", "%c"), ("i64", "%stride"), ("i64", "%steps"), ("i1", "%first")]
    f = Function(name, params, inline=False)
    ops = VectorOps(f, profile, profile.lanes)
    mr, size = profile.tile_rows, 4 * profile.lanes
    rows = ["%c"]
    for _ in range(mr - 1):
        rows.append(f.at(rows[-1], "%stride"))
    zero, loaded = f.label(), f.label()
    f.line(f"br i1 %first, label %{zero}, label %{loaded}")
    f.start(loaded)
    before = [f.load(ops.float, f.at(row, size * v)) for row in rows for v in range(nv)]
    f.line(f"br label %{zero}")
    f.start(zero)
    sums = [f.value(f"phi {ops.float} [ zeroinitializer, %entry ], [ {value}, %{loaded} ]") for value in before]

    def step(_: str, values: list[str]) -> list[str]:
        a, b, sums = values[0], values[1], values[2:]
        columns = [f.load(ops.float, f.at(b, size * v), size) for v in range(nv)]
        after = []
        for row in range(mr):
            one = Value(f.splat(f.load("float", f.at(a, 4 * row)), FLOAT, profile.lanes), FLOAT)
            for v, column in enumerate(columns):
                product = ops.mul(one, Value(column, FLOAT))
                after.append(ops.add(Value(sums[row * nv + v], FLOAT), product).text)
        return [f.at(a, 4 * mr), f.at(b, size * profile.tile_vectors), *after]

    below = f.mul("%stride", mr)
    for row in rows:  # C below this tile is next: it is on its way while this tile is computed
        for at in range(0, size * nv, CACHE_LINE_BYTES):
            f.line(f"call void @llvm.prefetch.p0(ptr {f.at(f.at(row, below), at)}, i32 0, i32 3, i32 1)")
    carried = [("ptr", "%a"), ("ptr", "%b"), *((ops.float, value) for value in sums)]
    done = f.loop(0, "%steps", 1, step, carried)[2:]
    for number, value in enumerate(done):
        f.store(ops.float, value, f.at(rows[number // nv], size * (number % nv)))
    return f


def _pack_left(profile: Profile, name: str, layout: str) -> Function:
    """pack(source, row stride, k stride, steps, rows, target): strips of `tile_rows` rows, k by k. Rows beyond the last
    repeat it, or hold whatever lies behind it."""
    params = [("ptr", "%source"), ("i64", "%row"), ("i64", "%k"), ("i64", "%steps"), ("i64", "%rows"), ("ptr", "%to")]
    f = Function(name, params, inline=False)
    mr = profile.tile_rows
    last = f.sub("%rows", 1)

    def strip(position: str, values: list[str]) -> list[str]:
        if layout == "rows":
            start = f.at("%source", f.mul(position, 4))
            _pack_vectors(f, start, values[0], mr)
        else:
            rows = [f.at("%source", f.mul(f.least(f.add(position, row), last), "%row")) for row in range(mr)]
            done: Index = 0
            if layout == "columns":
                done = f.value("and i64 %steps, -4")
                f.loop(0, done, 4, lambda k, _: _transpose(f, rows, k, values[0]))
            f.loop(done, "%steps", 1, lambda k, _: _pack_scalars(f, rows, k, values[0]))
        return [f.at(values[0], f.mul("%steps", 4 * mr))]

    f.loop(0, "%rows", mr, strip, [("ptr", "%to")])
    return f


def _pack_vectors(f: Function, start: str, target: str, mr: int) -> None:
    """Rows are neighbours: copy `mr` of them for each k."""
    widths = [4] * (mr // 4) + [2] * (mr % 4 // 2)

    def step(k: str, _: list[str]) -> list[str]:
        at, to, done = f.at(start, f.mul(k, "%k")), f.at(target, f.mul(k, 4 * mr)), 0
        for width in widths:
            f.store(f"<{width} x float>", f.load(f"<{width} x float>", f.at(at, 4 * done)), f.at(to, 4 * done))
            done += width
        return []

    f.loop(0, "%steps", 1, step)


def _pack_scalars(f: Function, rows: list[str], k: str, target: str) -> list[str]:
    offset = f.mul(k, "%k")
    to = f.at(target, f.mul(k, 4 * len(rows)))
    for number, row in enumerate(rows):
        f.store("float", f.load("float", f.at(row, offset)), f.at(to, 4 * number))
    return []


def _transpose(f: Function, rows: list[str], k: str, target: str) -> list[str]:
    """Four steps of k at once, four rows at a time."""
    offset = f.mul(k, 4)
    for first in range(0, len(rows), 4):
        group = rows[first : first + 4]
        lines = [f.load("<4 x float>", f.at(row, offset)) for row in (group * 4)[:4]]
        low, high = (0, 4, 1, 5), (2, 6, 3, 7)
        pairs = [(f.lanes(a, FLOAT, 4, p, b)) for p in (low, high) for a, b in ((lines[0], lines[1]), lines[2:])]
        for step in range(4):
            half = (0, 1, 4, 5) if step % 2 == 0 else (2, 3, 6, 7)
            column = f.lanes(pairs[step // 2 * 2], FLOAT, 4, half, pairs[step // 2 * 2 + 1])
            to = f.at(target, f.mul(f.add(k, step), 4 * len(rows)))
            f.store_lanes(column, FLOAT, 4, len(group), f.at(to, 4 * first))
    return []


def _pack_right(profile: Profile, name: str, layout: str) -> Function:
    """pack(source, k stride, column stride, steps, columns, target): panels, k by k. Columns beyond the last repeat it,
    or hold whatever lies behind it."""
    params = [("ptr", "%source"), ("i64", "%k"), ("i64", "%column"), ("i64", "%steps"), ("i64", "%columns")]
    f = Function(name, [*params, ("ptr", "%to")], inline=False)
    nv, size = profile.tile_vectors, 4 * profile.lanes
    nr = nv * profile.lanes
    kind = f"<{profile.lanes} x float>"
    last = f.sub("%columns", 1)

    def panel(position: str, values: list[str]) -> list[str]:
        target = values[0]
        if layout == "columns":
            start = f.at("%source", f.mul(position, 4))

            def line(k: str, _: list[str]) -> list[str]:
                row, to = f.at(start, f.mul(k, "%k")), f.at(target, f.mul(k, 4 * nr))
                for v in range(nv):
                    f.store(kind, f.load(kind, f.at(row, size * v)), f.at(to, size * v), size)
                return []

            f.loop(0, "%steps", 1, line)
        else:
            columns = [f.at("%source", f.mul(f.least(f.add(position, j), last), "%column")) for j in range(nr)]
            done: Index = 0
            if layout == "rows":
                done = f.value("and i64 %steps, -4")
                f.loop(0, done, 4, lambda k, _: _transpose(f, columns, k, target))
            f.loop(done, "%steps", 1, lambda k, _: _pack_scalars(f, columns, k, target))
        return [f.at(target, f.mul("%steps", 4 * nr))]

    f.loop(0, "%columns", nr, panel, [("ptr", "%to")])
    return f


GEMM_PARAMS = (
    *(("ptr", "%a"), ("i64", "%a_row"), ("i64", "%a_k"), ("ptr", "%b"), ("i64", "%b_k"), ("i64", "%b_column")),
    *(("ptr", "%c"), ("i64", "%m"), ("i64", "%k"), ("i64", "%n"), ("i64", "%kc"), ("ptr", "%work")),
)


def _gemm(profile: Profile, suffix: str) -> Function:
    f = Function(f"gemm{suffix}", GEMM_PARAMS, inline=False)
    mr, nr = profile.tile_rows, profile.tile_vectors * profile.lanes
    row_block = ROW_BLOCK_STRIPS * mr
    scratch = "%work"
    strips = f.at(scratch, -(-4 * mr * nr // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT)
    strip_bytes = f.value(f"and i64 {f.add(f.mul('%kc', 4 * row_block), 63)}, -64")
    panels = f.at(strips, strip_bytes)
    stride = f.mul("%n", 4)

    def clipped(start: Index, total: Index, width: Index) -> Index:
        return f.least(f.sub(total, start), width)

    def columns(jc: str, _: list[str]) -> list[str]:
        nc = clipped(jc, "%n", _column_block(profile))

        def steps(p0: str, _: list[str]) -> list[str]:
            kc = clipped(p0, "%k", "%kc")
            first = f.value(f"icmp eq i64 {p0}, 0")
            b = f.at(f.at("%b", f.mul(p0, "%b_k")), f.mul(jc, "%b_column"))
            f.line(f"call void @pack_b{suffix}(ptr {b}, i64 %b_k, i64 %b_column, i64 {kc}, i64 {nc}, ptr {panels})")

            def rows(ic: str, _: list[str]) -> list[str]:
                mc = clipped(ic, "%m", row_block)
                a = f.at(f.at("%a", f.mul(ic, "%a_row")), f.mul(p0, "%a_k"))
                f.line(f"call void @pack_a{suffix}(ptr {a}, i64 %a_row, i64 %a_k, i64 {kc}, i64 {mc}, ptr {strips})")
                block = f.at("%c", f.add(f.mul(ic, stride), f.mul(jc, 4)))
                _tiles(f, profile, suffix, _Block(mc, nc, kc, first, stride, block, strips, panels, scratch))
                return []

            f.loop(0, "%m", row_block, rows)
            return []

        f.loop(0, "%k", "%kc", steps)
        return []

    f.loop(0, "%n", _column_block(profile), columns)
    return f


class _Block(NamedTuple):
    """A block of C: its extents, the steps of k, and where everything lies."""

    mc: Index
    nc: Index
    kc: Index
    first: str
    stride: Index
    c: str
    strips: str
    panels: str
    scratch: str


def _tiles(f: Function, profile: Profile, suffix: str, w: _Block) -> None:
    mr, nr = profile.tile_rows, profile.tile_vectors * profile.lanes

    def panel(jr: str, pb: list[str]) -> list[str]:
        nc = f.least(f.sub(w.nc, jr), nr)
        full_width = f.value(f"icmp eq i64 {nc}, {nr}")

        def strip(ir: str, pa: list[str]) -> list[str]:
            mc = f.least(f.sub(w.mc, ir), mr)
            full = f.value(f"and i1 {full_width}, {f.value(f'icmp eq i64 {mc}, {mr}')}")
            target = f.at(w.c, f.add(f.mul(ir, w.stride), f.mul(jr, 4)))

            def call(c: str, stride: Index, vectors: int) -> Callable[[], None]:
                arguments = f"ptr {pa[0]}, ptr {pb[0]}, ptr {c}, i64 {stride}, i64 {w.kc}, i1 {w.first}"
                return lambda: f.line(f"call void @tile{vectors}{suffix}({arguments})")

            def narrowest(vectors: int) -> None:
                if vectors == profile.tile_vectors:
                    call(w.scratch, 4 * nr, vectors)()
                    return
                covers = f.value(f"icmp ule i64 {nc}, {vectors * profile.lanes}")
                f.branch(covers, call(w.scratch, 4 * nr, vectors), lambda: narrowest(vectors + 1))

            def edge() -> None:
                _copy_tile(f, (w.scratch, 4 * nr), (target, w.stride), mc, nc)
                narrowest(1)
                _copy_tile(f, (target, w.stride), (w.scratch, 4 * nr), mc, nc)

            f.branch(full, call(target, w.stride, profile.tile_vectors), edge)
            return [f.at(pa[0], f.mul(w.kc, 4 * mr))]

        f.loop(0, w.mc, mr, strip, [("ptr", w.strips)])
        return [f.at(pb[0], f.mul(w.kc, 4 * nr))]

    f.loop(0, w.nc, nr, panel, [("ptr", w.panels)])


def _copy_tile(f: Function, target: tuple[str, Index], source: tuple[str, Index], rows: Index, columns: Index) -> None:
    """Copy the valid rows and columns of a tile; both are (address, bytes from row to row)."""

    def row(position: str, _: list[str]) -> list[str]:
        to, at = f.at(target[0], f.mul(position, target[1])), f.at(source[0], f.mul(position, source[1]))

        def one(column: str, _: list[str]) -> list[str]:
            offset = f.mul(column, 4)
            f.store("float", f.load("float", f.at(at, offset)), f.at(to, offset))
            return []

        f.loop(0, columns, 1, one)
        return []

    f.loop(0, rows, 1, row)
