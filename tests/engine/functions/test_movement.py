"""Padding, joining, splitting and reversing follow numpy."""

import numpy as np
import pytest
from evaluating import drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import movement
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.trace import f32, trace

X = drawn(2, 3, 4, name="movement")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: movement.pad(x, (0, 1, 2), (1, 0, 3)), np.pad(X, ((0, 1), (1, 0), (2, 3)))),
        (
            lambda x: movement.pad(x, (1, 0, 0), (0, 0, 1), value=3),
            np.pad(X, ((1, 0), (0, 0), (0, 1)), constant_values=3),
        ),
        (lambda x: movement.pad(x, (0, -1, 0), (0, 0, -2)), X[:, 1:, :-2]),
        (lambda x: movement.pad(x, (-1, 2, 0), (3, -4, 0)), np.pad(X, ((0, 3), (2, 0), (0, 0)))[1:, :1]),
        (lambda x: movement.concat([x, x], -1), np.concatenate([X, X], -1)),
        (lambda x: movement.stack([x, x, x], 1), np.stack([X, X, X], 1)),
        (lambda x: movement.stack([x, x], -1), np.stack([X, X], -1)),
        (lambda x: movement.split(x, [1, 3], 2)[1], X[:, :, 1:]),
        (lambda x: movement.narrow(x, 2, 3, 2, -2), X[:, :, 3::-2]),
        (lambda x: movement.flip(x), X[::-1, ::-1, ::-1]),
        (lambda x: movement.flip(x, -1), X[:, :, ::-1]),
        (lambda x: movement.expand(x, 1), X[:, None]),
        (lambda x: movement.move_axis(x, 0, -1), np.moveaxis(X, 0, -1)),
        (lambda x: movement.move_axis(x, 2, 1), np.moveaxis(X, 2, 1)),
    ],
)
def test_they_follow_numpy(function, expected):
    found = evaluate(function, X)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_gaps_between_elements():
    expected = np.full((2, 3, 10), 9, np.float32)
    expected[:, :, 0::3] = X
    np.testing.assert_array_equal(evaluate(lambda x: movement.pad(x, (0,) * 3, (0,) * 3, (0, 0, 2), 9), X), expected)


def test_many_parts_are_joined_in_groups():
    def function(x):
        return movement.concat([x * float(i) for i in range(150)])

    one = np.ones(1, np.float32)
    assert evaluate(function, one).tolist() == list(range(150))
    joins = [node for node in trace(function, {"x": f32(1)}).nodes if node.op is Op.CONCAT]
    assert sorted(len(node.inputs) for node in joins) == [3, 22, 64, 64]


def test_nothing_to_move_adds_no_node():
    graph = trace(lambda x: movement.pad(movement.narrow(x, 0, 0, 3), (0,), (0,)), {"x": f32(3)})
    assert [node.op for node in graph.nodes] == [Op.INPUT]


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: movement.pad(x, (0,), (0,)), "one count per axis"),
        (lambda x: movement.pad(x, (0,) * 3, (0,) * 3, (0, 0, -1)), "one count per axis"),
        (lambda _: movement.concat([]), "at least one"),
        (lambda _: movement.stack([]), "at least one"),
        (lambda x: movement.concat([x, x[0]]), "ranks that differ"),
        (lambda x: movement.concat([x, x[:, :2]], 0), "differ beside axis 0"),
        (lambda x: movement.stack([x], 4), "no place for a new axis"),
        (lambda x: movement.split(x, [1, 2], 2)[0], "do not add up to 4"),
        (lambda x: movement.narrow(x, 3, 0, 1), "axis 3 is not an axis"),
        (lambda x: movement.narrow(x, 2, 3, 2), "outside"),
    ],
)
def test_mistakes_are_named(function, sentence):
    with pytest.raises(LocalError, match=sentence):
        evaluate(function, X)
