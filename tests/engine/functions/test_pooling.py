"""Pooling against a loop over windows."""

import itertools

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import pooling

X = drawn(2, 3, 7, 9, name="pool")


def windows(x, kernel, stride, sides, ceil):
    """Yield (output position, window with NaN outside x, window with NaN outside the padding)."""
    extents = []
    for axis in (0, 1):
        room = x.shape[2 + axis] + sum(sides[axis]) - kernel[axis]
        count = -(-room // stride[axis]) + 1 if ceil else room // stride[axis] + 1
        if (count - 1) * stride[axis] >= x.shape[2 + axis] + sides[axis][0]:
            count -= 1
        extents.append(count)
    far = [(0, 0), (0, 0), *((low, high + 9) for low, high in sides)]
    real = np.pad(x, far, constant_values=np.nan)
    for i, j in itertools.product(*map(range, extents)):
        rows = slice(i * stride[0], i * stride[0] + kernel[0])
        columns = slice(j * stride[1], j * stride[1] + kernel[1])
        counted = [
            min(part.stop, x.shape[2 + axis] + sum(sides[axis])) - part.start
            for axis, part in enumerate((rows, columns))
        ]
        yield (i, j), real[:, :, rows, columns], counted[0] * counted[1]


CASES = [
    ((2, 2), (2, 2), ((0, 0), (0, 0)), False),
    ((3, 2), (2, 3), ((1, 1), (0, 1)), False),
    ((3, 3), (2, 2), ((1, 0), (1, 1)), True),
    ((2, 4), (3, 3), ((0, 0), (2, 2)), True),
    ((2, 2), (2, 2), ((1, 1), (0, 1)), True),
]


@pytest.mark.parametrize(("kernel", "stride", "sides", "ceil"), CASES)
def test_windows(kernel, stride, sides, ceil):
    options = {"stride": stride, "padding": sides, "ceil_mode": ceil}
    greatest = evaluate(lambda x: pooling.max_pool(x, kernel, **options), X)
    average = evaluate(lambda x: pooling.average_pool(x, kernel, **options), X)
    inside = evaluate(lambda x: pooling.average_pool(x, kernel, count_include_pad=False, **options), X)
    seen = list(windows(X, kernel, stride, sides, ceil))
    assert greatest.shape[2:] == tuple(e + 1 for e in seen[-1][0])
    for (i, j), window, count in seen:
        assert_close(greatest[:, :, i, j], np.nanmax(window, (2, 3)))
        assert_close(average[:, :, i, j], np.nansum(window, (2, 3)) / np.float32(count))
        assert_close(inside[:, :, i, j], np.nanmean(window, (2, 3)))


def test_a_dilated_window():
    found = evaluate(lambda x: pooling.max_pool(x, (2, 2), stride=(1, 1), dilation=(3, 4)), X)
    corners = [X[:, :, a : a + 4, b : b + 5] for a in (0, 3) for b in (0, 4)]
    np.testing.assert_array_equal(found, np.max(corners, 0))


def test_one_axis_and_three_axes():
    np.testing.assert_array_equal(evaluate(lambda x: pooling.max_pool(x, (3,)), X), X.reshape(2, 3, 7, 3, 3).max(4))
    cube = drawn(1, 2, 4, 4, 4, name="cube")
    expected = cube.reshape(1, 2, 2, 2, 2, 2, 2, 2).mean((3, 5, 7))
    assert_close(evaluate(lambda x: pooling.average_pool(x, (2, 2, 2)), cube), expected)


def test_global_pooling():
    assert_close(evaluate(pooling.global_average_pool, X), X.mean((2, 3)))
    np.testing.assert_array_equal(evaluate(pooling.global_max_pool, X), X.max((2, 3)))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: pooling.max_pool(x, (8, 2)), "windows of 8 with stride 8"),
        (lambda x: pooling.max_pool(x, (2, 2), stride=(0, 1)), "stride 0"),
        (lambda x: pooling.max_pool(x, (2, 2), stride=(1,)), "do not fit shape"),
        (lambda x: pooling.global_average_pool(x[:, :, :0]), "no elements"),
    ],
)
def test_mistakes_are_named(function, sentence):
    with pytest.raises(LocalError, match=sentence):
        evaluate(function, X)
