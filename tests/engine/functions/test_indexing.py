"""Picking and adding by index follow numpy."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.functions import indexing

X = drawn(3, 4, 5, name="indexing")
INDEX = np.array([[2, 0], [1, 1], [0, 2]], np.int32)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_take(axis):
    np.testing.assert_array_equal(evaluate(lambda x, i: indexing.take(x, i, axis), X, INDEX), np.take(X, INDEX, axis))


def test_take_of_integers_and_of_a_scalar_index():
    numbers = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert evaluate(lambda x, i: indexing.take(x, i, 1), numbers, np.array(2, np.int32)).tolist() == [2, 6, 10]


def test_embedding():
    np.testing.assert_array_equal(evaluate(indexing.embedding, X[0], INDEX), X[0][INDEX])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines(axis):
    index = (np.arange(24).reshape(3, 4, 2) * 7 % X.shape[axis]).astype(np.int32)
    index = np.moveaxis(index, 2, axis) if axis != 2 else index
    shape = list(X.shape)
    shape[axis] = 2
    index = np.resize(index, shape).astype(np.int32)
    picked = np.take_along_axis(X, index, axis)
    np.testing.assert_array_equal(evaluate(lambda x, i: indexing.gather_along(x, i, axis), X, index), picked)
    updates = drawn(*shape, name="updates")
    expected = np.zeros(X.shape, np.float32)
    for at in np.ndindex(*shape):
        expected[(*at[:axis], index[at], *at[axis + 1 :])] += updates[at]
    found = evaluate(lambda u, i: indexing.scatter_add_along(u, i, axis, X.shape[axis]), updates, index)
    assert_close(found, expected)


def test_scatter_replaces():
    index = np.array([[1, 3], [0, 2], [3, 1]], np.int32)
    updates = drawn(3, 2, name="replace")
    expected = X[:, :, 0].copy()
    np.put_along_axis(expected, index, updates, 1)
    found = evaluate(lambda x, u, i: indexing.scatter_along(x, u, i, 1), X[:, :, 0].copy(), updates, index)
    np.testing.assert_array_equal(found, expected)


def test_one_hot_on_any_axis():
    expected = np.moveaxis(np.eye(3, dtype=np.float32)[INDEX], -1, 0)
    np.testing.assert_array_equal(evaluate(lambda i: indexing.one_hot_along(i, 3, 0), INDEX), expected)
    with pytest.raises(LocalError, match="axis of rank 3"):
        evaluate(lambda i: indexing.one_hot_along(i, 3, 3), INDEX)


@pytest.mark.parametrize("bad", [-1, 5])
def test_an_index_out_of_range_is_invalid(bad):
    index = np.full((3, 4, 1), bad, np.int32)
    with pytest.raises(StepInvalid, match=f"gather_last: index {bad} is outside 0..4"):
        evaluate(indexing.gather_last, X, index)
    with pytest.raises(StepInvalid, match=f"scatter_add_last: index {bad} is outside 0..4"):
        evaluate(lambda u, i: indexing.scatter_add_last(u, i, 5), X[:, :, :1].copy(), index)
