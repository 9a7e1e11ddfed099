"""Packed matrix product for large operands: C = A @ B with any strides on A and B.

Every output is acc = acc + a*b from +0 with k ascending, product and sum rounded by themselves (semantics rule 2).
Vectors and tiles run over outputs only; a k-block reloads C, which is the same accumulator. So no parameter of the
schedule can change a bit.

Schedule: a block of A of `K_BLOCK` steps is packed in strips that stay in the second-level cache; one panel of B after
another is packed and meets every strip. What comes next from far away, the raw panel and the tile of C below, is
asked for while the core multiplies: operands that are in no cache cost little more than those that are. Edges are
computed as full tiles into a scratch tile, of which the valid part is copied. Extents and strides are parameters: one
function serves every product of a graph whose operands lie the same way.
"""

from collections.abc import Callable
from typing import NamedTuple

from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.profile import Profile

K_BLOCK = 512
"""Steps of a block: C is read and written once for each."""
ROW_BLOCK_BYTES = 1 << 20
"""Packed strips of A, which stay in the second-level cache while they meet every panel of B."""
PREFETCH_STEPS = 16
PART_EXTENT_MIN = 64
"""Rows or columns below which a product is not divided further among threads."""
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


def row_block(profile: Profile, m: int, k: int) -> int:
    """Return the rows of A per block: whole strips, blocks are even."""
    most = max(1, ROW_BLOCK_BYTES // (4 * max(1, k_block(k)) * profile.tile_rows))
    strips = -(-max(1, m) // profile.tile_rows)
    blocks = -(-strips // most)
    return -(-strips // blocks) * profile.tile_rows


def workspace_bytes(profile: Profile, m: int, k: int) -> int:
    """Return how much scratch memory a product needs: a tile, a panel of B, strips of A, and room behind them."""
    mr, nr = profile.tile_rows, profile.tile_vectors * profile.lanes
    return _lines(4 * mr * nr) + _lines(4 * k_block(k) * (nr + row_block(profile, m, k))) + 4 * SCRATCH_ALIGNMENT


def _lines(size: int) -> int:
    return -(-size // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT


def gemm_functions(profile: Profile, layout: Layout) -> list[Function]:
    """Return the functions of one layout, the entry last: gemm_L_R(a, a_row, a_k, b, b_k, b_column, c,
    c_stride, m, k, n, kc, mc, work), strides in bytes."""
    suffix = f"_{layout.left}_{layout.right}"
    tiles = [_micro_kernel(profile, f"tile{v}{suffix}", v) for v in range(1, profile.tile_vectors + 1)]
    left = _pack_left(profile, f"pack_a{suffix}", layout.left)
    right = _pack_right(profile, f"pack_b{suffix}", layout.right)
    return [*tiles, left, right, _gemm(profile, layout, suffix)]


def _micro_kernel(profile: Profile, name: str, nv: int) -> Function:
    """tile(a, b, c, c_stride, steps, first, q, q_line, q_half, q_next): C tile (+)= packed A strip times the first `nv`
    vectors of a packed B panel. With `first` the accumulators start at +0, else at C.

    Every `PREFETCH_STEPS` steps of k it asks for a row of the tile below and for eight lines of what is packed next:
    q + i q_line and q + q_half + i q_line for i < 4; then q moves by q_next. Asked for one by one, they arrive while
    the core multiplies; asked for at once, they would hold up its loads."""
    params = [("ptr", "%a"), ("ptr", "%b"), ("ptr", "%c"), ("i64", "%stride"), ("i64", "%steps"), ("i1", "%first")]
    f = Function(name, [*params, ("ptr", "%q"), *(("i64", p) for p in ("%q_line", "%q_half", "%q_next"))], inline=False)
    vector = f"<{profile.lanes} x float>"
    mr, size = profile.tile_rows, 4 * profile.lanes
    rows = ["%c"]
    for _ in range(mr - 1):
        rows.append(f.at(rows[-1], "%stride"))
    zero, loaded = f.label(), f.label()
    f.line(f"br i1 %first, label %{zero}, label %{loaded}")
    f.start(loaded)
    before = [f.load(vector, f.at(row, size * v)) for row in rows for v in range(nv)]
    f.line(f"br label %{zero}")
    f.start(zero)
    sums = [f.value(f"phi {vector} [ zeroinitializer, %entry ], [ {value}, %{loaded} ]") for value in before]

    def step(_: str, values: list[str]) -> list[str]:
        a, b, sums = values[0], values[1], values[2:]
        columns = [f.load(vector, f.at(b, size * v), size) for v in range(nv)]
        after = []
        for row in range(mr):
            one = f.splat(f.load("float", f.at(a, 4 * row)), "float", profile.lanes)
            for v, column in enumerate(columns):
                product = f.value(f"fmul {vector} {one}, {column}")
                after.append(f.value(f"fadd {vector} {sums[row * nv + v]}, {product}"))
        return [f.at(a, 4 * mr), f.at(b, size * profile.tile_vectors), *after]

    def steps(_: str, values: list[str]) -> list[str]:
        below, q, *carried = values
        lines = [f.at(below, offset) for offset in range(0, size * nv + 1, CACHE_LINE_BYTES)]
        for line in (q, f.at(q, "%q_half")):
            lines.append(line)
            lines += [second := f.at(line, "%q_line"), third := f.at(second, "%q_line"), f.at(third, "%q_line")]
        for line in lines:
            _prefetch(f, line)
        done = f.loop(0, PREFETCH_STEPS, 1, step, list(zip(kinds, carried, strict=True)))
        return [f.at(below, "%stride"), f.at(q, "%q_next"), *done]

    kinds = ["ptr", "ptr", *[vector] * len(sums)]
    whole = f.value(f"and i64 %steps, {-PREFETCH_STEPS}")
    below = f.at("%c", f.mul("%stride", mr))
    start = zip(["ptr", "ptr", *kinds], [below, "%q", "%a", "%b", *sums], strict=True)
    middle = f.loop(0, whole, PREFETCH_STEPS, steps, list(start))[2:]
    done = f.loop(whole, "%steps", 1, step, list(zip(kinds, middle, strict=True)))[2:]
    for number, value in enumerate(done):
        f.store(vector, value, f.at(rows[number // nv], size * (number % nv)))
    return f


def _prefetch(f: Function, address: str) -> None:
    """Ask for a line to come to the second-level cache. No address is wrong: a prefetch cannot fault."""
    f.line(f"call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 2, i32 1)")


def _pack_left(profile: Profile, name: str, layout: str) -> Function:
    """pack(source, row stride, k stride, steps, rows, target): a strip of `tile_rows` rows, k by k. Rows beyond the
    last repeat it, or hold whatever lies behind it."""
    params = [("ptr", "%source"), ("i64", "%row"), ("i64", "%k"), ("i64", "%steps"), ("i64", "%rows"), ("ptr", "%to")]
    f = Function(name, params, inline=False)
    mr = profile.tile_rows
    if layout == "rows":
        _pack_vectors(f, "%source", "%to", mr)
        return f
    last = f.sub("%rows", 1)
    rows = [f.at("%source", f.mul(f.least(row, last), "%row")) for row in range(mr)]
    _pack_lines(f, rows, layout == "columns", "%to")
    return f


def _pack_lines(f: Function, lines: list[str], neighbours: bool, target: str) -> None:
    """Copy lines that run along k so that each k has its elements together; `neighbours`: of a line along k."""
    done: Index = 0
    if neighbours:
        done = f.value("and i64 %steps, -4")
        f.loop(0, done, 4, lambda k, _: _transpose(f, lines, k, target))
    f.loop(done, "%steps", 1, lambda k, _: _pack_scalars(f, lines, k, target))


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
        pairs = [(f.lanes(a, "float", 4, p, b)) for p in (low, high) for a, b in ((lines[0], lines[1]), lines[2:])]
        for step in range(4):
            half = (0, 1, 4, 5) if step % 2 == 0 else (2, 3, 6, 7)
            column = f.lanes(pairs[step // 2 * 2], "float", 4, half, pairs[step // 2 * 2 + 1])
            to = f.at(target, f.mul(f.add(k, step), 4 * len(rows)))
            f.store_lanes(column, "float", 4, len(group), f.at(to, 4 * first))
    return []


def _pack_right(profile: Profile, name: str, layout: str) -> Function:
    """pack(source, k stride, column stride, steps, columns, target): a panel, k by k. Columns beyond the last repeat
    it, or hold whatever lies behind it."""
    params = [("ptr", "%source"), ("i64", "%k"), ("i64", "%column"), ("i64", "%steps"), ("i64", "%columns")]
    f = Function(name, [*params, ("ptr", "%to")], inline=False)
    nv, size = profile.tile_vectors, 4 * profile.lanes
    nr = nv * profile.lanes
    kind = f"<{profile.lanes} x float>"
    if layout == "columns":

        def line(k: str, _: list[str]) -> list[str]:
            row, to = f.at("%source", f.mul(k, "%k")), f.at("%to", f.mul(k, 4 * nr))
            for v in range(nv):
                f.store(kind, f.load(kind, f.at(row, size * v)), f.at(to, size * v), size)
            return []

        f.loop(0, "%steps", 1, line)
        return f
    last = f.sub("%columns", 1)
    columns = [f.at("%source", f.mul(f.least(column, last), "%column")) for column in range(nr)]
    _pack_lines(f, columns, layout == "rows", "%to")
    return f


def grid(profile: Profile, m: int, n: int, parts: int) -> tuple[int, int]:
    """Return the rows and columns of a part when C is divided among threads into about `parts` parts, whole tiles each.
    The longer side is divided first: a part packs all that it reads, so it should be square."""
    mr, nr = profile.tile_rows, profile.tile_vectors * profile.lanes
    down, across = 1, 1
    while down * across < parts and max(m // down, n // across) >= 2 * PART_EXTENT_MIN:
        if m // down >= n // across:
            down *= 2
        else:
            across *= 2
    return -(-m // (down * mr)) * mr, -(-n // (across * nr)) * nr


GEMM_PARAMS = (
    *(("ptr", "%a"), ("i64", "%a_row"), ("i64", "%a_k"), ("ptr", "%b"), ("i64", "%b_k"), ("i64", "%b_column")),
    *(("ptr", "%c"), ("i64", "%stride"), ("i64", "%m"), ("i64", "%k"), ("i64", "%n")),
    *(("i64", "%kc"), ("i64", "%mc"), ("ptr", "%work")),
)


def _gemm(profile: Profile, layout: Layout, suffix: str) -> Function:
    """Blocks of k, blocks of A's rows, panels of B; a strip of A is packed just before its first tile."""
    f = Function(f"gemm{suffix}", GEMM_PARAMS, inline=False)
    mr, nr = profile.tile_rows, profile.tile_vectors * profile.lanes
    panel = f.at("%work", _lines(4 * mr * nr))
    strips = f.at(panel, f.mul("%kc", 4 * nr))
    ahead = _ahead(f, layout)

    def steps(p0: str, _: list[str]) -> list[str]:
        kc = f.least(f.sub("%k", p0), "%kc")
        first = f.value(f"icmp eq i64 {p0}, 0")

        def rows(ic: str, _: list[str]) -> list[str]:
            mc = f.least(f.sub("%m", ic), "%mc")
            share = _share(f, layout, kc, mc, mr)

            def columns(jr: str, _: list[str]) -> list[str]:
                nc = f.least(f.sub("%n", jr), nr)
                b = f.at(f.at("%b", f.mul(p0, "%b_k")), f.mul(jr, "%b_column"))
                f.line(f"call void @pack_b{suffix}(ptr {b}, i64 %b_k, i64 %b_column, i64 {kc}, i64 {nc}, ptr {panel})")
                packs = f.value(f"icmp eq i64 {jr}, 0")

                def strip(ir: str, values: list[str]) -> list[str]:
                    pa, q = values
                    height, row = f.least(f.sub(mc, ir), mr), f.add(ic, ir)
                    a = f.at(f.at("%a", f.mul(row, "%a_row")), f.mul(p0, "%a_k"))
                    pack = f"call void @pack_a{suffix}(ptr {a}, i64 %a_row, i64 %a_k, i64 {kc}, i64 {height}, ptr {pa})"
                    f.branch(packs, lambda: f.line(pack))
                    chosen = [f.value(f"select i1 {packs}, i64 {x}, i64 {y}") for x, y in zip(*ahead, strict=True)]
                    start = f.value(f"select i1 {packs}, ptr {f.at(a, f.mul('%a_row', mr))}, ptr {q}")
                    c = f.at("%c", f.add(f.mul(row, "%stride"), f.mul(jr, 4)))
                    _tile(f, profile, suffix, _Tile(height, nc, kc, first, pa, panel, c, "%work", (start, *chosen)))
                    return [f.at(pa, f.mul(kc, 4 * mr)), f.at(q, share)]

                f.loop(0, mc, mr, strip, [("ptr", strips), ("ptr", f.at(b, f.mul("%b_column", nr)))])
                return []

            f.loop(0, "%n", nr, columns)
            return []

        f.loop(0, "%m", "%mc", rows)
        return []

    f.loop(0, "%k", "%kc", steps)
    return f


def _ahead(f: Function, layout: Layout) -> tuple[tuple[Index, ...], tuple[Index, ...]]:
    """Return (q_line, q_half, q_next) that walk the next strip of A and the next panel of B: eight rows line by line
    where k is the neighbour, else four lines of each k (of A, whose strips are narrow, one)."""
    by_row = ("%a_row", f.mul("%a_row", 4), CACHE_LINE_BYTES)
    by_step = ("%a_k", f.mul("%a_k", 4), f.mul("%a_k", 8))
    by_column = ("%b_column", f.mul("%b_column", 4), CACHE_LINE_BYTES)
    by_line = (CACHE_LINE_BYTES, "%b_k", f.mul("%b_k", 2))
    return by_row if layout.left == "columns" else by_step, by_column if layout.right == "rows" else by_line


def _share(f: Function, layout: Layout, kc: Index, mc: Index, mr: int) -> Index:
    """Return how far into the next panel of B each strip's tile looks further: all strips together see it all."""
    if layout.right == "rows":
        return f.mul("%b_column", 8)
    return f.mul(f.value(f"udiv i64 {f.add(f.mul(kc, mr), f.sub(mc, 1))}, {mc}"), "%b_k")


class _Tile(NamedTuple):
    """One tile of C: its extents, the steps of k, where everything lies, and what to prefetch."""

    rows: Index
    columns: Index
    steps: Index
    first: str
    strip: str
    panel: str
    c: str
    scratch: str
    ahead: tuple[str, ...]


def _tile(f: Function, profile: Profile, suffix: str, t: _Tile) -> None:
    """Straight into C when it is full, else through the scratch tile; in as few vectors as cover its columns."""
    mr, lanes, nr = profile.tile_rows, profile.lanes, profile.tile_vectors * profile.lanes
    q, *moves = t.ahead

    def call(c: str, stride: Index, vectors: int) -> None:
        operands = f"ptr {t.strip}, ptr {t.panel}, ptr {c}, i64 {stride}, i64 {t.steps}, i1 {t.first}"
        f.line(f"call void @tile{vectors}{suffix}({operands}, ptr {q}, {', '.join(f'i64 {move}' for move in moves)})")

    def narrowest(vectors: int) -> None:
        if vectors == profile.tile_vectors:
            call(t.scratch, 4 * nr, vectors)
            return
        covers = f.value(f"icmp ule i64 {t.columns}, {vectors * lanes}")
        f.branch(covers, lambda: call(t.scratch, 4 * nr, vectors), lambda: narrowest(vectors + 1))

    def edge() -> None:
        _copy_tile(f, lanes, (t.scratch, 4 * nr), (t.c, "%stride"), t.rows, t.columns)
        narrowest(1)
        _copy_tile(f, lanes, (t.c, "%stride"), (t.scratch, 4 * nr), t.rows, t.columns)

    is_wide, is_high = f.value(f"icmp eq i64 {t.columns}, {nr}"), f.value(f"icmp eq i64 {t.rows}, {mr}")
    full = f.value(f"and i1 {is_wide}, {is_high}")
    f.branch(full, lambda: call(t.c, "%stride", profile.tile_vectors), edge)


def _copy_tile(
    f: Function, lanes: int, target: tuple[str, Index], source: tuple[str, Index], rows: Index, columns: Index
) -> None:
    """Copy the valid rows and columns of a tile; both are (address, bytes from row to row)."""
    whole = f.value(f"and i64 {columns}, {-lanes}")

    def row(position: str, _: list[str]) -> list[str]:
        to, at = f.at(target[0], f.mul(position, target[1])), f.at(source[0], f.mul(position, source[1]))

        def some(kind: str) -> Callable[[str, list[str]], list[str]]:
            def copy(column: str, _: list[str]) -> list[str]:
                offset = f.mul(column, 4)
                f.store(kind, f.load(kind, f.at(at, offset)), f.at(to, offset))
                return []

            return copy

        f.loop(0, whole, lanes, some(f"<{lanes} x float>"))
        f.loop(whole, columns, 1, some("float"))
        return []

    f.loop(0, rows, 1, row)
