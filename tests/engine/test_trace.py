"""What Python on tensors turns into."""

# ruff: noqa: ARG005  (tables of lambdas with one signature)

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import (
    Builder,
    f32,
    i32,
    matmul,
    maximum,
    number_bits,
    one_hot,
    spec_of,
    stop_gradient,
    trace,
    where,
)


def evaluate(function, **inputs):
    graph = trace(function, {name: spec_of(array) for name, array in inputs.items()})
    return ReferenceBackend().compile(graph)(inputs)["output"]


def ops(function, **specs):
    return [node.op for node in trace(function, specs).nodes]


X = np.arange(6, dtype=np.float32).reshape(2, 3)
ROW = np.array([10, 20, 30], np.float32)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, r: x + r, X + ROW),
        (lambda x, r: r - x, ROW - X),
        (lambda x, r: 2 * x - 1, 2 * X - 1),
        (lambda x, r: 1 - x, 1 - X),
        (lambda x, r: r / (x + 1), ROW / (X + 1)),
        (lambda x, r: 60.0 / r, 60 / ROW),
        (lambda x, r: abs(-x), X),
        (lambda x, r: where(x > 2, x, 0), np.where(X > 2, X, 0)),
        (lambda x, r: where(x >= 2, r, x), np.where(X >= 2, ROW, X)),
        (lambda x, r: where(x <= 2, 1, x), np.where(X <= 2, 1, X)),
        (lambda x, r: where(x == 2, r, 0), np.where(X == 2, ROW, 0)),
        (lambda x, r: maximum(x, 2.5), np.where(X > 2.5, X, 2.5)),
        (lambda x, r: x.reshape(2, 3, 1) + r, X[:, :, None] + ROW),
        (lambda x, r: x.broadcast_to((4, 2, 3)), np.broadcast_to(X, (4, 2, 3))),
        (lambda x, r: r.reshape(3, 1).broadcast_to((3, 2)), np.broadcast_to(ROW[:, None], (3, 2))),
        (lambda x, r: r.repeat(1, 2), np.broadcast_to(ROW[:, None], (3, 2))),
        (lambda x, r: x.transpose(), X.T),
        (lambda x, r: x @ x.transpose(), X @ X.T),
        (lambda x, r: x.sum(), np.float32(15)),
        (lambda x, r: x.sum(-2), X.sum(0)),
        (lambda x, r: x.max(1), X.max(1)),
        (lambda x, r: x.argmax(1), np.array([2, 2], np.int32)),
        (lambda x, r: x.argmin(1), np.array([0, 0], np.int32)),
        (lambda x, r: x.min(0), X.min(0)),
        (lambda x, r: x[1], X[1]),
        (lambda x, r: x[-1, -2], X[-1, -2]),
        (lambda x, r: x[:, ::-1], X[:, ::-1]),
        (lambda x, r: x[..., 1:], X[..., 1:]),
        (lambda x, r: x[0:0], X[0:0]),
        (lambda x, r: x[1:2:5, ::7], X[1:2:5, ::7]),
        (lambda x, r: x[None, :, 2:0:-1, None], X[None, :, 2:0:-1, None]),
        (lambda x, r: x[-9:9, 7:-9:-2], X[-9:9, 7:-9:-2]),
        (lambda x, r: x[...], X),
        (lambda x, r: x**2 + x**3, X * X + X * X * X),
        (lambda x, r: (x + 1) ** -1 + x**0.5, 1 / (X + 1) + np.sqrt(X)),
        (lambda x, r: r**1, ROW),
        (lambda x, r: matmul(x.reshape(1, 2, 3), x.reshape(2, 3, 1)), (X.reshape(1, 2, 3) @ X.reshape(2, 3, 1))),
        (lambda x, r: x.reshape(2, 1, 3) @ x.transpose(), (X.reshape(2, 1, 3) @ X.T)),
    ],
)
def test_operators_follow_numpy(function, expected):
    found = evaluate(function, x=X, r=ROW)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape


def test_bits_of_integers_follow_numpy():
    i, u = np.array([5, -7, 2**31 - 1], np.int32), np.array([5, 2**31, 2**32 - 1], np.uint32)
    for x in (i, u):
        np.testing.assert_array_equal(evaluate(lambda x: (x & 6) | (x ^ 3), x=x), (x & 6) | (x ^ 3))
        np.testing.assert_array_equal(evaluate(lambda x: x >> 3, x=x), x >> 3)
        np.testing.assert_array_equal(evaluate(lambda x: x << 3, x=x), x << 3)
    np.testing.assert_array_equal(evaluate(lambda x: x.bitcast(DType.I32), x=u), u.view(np.int32))
    assert ops(lambda x: x.bitcast(DType.F32), x=f32(2)) == [Op.INPUT]


def test_a_batch_times_one_matrix_is_one_product():
    assert ops(lambda x, w: x @ w, x=f32(2, 3, 4), w=f32(4, 5)).count(Op.MATMUL) == 1
    graph = trace(lambda x, w: x @ w, {"x": f32(2, 3, 4), "w": f32(4, 5)})
    assert [node.shape for node in graph.nodes if node.op is Op.MATMUL] == [(6, 5)]


def test_numbers_become_splats_of_the_full_shape():
    assert ops(lambda x: x * 2.0, x=f32(4, 5)) == [Op.INPUT, Op.CONSTANT, Op.CONSTANT, Op.MUL]


def test_integers_stay_integers():
    labels = np.array([1, 0], np.int32)
    np.testing.assert_array_equal(evaluate(lambda y: y * 3 - 1, y=labels), labels * 3 - 1)
    assert evaluate(lambda y: one_hot(y, 2), y=labels).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x, y: x + y, r"add: shapes \(2, 3\) and \(4,\) do not broadcast"),
        (lambda x, y: x @ y, r"two matrices, not \(2, 3\) and \(4,\)"),
        (lambda x, y: x @ x, r"inner extents of \(2, 3\) and \(2, 3\)"),
        (lambda x, y: x + y.convert(DType.I32), "do not broadcast"),
        (lambda x, y: y + y.convert(DType.I32), "dtypes f32 and i32 differ"),
        (lambda x, y: x.sum(2), r"axis 2 is not an axis of shape \(2, 3\)"),
        (lambda x, y: x.broadcast_to((3, 3)), r"\(2, 3\) does not broadcast to \(3, 3\)"),
        (lambda x, y: x.transpose(0, 0), "no permutation"),
        (lambda x, y: x if x < 1 else y, "no value while tracing"),
        (lambda x, y: y.convert(DType.I32) + 1.5, "1.5 is not a i32"),
        (lambda x, y: {"x": x}, "share a name"),
        (lambda x, y: {"a b": x}, "not allowed"),
        (lambda x, y: x[2], "index 2 is outside an axis of extent 2"),
        (lambda x, y: x[0, 0, 0], "does not fit shape"),
        (lambda x, y: x[..., ...], "does not fit shape"),
        (lambda x, y: x[::0], "step 0"),
        (lambda x, y: x[1.5], "index 1.5"),
        (lambda x, y: y.convert(DType.I32) << 32, "count 32"),
        (lambda x, y: x & x, "does not take f32"),
        (lambda x, y: matmul(x.reshape(1, 2, 3), x.reshape(1, 2, 3)), "inner extents"),
        (lambda x, y: matmul(x.reshape(1, 2, 3), x.broadcast_to((2, 2, 2, 3))), "inner extents"),
    ],
)
def test_mistakes_are_named(function, sentence):
    with pytest.raises(LocalError, match=sentence):
        trace(function, {"x": f32(2, 3), "y": f32(4)})


def test_tensors_of_two_traces_do_not_mix():
    stranger = Builder().input("s", f32())
    with pytest.raises(LocalError, match="two traces"):
        trace(lambda x: x + stranger, {"x": f32()})


def test_arrays_of_other_dtypes_are_refused():
    with pytest.raises(LocalError, match="float64"):
        spec_of(np.zeros(3))
    assert spec_of(np.zeros(3, np.int32)) == i32(3)


@pytest.mark.parametrize(
    ("number", "pattern"),
    [(1.0, 0x3F800000), (0.1, 0x3DCCCCCD), (-0.0, 0x80000000), (1e40, 0x7F800000), (float("nan"), 0x7FC00000)],
)
def test_numbers_round_to_nearest(number, pattern):
    assert number_bits(number, DType.F32) == pattern


def test_dense_constants_keep_their_bits():
    values = np.array([1.5, -0.0, np.inf], np.float32)
    found = evaluate(lambda x: where(x == 1.0, x.builder.array(values), x), x=np.ones(3, np.float32))
    assert found.tobytes() == values.tobytes()


def test_stop_gradient_adds_nothing_to_the_graph():
    assert ops(lambda x: stop_gradient(x), x=f32(2)) == [Op.INPUT]
