"""Running sums and rankings follow numpy."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import order

X = drawn(3, 5, 4, name="order")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_running_sums(axis):
    expected = np.cumsum(X, axis)
    assert_close(evaluate(lambda x: order.cumsum(x, axis), X), expected)
    assert_close(evaluate(lambda x: order.cumsum(x, axis, exclusive=True), X), expected - X)
    turned = np.flip(np.cumsum(np.flip(X, axis), axis), axis)
    assert_close(evaluate(lambda x: order.cumsum(x, axis, reverse=True), X), turned)
    assert_close(evaluate(lambda x: order.cumsum(x, axis, exclusive=True, reverse=True), X), turned - X)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sorting(axis):
    np.testing.assert_array_equal(evaluate(lambda x: order.sort(x, axis)[0], X), np.sort(X, axis))
    np.testing.assert_array_equal(
        evaluate(lambda x: order.sort(x, axis, descending=True)[1], X), np.argsort(-X, axis, kind="stable")
    )


def test_the_best_k():
    ties = np.array([1, 3, 3, -0.0, 0.0, np.nan, 3], np.float32)
    assert evaluate(lambda x: order.top_k(x, 5)[1], ties).tolist() == [5, 1, 2, 6, 0]
    assert evaluate(lambda x: order.top_k(x, 4, largest=False)[1], ties).tolist() == [5, 3, 4, 0]
    np.testing.assert_array_equal(evaluate(lambda x: order.top_k(x, 2, 1)[0], X), -np.sort(-X, 1)[:, :2])


def test_mistakes_are_named():
    with pytest.raises(LocalError, match=r"top_k of 6 elements from axis 1 of \(3, 5, 4\)"):
        evaluate(lambda x: order.top_k(x, 6, 1)[0], X)
