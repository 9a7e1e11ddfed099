"""The page is the law: its code is executed here and compared with the reference, bit for bit."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.arrays import canonical_bytes
from synaptic_mesh.engine.functions.convolution import raw_conv
from synaptic_mesh.engine.functions.elementwise import cos, sin, threefry
from synaptic_mesh.engine.functions.indexing import gather_last, scatter_add_last
from synaptic_mesh.engine.functions.movement import concat, pad, place
from synaptic_mesh.engine.functions.order import cumsum, top_k_indices
from synaptic_mesh.engine.functions.scan import scan
from synaptic_mesh.engine.geometry import ConvGeometry, Stride
from synaptic_mesh.engine.golden_inputs import AWKWARD_BITS, INTEGERS
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import Attributes, DType, Op
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import gather, matmul, one_hot, scatter_add, spec_of, trace

PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "semantics.md"
f32 = np.float32


def load_page():
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    namespace = {"np": np, "f32": np.float32}
    exec("\n".join(code), namespace)
    return namespace


LAW = load_page()
_bits = np.array(AWKWARD_BITS, np.uint32)
SPECIAL = np.concatenate([_bits, _bits | np.uint32(0x80000000)]).view(np.float32)
NEAR = uniform(0, "page", (64,), 11.0)


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def run(function, **inputs):
    graph = trace(function, {name: spec_of(array) for name, array in inputs.items()})
    return ReferenceBackend().compile(graph)(inputs)["output"]


def assert_same_bits(found, expected, dtype=np.float32):
    expected = np.array(expected, dtype).reshape(found.shape)
    assert found.dtype == expected.dtype
    assert canonical_bytes(found) == canonical_bytes(expected), f"{found}\n{expected}"


def unary(op):
    return lambda x: x.builder.add(op, [x], x.shape, x.dtype)


def binary(op):
    return lambda a, b: a.builder.add(op, [a, b], a.shape, a.dtype)


def compare(op):
    def build(a, b):
        mask = a.builder.add(op, [a, b], a.shape, DType.BOOL)
        ones, zeros = a.builder.constant(1, a.shape, DType.I32), a.builder.constant(0, a.shape, DType.I32)
        return a.builder.add(Op.SELECT, [mask, ones, zeros], a.shape, DType.I32)

    return build


def law(op):
    return LAW.get(op.value) or LAW[op.value + "_"]


UNARY = [
    *(Op.NEG, Op.ABS, Op.SQRT, Op.FLOOR, Op.ROUND),
    *(Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID, Op.ERF, Op.SIN, Op.COS),
]
BINARY = [Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MIN, Op.MAX, Op.POW]
COMPARE = [Op.LT, Op.LE, Op.EQ]
OTHER = {
    Op.SELECT: "select",
    Op.CONVERT: "convert_f32_to_i32",
    Op.REDUCE_SUM: "sum_last",
    Op.REDUCE_MAX: "reduce_max",
    Op.ARGMAX: "argmax",
    Op.MATMUL: "matmul",
    Op.ONE_HOT: "one_hot",
    Op.GATHER: "gather",
    Op.SCATTER_ADD: "scatter_add",
    Op.GATHER_LAST: "gather_last",
    Op.SCATTER_ADD_LAST: "scatter_add_last",
    Op.CUMSUM: "cumsum",
    Op.TOP_K: "top_k",
    Op.CONV: "conv",
    Op.SLICE: "slice_",
    Op.PAD: "pad",
    Op.AND: "and_",
    Op.OR: "or_",
    Op.XOR: "xor",
    Op.SHIFT_LEFT: "shift_left",
    Op.SHIFT_RIGHT: "shift_right_u32",
    Op.BITCAST: "bitcast_from_f32",
    Op.THREEFRY: "threefry",
    Op.SCAN: "scan",
}
MOVES = {Op.INPUT, Op.CONSTANT, Op.BROADCAST, Op.RESHAPE, Op.TRANSPOSE, Op.CONCAT}


def test_every_operation_is_on_the_page():
    assert {*UNARY, *BINARY, *COMPARE, *OTHER, *MOVES} == set(Op)
    assert all(name in LAW for name in OTHER.values())
    text = PAGE.read_text()
    assert all(f"`{op.value}" in text for op in MOVES)


@pytest.mark.parametrize("op", UNARY)
def test_unary(op):
    small, anything = uniform(0, "page/small", (300,), 1.0), random_u32(0, "page/bits", 300).view(np.float32)
    values = np.concatenate([SPECIAL, NEAR, small, anything])
    assert_same_bits(run(unary(op), x=values), [law(op)(x) for x in values])


@pytest.mark.parametrize("op", BINARY)
def test_binary(op):
    pairs = np.array(list(itertools.product(SPECIAL, SPECIAL)), np.float32)
    found = run(binary(op), a=pairs[:, 0].copy(), b=pairs[:, 1].copy())
    assert_same_bits(found, [law(op)(a, b) for a, b in pairs])


@pytest.mark.parametrize("op", COMPARE)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint32])
def test_compare(op, dtype):
    values = SPECIAL if dtype == np.float32 else np.array(INTEGERS, np.uint32).view(dtype)
    pairs = np.array(list(itertools.product(values, values)), dtype)
    found = run(compare(op), a=pairs[:, 0].copy(), b=pairs[:, 1].copy())
    assert_same_bits(found, [law(op)(a, b) for a, b in pairs], np.int32)


@pytest.mark.parametrize("op", [Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX])
@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_integers_wrap(op, dtype):
    pairs = list(itertools.product(np.array(INTEGERS, np.uint32).view(dtype).tolist(), repeat=2))
    a, b = (np.array(column, dtype) for column in zip(*pairs, strict=True))
    function = {Op.MIN: min, Op.MAX: max}.get(op, law(op))
    expected = np.array([function(x, y) & 0xFFFFFFFF for x, y in pairs], np.uint32).view(dtype)
    assert_same_bits(run(binary(op), a=a, b=b), expected, dtype)


def test_select_keeps_bits():
    a, b = SPECIAL, SPECIAL[::-1].copy()

    def build(a, b):
        mask = a.builder.add(Op.LT, [a, b], a.shape, DType.BOOL)
        return a.builder.add(Op.SELECT, [mask, a, b], a.shape, DType.F32)

    assert_same_bits(run(build, a=a, b=b), [LAW["select"](LAW["lt"](x, y), x, y) for x, y in zip(a, b, strict=True)])


def test_the_power_of_drawn_pairs():
    bases = np.concatenate([np.abs(NEAR), NEAR, random_u32(1, "page/base", 400).view(np.float32)])
    exponents = np.concatenate([NEAR[::-1], np.rint(NEAR), uniform(1, "page/exponent", (400,), 40.0)])
    assert_same_bits(
        run(lambda a, b: a**b, a=bases, b=exponents), [LAW["pow_"](*p) for p in zip(bases, exponents, strict=True)]
    )


def test_angles_of_every_size():
    turns = (np.arange(-50, 51) * (np.pi / 2)).astype(np.float32)
    ends = np.array([32768, 32768.004, -32768, 32000.5], np.float32)
    values = np.concatenate([turns, ends, uniform(2, "page/angles", (300,), 33000.0)])
    assert_same_bits(run(sin, x=values), [LAW["sin"](x) for x in values])
    assert_same_bits(run(cos, x=values), [LAW["cos"](x) for x in values])


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_bits(dtype):
    values = np.concatenate([np.array(INTEGERS, np.uint32), random_u32(0, "page/words", 20)]).view(dtype)
    a, b = values[:-1], values[1:]
    for name, function in (("and_", lambda a, b: a & b), ("or_", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
        expected = [LAW[name](int(x), int(y)) for x, y in zip(a, b, strict=True)]
        assert_same_bits(run(function, a=a, b=b), expected, dtype)
    for count in (0, 1, 7, 31):
        left = np.array([LAW["shift_left"](int(x) & 0xFFFFFFFF, count) for x in a], np.uint32).view(dtype)
        assert_same_bits(run(lambda a, count=count: a << count, a=a), left, dtype)
        right = [LAW["shift_right_i32" if dtype is np.int32 else "shift_right_u32"](int(x), count) for x in a]
        assert_same_bits(run(lambda a, count=count: a >> count, a=a), right, dtype)
    found = run(lambda a: a.bitcast(DType.F32), a=a)
    assert_same_bits(found, [LAW["bitcast_to_f32"](int(x) & 0xFFFFFFFF) for x in a])


def test_bits_of_numbers():
    values = np.concatenate([SPECIAL, random_u32(0, "page/patterns", 200).view(np.float32)])
    found = run(lambda x: x.bitcast(DType.U32), x=values)
    assert_same_bits(found, [LAW["bitcast_from_f32"](x) for x in values], np.uint32)
    assert run(lambda x: x.bitcast(DType.I32), x=values).view(np.uint32).tolist() == found.tolist()


def test_threefry():
    first, second = random_u32(0, "page/first", 9), random_u32(0, "page/second", 9)
    key = (0x13198A2E, 0xFFFFFFFF)
    found = run(lambda a, b: threefry(a, b, key), a=first, b=second)
    assert_same_bits(
        found, [LAW["threefry"](int(a), int(b), key) for a, b in zip(first, second, strict=True)], np.uint32
    )


@pytest.mark.parametrize(
    ("counter", "key", "word"),
    [
        ((0, 0), (0, 0), 0x6B200159),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), 0x1CB996FC),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), 0xC4923A9C),
    ],
)
def test_threefry_gives_the_published_words(counter, key, word):
    """The known answers of Random123 1.14 for threefry2x32, 20 rounds."""
    assert LAW["threefry"](*counter, key) == word


def test_convert():
    values = np.concatenate([SPECIAL, NEAR, uniform(0, "page/convert", (64,), 4e9)])
    found = run(lambda x: x.convert(DType.I32), x=values)
    assert_same_bits(found, [LAW["convert_f32_to_i32"](x) for x in values], np.int32)
    integers = np.concatenate([np.array(INTEGERS, np.uint32), random_u32(0, "page/i", 99)]).view(np.int32)
    found = run(lambda x: x.convert(DType.F32), x=integers)
    assert_same_bits(found, [LAW["convert_i32_to_f32"](int(n)) for n in integers])


@pytest.mark.parametrize("extent", [0, 1, 2, 15, 16, 17, 33, 50])
@pytest.mark.parametrize("lead", [(), (3,), (2, 2)])
def test_reduce_the_last_axis(lead, extent):
    x = uniform(1, f"page/{lead}{extent}", (*lead, extent), 100.0)
    rows = x.reshape(int(np.prod(lead)), extent)
    assert_same_bits(run(lambda x: x.sum(-1), x=x), [LAW["sum_last"](row, f32(0)) for row in rows])
    assert_same_bits(run(lambda x: x.max(-1), x=x), [LAW["reduce_max"](row) for row in rows])


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (37, 5), (2, 19, 3), (5, 4, 0), (4, 1, 1)])
def test_reduce_another_axis(shape):
    x = uniform(1, f"page/{shape}", shape, 100.0)
    for axis in range(len(shape) - 1):
        kept = x.size // shape[axis] if shape[axis] else int(np.prod(shape[:axis] + shape[axis + 1 :]))
        columns = np.moveaxis(x, axis, -1).reshape(kept, shape[axis])
        found = run(lambda x, axis=axis: x.sum(axis), x=x)
        assert_same_bits(found, [LAW["sum_ascending"](column, f32(0)) for column in columns])


def test_sums_of_negative_zeros_are_positive():
    zeros = np.full((3, 3), -0.0, np.float32)
    for axis in (0, 1):
        assert_same_bits(run(lambda x, axis=axis: x.sum(axis), x=zeros), [0.0, 0.0, 0.0])


def test_integer_sums_wrap():
    x = np.array([2**31 - 1, 1, 5], np.int32)
    assert_same_bits(run(lambda x: x.sum(0), x=x), [LAW["wrap"](LAW["sum_last"](x.tolist(), 0))], np.int32)


def test_max_and_argmax_of_awkward_rows():
    drawn = random_u32(3, "page/rows", 60 * 4) % np.uint32(SPECIAL.size)
    zeros = np.array([[-0.0, 0.0, -0.0, 0.0], [0.0, -0.0, -1.0, 0.0], [-1.0, -0.0, 0.0, -1.0]], np.float32)
    rows = np.concatenate([SPECIAL[drawn].reshape(60, 4), zeros])
    assert_same_bits(run(lambda x: x.max(1), x=rows), [LAW["reduce_max"](row) for row in rows])
    assert_same_bits(run(lambda x: x.argmax(1), x=rows), [LAW["argmax"](row) for row in rows], np.int32)
    found = run(lambda x: x.argmax(0), x=rows.T.copy())
    assert_same_bits(found, [LAW["argmax"](row) for row in rows], np.int32)


def test_running_sums():
    x = uniform(1, "page/cumsum", (7, 5), 100.0)
    assert_same_bits(run(lambda x: cumsum(x, 1), x=x), [LAW["cumsum"](row, f32(0)) for row in x])
    found = run(lambda x: cumsum(x, 0), x=x).T.copy()
    assert_same_bits(found, [LAW["cumsum"](column, f32(0)) for column in x.T])
    assert_same_bits(run(lambda x: cumsum(x, 0), x=np.full(3, -0.0, np.float32)), [0.0, 0.0, 0.0])
    big = np.array([2**31 - 1, 5, -7], np.int32)
    assert_same_bits(
        run(lambda x: cumsum(x, 0), x=big), [LAW["wrap"](n) for n in LAW["cumsum"](big.tolist(), 0)], np.int32
    )


def test_ranking():
    drawn = random_u32(5, "page/ranks", 40 * 6) % np.uint32(SPECIAL.size)
    rows = SPECIAL[drawn].reshape(40, 6)
    for k in (0, 1, 3, 6):
        found = run(lambda x, k=k: top_k_indices(x, k, 1), x=rows)
        assert_same_bits(found, [LAW["top_k"](row, k) for row in rows], np.int32)
    found = run(lambda x: top_k_indices(x, 4, 0), x=rows.T.copy()).T.copy()
    assert_same_bits(found, [LAW["top_k"](row, 4) for row in rows], np.int32)


@pytest.mark.parametrize("shape", [(2, 0, 3), (1, 1, 1), (3, 5, 4), (4, 20, 3), (0, 2, 2), (40, 3, 2)])
@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=2)))
def test_matmul(shape, flags):
    m, k, n = shape
    a, b = uniform(0, f"page/a{shape}", (m, k), 2.0), uniform(0, f"page/b{shape}", (k, n), 2.0)
    stored_a, stored_b = a.T.copy() if flags[0] else a, b.T.copy() if flags[1] else b
    found = run(lambda a, b: matmul(a, b, transpose_left=flags[0], transpose_right=flags[1]), a=stored_a, b=stored_b)
    assert_same_bits(found, [[LAW["matmul"](a[i], b[:, j]) for j in range(n)] for i in range(m)])


def test_matmul_of_a_block_boundary():
    """Accumulators larger than one block of the reference."""
    a, b = uniform(0, "page/block/a", (90, 2), 2.0), uniform(0, "page/block/b", (2, 700), 2.0)
    assert_same_bits(run(lambda a, b: a @ b, a=a, b=b), (0 + a[:, :1] * b[:1]) + a[:, 1:] * b[1:])


def test_batched_matmul():
    a, b = uniform(0, "page/batch/a", (2, 3, 4, 5), 2.0), uniform(0, "page/batch/b", (2, 3, 5, 2), 2.0)
    found = run(matmul, a=a, b=b)
    for at in np.ndindex(2, 3):
        assert_same_bits(found[at], [[LAW["matmul"](row, b[at][:, j]) for j in range(2)] for row in a[at]])


@pytest.mark.parametrize(
    "geometry",
    [
        ConvGeometry((0, 0), (1, 1), (1, 1), (1, 1), 1),
        ConvGeometry((-1, -2), (2, 3), (1, 2), (1, 1), 2),
        ConvGeometry((1, -3), (1, 2), (2, 1), (2, 3), 2),
    ],
)
def test_conv(geometry):
    x = uniform(0, "page/conv/x", (2, 4, 5, 6), 2.0)
    w = uniform(0, "page/conv/w", (6, 4 // geometry.groups, 2, 3), 2.0)
    x[0, 0, 0, 0], w[0, 0, 0, 0] = -0.0, np.inf  # +0 outside times infinity is NaN
    found = run(lambda x, w: raw_conv(x, w, geometry, (4, 5)), x=x, w=w)
    expected = [LAW["conv"](x, w, *at, *geometry) for at in np.ndindex(2, 6, 4, 5)]
    assert_same_bits(found, expected)


def test_lines_of_indices():
    index = np.array([[2, 0, 2], [1, 1, 1]], np.int32)
    x, updates = uniform(0, "page/lines", (2, 4), 1.0), uniform(0, "page/lines/u", (2, 3), 1.0)
    assert_same_bits(
        run(lambda x, i: gather_last(x, i), x=x, i=index), [LAW["gather_last"](x[r], index[r]) for r in range(2)]
    )
    found = run(lambda u, i: scatter_add_last(u, i, 4), u=updates, i=index)
    assert_same_bits(found, [LAW["scatter_add_last"](updates[r], index[r], 4) for r in range(2)])


def test_indexing():
    index = np.array([2, 0, 2, 4], np.int32)
    table, updates = uniform(0, "page/table", (5, 3), 1.0), uniform(0, "page/updates", (4, 3), 1.0)
    assert_same_bits(run(lambda i: one_hot(i, 5), i=index), [LAW["one_hot"](i, 5) for i in index])
    assert_same_bits(run(gather, table=table, index=index), LAW["gather"](table, index))
    found = run(lambda updates, index: scatter_add(updates, index, 5), updates=updates, index=index)
    assert_same_bits(found, LAW["scatter_add"](updates, index, 5, 3))


@pytest.mark.parametrize(
    ("start", "step", "count"), [(0, 1, 9), (2, 3, 3), (8, -1, 9), (7, -4, 2), (4, 1, 0), (3, 1, 1)]
)
def test_slices_and_pads(start, step, count):
    x = uniform(0, "page/slice", (9,), 1.0)
    found = run(lambda x: x.strided((start,), (step,), (count,)), x=x)
    assert_same_bits(found, LAW["slice_"](x, start, step, count))
    found = run(lambda x: place(x, Stride((start,), (step,)), (9,), 2.5), x=x[:count])
    assert_same_bits(found, LAW["pad"](x[:count], start, step, 9, f32(2.5)))


def test_slices_and_pads_of_several_axes():
    x = uniform(0, "page/slices", (4, 5), 1.0)
    assert_same_bits(run(lambda x: x[3:0:-2, 1::2], x=x), x[3:0:-2, 1::2])
    wide = np.full((6, 12), 0, np.float32)
    wide[1:5, 2:11:2] = x
    assert_same_bits(run(lambda x: pad(x, (1, 2), (1, 1), (0, 1)), x=x), wide)
    assert_same_bits(run(lambda x: concat([x, x[:, :2]], 1), x=x), np.concatenate([x, x[:, :2]], 1))


def test_movement():
    x = uniform(0, "page/move", (2, 3, 4), 1.0)
    assert_same_bits(
        run(lambda x: x.transpose(2, 0, 1), x=x), [[[x[j, k, i] for k in range(3)] for j in range(2)] for i in range(4)]
    )
    assert_same_bits(run(lambda x: x.reshape(6, 4), x=x), x.ravel())

    def broadcast(v):
        return v.builder.add(Op.BROADCAST, [v], (2, 3, 4, 5), DType.F32, Attributes(axes=(0, 1, 2)))

    assert_same_bits(run(broadcast, v=x), [[[[v] * 5 for v in row] for row in plane] for plane in x])


@pytest.mark.parametrize("reverse", [False, True])
def test_scan(reverse):
    x, w, start = uniform(0, "page/x", (6, 3), 2.0), uniform(0, "page/w", (3,), 2.0), NEAR[:3].copy()

    def step(states, slices):
        after = states["s"] * slices["w"] + slices["x"]
        return {"s": after}, {"a": after * slices["x"], "b": states["s"]}

    def build(x, w, start):
        sequences = {"x": x, "w": w.broadcast_to((6, 3))}
        done = scan(step, {"s": start}, sequences, reverse=reverse, unroll=False)
        parts = [done.states["s"], done.outputs["a"], done.outputs["b"]]
        return concat([part.reshape(part.node.size) for part in parts])

    def body(states, slices, _):
        after = states[0] * slices[1] + slices[0]
        return [after], [after * slices[0], states[0]]

    expected = LAW["scan"](body, 6, reverse, [start], [x, np.broadcast_to(w, (6, 3))], [])
    assert_same_bits(run(build, x=x, w=w, start=start), expected)
