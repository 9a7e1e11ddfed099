"""Values and gradients against float64: an independent interpreter of the graph, and central differences through it."""

# ruff: noqa: ARG005  (tables of lambdas with one signature)

import math

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.autodiff import gradients, value_and_grad
from synaptic_mesh.engine.composites import cross_entropy, dense, log_softmax, mean, mse, relu, softmax
from synaptic_mesh.engine.functions.convolution import conv2d, conv_transpose2d
from synaptic_mesh.engine.functions.elementwise import cos, erf, round_even, sin
from synaptic_mesh.engine.functions.indexing import gather_last, scatter_add_last
from synaptic_mesh.engine.functions.movement import concat, pad, split
from synaptic_mesh.engine.functions.order import cumsum, sort, top_k
from synaptic_mesh.engine.functions.pooling import average_pool, max_pool
from synaptic_mesh.engine.geometry import ConvGeometry, Stride
from synaptic_mesh.engine.initializers import uniform
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import (
    Spec,
    exp,
    f32,
    floor,
    gather,
    i32,
    log,
    matmul,
    maximum,
    minimum,
    one_hot,
    scatter_add,
    sigmoid,
    sqrt,
    stop_gradient,
    tanh,
    trace,
    where,
)

STEP = 1e-6
"""Of the central difference in float64: truncation and rounding are both under 1e-8 for these functions."""
RTOL, ATOL = 2e-5, 2e-5
"""A few hundred f32 roundings (6e-8 each) of values near one."""


def _scatter(node, updates, index):
    table = np.zeros(node.shape)
    np.add.at(table, index, updates)
    return table


def _flip(array, flag):
    return array.mT if flag else array


def _field(node, x, w):
    """The input of a convolution, dilated and padded so that tap k of output o lies at o * step + k * kernel_step."""
    g = ConvGeometry.of(node)
    field = x
    for axis in (2, 3):
        i = axis - 2
        spread = np.zeros([(e - 1) * g.input_steps[i] + 1 if a == axis else e for a, e in enumerate(field.shape)])
        spread[(slice(None),) * axis + (slice(None, None, g.input_steps[i]),)] = field
        need = (node.shape[axis] - 1) * g.steps[i] + (w.shape[axis] - 1) * g.kernel_steps[i] + 1
        high = max(need + g.starts[i] - spread.shape[axis], 0)
        widths = [(max(-g.starts[i], 0), high) if a == axis else (0, 0) for a in range(4)]
        field = np.pad(spread, widths)
        field = field[(slice(None),) * axis + (slice(max(g.starts[i], 0), None),)]
    return field


def _conv(node, x, w):
    """By numpy's own einsum over sliding windows."""
    g = ConvGeometry.of(node)
    field = _field(node, x, w)
    spans = [(w.shape[2 + i] - 1) * g.kernel_steps[i] + 1 for i in (0, 1)]
    windows = np.lib.stride_tricks.sliding_window_view(field, spans, (2, 3))
    windows = windows[:, :, :: g.steps[0], :: g.steps[1], :: g.kernel_steps[0], :: g.kernel_steps[1]]
    windows = windows[:, :, : node.shape[2], : node.shape[3]]
    batch, _, height, width = windows.shape[:4]
    apart = windows.reshape(batch, g.groups, -1, height, width, *w.shape[2:])
    taps = w.reshape(g.groups, -1, *w.shape[1:])
    return np.einsum("ngchwij,gocij->ngohw", apart, taps).reshape(node.shape)


def _part(node):
    stride = Stride.of(node)
    return stride.starts, stride.steps


def _pad(node, a):
    out = np.full(node.shape, np.frombuffer(node.attributes.bits, np.float32)[0], np.float64)
    starts, steps = _part(node)
    out[np.ix_(*(s + p * np.arange(e) for s, p, e in zip(starts, steps, a.shape, strict=True)))] = a
    return out


def _slice(node, a):
    starts, steps = _part(node)
    return a[np.ix_(*(s + p * np.arange(e) for s, p, e in zip(starts, steps, node.shape, strict=True)))]


def _scatter_last(node, updates, index):
    out = np.zeros(node.shape)
    for at in np.ndindex(index.shape):
        out[(*at[:-1], index[at])] += updates[at]
    return out


FLOAT64 = {
    Op.ERF: lambda n, a: np.vectorize(math.erf)(a),
    Op.SIN: lambda n, a: np.sin(a),
    Op.COS: lambda n, a: np.cos(a),
    Op.ROUND: lambda n, a: np.rint(a),
    Op.POW: lambda n, a, b: np.power(a, b),
    Op.SLICE: _slice,
    Op.PAD: _pad,
    Op.CONCAT: lambda n, *parts: np.concatenate(parts, n.attributes.axes[0]),
    Op.CUMSUM: lambda n, a: np.cumsum(a, n.attributes.axes[0]),
    Op.TOP_K: lambda n, a: np.moveaxis(
        np.argsort(-np.moveaxis(a, n.attributes.axes[0], -1), -1, kind="stable")[..., : n.shape[n.attributes.axes[0]]],
        -1,
        n.attributes.axes[0],
    ),
    Op.CONV: _conv,
    Op.GATHER_LAST: lambda n, a, i: np.take_along_axis(a, i, -1),
    Op.SCATTER_ADD_LAST: _scatter_last,
    Op.NEG: lambda n, a: -a,
    Op.ABS: lambda n, a: np.abs(a),
    Op.SQRT: lambda n, a: np.sqrt(a),
    Op.FLOOR: lambda n, a: np.floor(a),
    Op.EXP: lambda n, a: np.exp(a),
    Op.LOG: lambda n, a: np.log(a),
    Op.TANH: lambda n, a: np.tanh(a),
    Op.SIGMOID: lambda n, a: 1 / (1 + np.exp(-a)),
    Op.DIV: lambda n, a, b: a / b,
    Op.ADD: lambda n, a, b: a + b,
    Op.SUB: lambda n, a, b: a - b,
    Op.MUL: lambda n, a, b: a * b,
    Op.MIN: lambda n, a, b: np.minimum(a, b),
    Op.MAX: lambda n, a, b: np.maximum(a, b),
    Op.LT: lambda n, a, b: a < b,
    Op.LE: lambda n, a, b: a <= b,
    Op.EQ: lambda n, a, b: a == b,
    Op.SELECT: lambda n, c, a, b: np.where(c, a, b),
    Op.RESHAPE: lambda n, a: a.reshape(n.shape),
    Op.TRANSPOSE: lambda n, a: a.transpose(n.attributes.axes),
    Op.REDUCE_SUM: lambda n, a: a.sum(n.attributes.axes[0]),
    Op.REDUCE_MAX: lambda n, a: a.max(n.attributes.axes[0]),
    Op.MATMUL: lambda n, a, b: _flip(a, n.attributes.transpose_left) @ _flip(b, n.attributes.transpose_right),
    Op.BROADCAST: lambda n, a: np.broadcast_to(
        np.expand_dims(a, tuple(i for i in range(len(n.shape)) if i not in n.attributes.axes)), n.shape
    ),
    Op.ONE_HOT: lambda n, i: np.eye(n.shape[-1])[i],
    Op.GATHER: lambda n, table, i: table[i],
    Op.SCATTER_ADD: _scatter,
}


def evaluate64(graph, inputs):
    """Every output in float64, by numpy's own functions."""
    values = []
    for node in graph.nodes:
        if node.op is Op.INPUT:
            values.append(inputs[node.attributes.name])
        elif node.op is Op.CONSTANT:
            bits = np.frombuffer(node.attributes.bits, np.uint32)
            numbers = bits.view(np.float32).astype(np.float64) if node.dtype is DType.F32 else bits.view(np.int32)
            values.append(np.full(node.shape, numbers[0]) if node.is_splat else numbers.reshape(node.shape))
        else:
            values.append(FLOAT64[node.op](node, *(values[i] for i in node.inputs)))
    return {name: values[i] for name, i in graph.outputs.items()}


def differences(graph, inputs, name):
    """Central differences of output "loss" with respect to every element of input `name`, in float64."""
    result = np.zeros(inputs[name].shape)
    for at in np.ndindex(result.shape):
        sides = []
        for sign in (1, -1):
            moved = {key: np.array(array) for key, array in inputs.items()}
            moved[name][at] += sign * STEP
            sides.append(evaluate64(graph, moved)["loss"])
        result[at] = (sides[0] - sides[1]) / (2 * STEP)
    return result


def check(function, arrays, extra=None):
    """Gradients and value of sum(function * weights) agree with float64."""
    extra = extra or {}
    specs = {name: Spec(array.shape) for name, array in arrays.items()}
    specs |= {name: i32(*array.shape) for name, array in extra.items()}

    def build(**tensors):
        y = function(*tensors.values())
        weights = uniform(9, "weights", y.shape, 1.0)
        loss = (y * y.builder.array(weights)).sum()
        found = gradients(loss, [tensors[name] for name in arrays])
        return {"loss": loss, **{f"d_{name}": g for name, g in zip(arrays, found, strict=True)}}

    graph = trace(build, specs)
    found = ReferenceBackend().compile(graph)({**arrays, **extra})
    exact = {name: array.astype(np.float64) for name, array in arrays.items()} | extra
    np.testing.assert_allclose(found["loss"], evaluate64(graph, exact)["loss"], rtol=RTOL, atol=ATOL)
    for name, array in arrays.items():
        assert found[f"d_{name}"].shape == array.shape
        np.testing.assert_allclose(found[f"d_{name}"], differences(graph, exact, name), rtol=RTOL, atol=ATOL)


A = uniform(0, "autodiff/a", (3, 4), 1.0)
B = uniform(0, "autodiff/b", (3, 4), 1.0)
ROW = uniform(0, "autodiff/row", (4,), 1.0)
POSITIVE = np.abs(A) + np.float32(0.5)
SQUARE = uniform(0, "autodiff/square", (4, 3), 1.0)
CUBE = uniform(0, "autodiff/cube", (2, 3, 4), 1.0)
LABELS = np.array([1, 3, 1], np.int32)
IMAGES = uniform(0, "autodiff/images", (1, 2, 4, 5), 1.0)
KERNELS = uniform(0, "autodiff/kernels", (2, 2, 3, 2), 1.0)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda a: -a, {"a": A}),
        (abs, {"a": A}),
        (sqrt, {"a": POSITIVE}),
        (exp, {"a": A}),
        (log, {"a": POSITIVE}),
        (tanh, {"a": A}),
        (sigmoid, {"a": A}),
        (lambda a: a * floor(a * 3.0), {"a": A}),
        (lambda a, b: a + b, {"a": A, "b": B}),
        (lambda a, b: a - b, {"a": A, "b": ROW}),
        (lambda a, b: a * b, {"a": A, "b": ROW}),
        (lambda a, b: a / b, {"a": A, "b": POSITIVE}),
        (minimum, {"a": A, "b": B}),
        (maximum, {"a": A, "b": B}),
        (lambda a, b: where(a < b, a * 2.0, b * b), {"a": A, "b": B}),
        (lambda a: a.reshape(2, 6), {"a": A}),
        (lambda a: a.transpose(2, 0, 1), {"a": CUBE}),
        (lambda a: a.broadcast_to((2, 3, 4)), {"a": A}),
        (lambda a: a.repeat(1, 5), {"a": A}),
        (lambda a: a.sum(0), {"a": CUBE}),
        (lambda a: a.sum(1), {"a": CUBE}),
        (lambda a: a.sum(2), {"a": CUBE}),
        (lambda a: a.max(0), {"a": CUBE}),
        (lambda a: a.max(2), {"a": CUBE}),
        (lambda a: mean(a, 1), {"a": CUBE}),
        (lambda a, b: a @ b, {"a": A, "b": SQUARE}),
        (lambda a, b: matmul(a, b, transpose_left=True), {"a": A, "b": B}),
        (lambda a, b: matmul(a, b, transpose_right=True), {"a": A, "b": B}),
        (lambda a, b: matmul(a, b, transpose_left=True, transpose_right=True), {"a": A, "b": SQUARE}),
        (relu, {"a": A}),
        (softmax, {"a": A}),
        (log_softmax, {"a": A}),
        (mse, {"prediction": A, "target": B}),
        (lambda a, b: a * b + a * a - tanh(a) * b, {"a": A, "b": B}),
        (erf, {"a": A}),
        (sin, {"a": A}),
        (cos, {"a": A}),
        (lambda a: a * round_even(a * 3.0), {"a": A}),
        (lambda a, b: a**b, {"a": POSITIVE, "b": B}),
        (lambda a: a[:, ::-2, 1:3], {"a": CUBE}),
        (lambda a: a[1:] * a[:-1] + a[::2].broadcast_to((2, 4)) * a[1], {"a": A}),
        (lambda a: pad(a, (1, 0), (0, 2), (0, 1), value=2) ** 2, {"a": A}),
        (lambda a, b: concat([a, b * b, a], 1), {"a": A, "b": B}),
        (lambda a: concat([part * float(i) for i, part in enumerate(split(a, [1, 0, 2, 1], 1))], 1), {"a": A}),
        (lambda a: cumsum(a, 0) * cumsum(a, 1, exclusive=True), {"a": A}),
        (lambda a: cumsum(a, 1, reverse=True), {"a": CUBE}),
        (lambda a: top_k(a, 2, 1)[0] * sort(a, 1)[0][:, 1:3], {"a": CUBE}),
        (lambda a, b: matmul(a, b), {"a": CUBE, "b": CUBE.reshape(2, 4, 3)}),
        (lambda a, b: matmul(a, b, transpose_left=True), {"a": CUBE, "b": CUBE * np.float32(2)}),
        (lambda a, b: conv2d(a, b, stride=2, padding=1), {"a": IMAGES, "b": KERNELS}),
        (lambda a, b: conv2d(a, b, padding=(2, 1), dilation=(2, 1), groups=2), {"a": IMAGES, "b": KERNELS[:, :1]}),
        (lambda a, b: conv_transpose2d(a, b, stride=(2, 1), padding=1), {"a": IMAGES[:, :2], "b": KERNELS[:2]}),
        (lambda a: max_pool(a, (2, 2)), {"a": IMAGES}),
        (lambda a: average_pool(a, (2, 3), stride=(1, 2), padding=((1, 0), (1, 1))), {"a": IMAGES}),
    ],
)
def test_values_and_gradients(function, arrays):
    check(function, arrays)


def test_gradients_through_indices():
    check(lambda t, i: gather(t, i), {"t": SQUARE}, {"i": LABELS})
    check(lambda u, i: scatter_add(u, i, 5), {"u": A}, {"i": LABELS})
    check(lambda a, i: one_hot(i, 4) * a, {"a": A}, {"i": LABELS})
    check(cross_entropy, {"logits": A}, {"labels": LABELS})
    lines = np.array([[3, 0], [1, 1], [2, 2]], np.int32)
    check(lambda a, i: gather_last(a, i), {"a": A}, {"i": lines})
    check(lambda u, i: scatter_add_last(u, i, 4) * scatter_add_last(u, i, 4), {"u": A[:, :2].copy()}, {"i": lines})


def test_a_whole_network():
    def network(x, w1, b1, w2, b2, y):
        return cross_entropy(dense(tanh(dense(x, w1, b1)), w2, b2), y)

    shapes = {"x": (3, 5), "w1": (5, 6), "b1": (6,), "w2": (6, 4), "b2": (4,)}
    check(network, {name: uniform(1, name, shape, 1.0) for name, shape in shapes.items()}, {"y": LABELS})


def test_cross_entropy_of_large_logits_is_finite_and_right():
    graph = trace(lambda z, y: cross_entropy(z, y), {"z": f32(2, 3), "y": i32(2)})
    logits = np.array([[1000, 0, -1000], [0, 88, 89]], np.float32)
    found = ReferenceBackend().compile(graph)({"z": logits, "y": np.array([0, 1], np.int32)})["output"]
    np.testing.assert_allclose(found, np.log1p(np.e) / 2, rtol=1e-6)


def derivative(function, x):
    graph = trace(lambda x: gradients(function(x).sum(), [x])[0], {"x": f32(*x.shape)})
    return ReferenceBackend().compile(graph)({"x": x})["output"]


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (relu, [-1, 0, -0.0, 1], [0, 0, 0, 1]),
        (abs, [-1, 0, -0.0, 1], [-1, 0, 0, 1]),
        (lambda x: x.max(0), [2, 1, 2], [0.5, 0, 0.5]),
        (lambda x: stop_gradient(x * x) + x, [3, 4], [1, 1]),
        (lambda x: x.builder.constant(1.0), [3], [0]),
        (lambda x: floor(x), [1.5], [0]),
        (lambda x: x.builder.constant(0.0, x.shape) ** x, [2, 1, 0, -1], [0, 0, 0, -np.inf]),
        (lambda x: x ** x.builder.constant(0.0, x.shape), [2, 0], [0, 0]),
        (round_even, [1.5], [0]),
        (lambda x: x.bitcast(DType.I32).convert(DType.F32), [1.5], [0]),
        (lambda x: x.convert(DType.I32).convert(DType.F32), [1.5], [0]),
    ],
)
def test_gradients_at_the_corners(function, x, expected):
    np.testing.assert_array_equal(derivative(function, np.array(x, np.float32)), np.array(expected, np.float32))


def test_contributions_are_added_in_the_order_of_use():
    """Gradients 2^24, 1, 1, -2^24 of four uses: from the left they give 0, from the right 2 would stay."""
    big = 2.0**24

    def function(x):
        first, second, third, fourth = x * big, x * 1.0, x * 1.0, x * -big
        return fourth + third + second + first

    assert derivative(function, np.ones(1, np.float32)).tolist() == [0.0]


def test_a_tensor_cut_into_parts_gets_their_gradients_joined():
    def build(x):
        first, second, third = split(x, [2, 1, 3], 0)
        return {"g": gradients((first * 2.0).sum() + (third * 3.0).sum() + (second * 5.0).sum(), [x])[0]}

    nodes = trace(build, {"x": f32(6)}).nodes
    assert sum(node.op is Op.CONCAT for node in nodes) == 1
    assert not any(node.op is Op.PAD for node in nodes)
    assert derivative(lambda x: concat([x[:2] * 2.0, x[2:3] * 5.0, x[3:] * 3.0]), np.ones(6, np.float32)).tolist() == [
        *(2, 2, 5, 3, 3, 3)
    ]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_the_shared_factor_of_several_products_gets_one_product(left, right):
    flags = {"transpose_left": left, "transpose_right": right}
    shapes = [(2, 3), (4, 3), (1, 3)]
    arrays = {f"a{i}": uniform(0, f"shared/{i}", shape[::-1] if left else shape, 1.0) for i, shape in enumerate(shapes)}
    arrays["w"] = uniform(0, "shared/w", (5, 3) if right else (3, 5), 1.0)

    def function(a0, a1, a2, w):
        return concat([matmul(a, w, **flags) for a in (a0, a1, a2)])

    check(function, arrays)
    specs = {name: Spec(array.shape) for name, array in arrays.items()}
    nodes = trace(lambda w, **rest: gradients(function(**rest, w=w).sum(), [w])[0], specs).nodes
    assert sum(node.op is Op.MATMUL for node in nodes) == 4


def test_a_recurrence_joins_its_weights_gradient():
    def function(x, w):
        state = x
        for _ in range(3):
            state = tanh(state @ w)
        return state

    check(function, {"x": A[:2, :3].copy(), "w": SQUARE[:3]})


def test_a_factor_with_other_uses_is_added_up():
    check(lambda a, w: (a @ w) @ w + w[:3] * 2.0, {"a": A[:, :3].copy(), "w": SQUARE[:3]})
    check(lambda a, w: w @ w + a @ w, {"a": A[:3, :3].copy(), "w": SQUARE[:3]})
    check(lambda a, w: concat([a @ w, matmul(a, w, transpose_right=True)]), {"a": A[:, :3].copy(), "w": SQUARE[:3]})


@pytest.mark.parametrize(
    "function",
    [
        lambda x: concat([x[:3], x[2:]]),
        lambda x: concat([x[:2], x[3:]]),
        lambda x: concat([x[::2], x[1::2]]),
        lambda x: concat([x[:3], x[3:], x]),
        lambda x: concat([x[::-1], x[::1]]),
    ],
)
def test_parts_that_overlap_or_miss_elements_are_added(function):
    def sided(x):
        y = function(x)
        return y * y.builder.array(np.arange(1, y.shape[0] + 1, dtype=np.float32))

    expected = []
    for i in range(6):
        unit = np.zeros(6, np.float32)
        unit[i] = 1
        graph = trace(lambda x: sided(x).sum(), {"x": f32(6)})
        expected.append(ReferenceBackend().compile(graph)({"x": unit})["output"])
    np.testing.assert_array_equal(derivative(sided, np.ones(6, np.float32)), np.array(expected, np.float32))


def test_only_what_is_asked_for_is_differentiated():
    def build(x, w):
        return {"g": gradients((x @ w).sum(), [w])[0]}

    nodes = trace(build, {"x": f32(2, 3), "w": f32(3, 4)}).nodes
    assert sum(node.op is Op.MATMUL for node in nodes) == 2


def test_value_and_grad_keeps_names():
    def build(w, x):
        loss, gradient = value_and_grad(lambda p, rows: (rows * p["w"]).sum())({"w": w}, x)
        return {"loss": loss, **{f"d_{name}": g for name, g in gradient.items()}}

    graph = trace(build, {"w": f32(2), "x": f32(2)})
    found = ReferenceBackend().compile(graph)({"w": np.ones(2, np.float32), "x": np.array([3, 4], np.float32)})
    assert (found["loss"].tolist(), found["d_w"].tolist()) == (7.0, [3.0, 4.0])


def test_only_scalars_are_differentiated():
    with pytest.raises(LocalError, match=r"not f32 \(2,\): sum it first"):
        trace(lambda x: gradients(x, [x])[0], {"x": f32(2)})
    with pytest.raises(LocalError, match="must be f32"):
        trace(lambda x, i: gradients(x.sum(), [i])[0], {"x": f32(2), "i": i32(2)})
