"""Norms against their formulas in binary64."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import normalization

X = drawn(4, 6, 3, 5, name="norms") + np.float32(0.7)
SCALE, SHIFT = drawn(6, name="scale"), drawn(6, name="shift")


def standardised(x, axes, epsilon=1e-5):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def channel(values):
    return values[:, None, None]


def test_moments():
    assert_close(evaluate(lambda x: normalization.mean_over(x, (1, -1)), X), X.mean((1, 3), dtype=np.float64))
    assert_close(evaluate(lambda x: normalization.mean_over(x, (0,), keep=True), X), X.mean(0, keepdims=True))
    assert_close(evaluate(lambda x: normalization.variance_over(x, (2, 3)), X), X.var((2, 3), dtype=np.float64))
    found = evaluate(lambda x: normalization.variance_over(x, (0, 2), correction=1), X)
    assert_close(found, X.var((0, 2), ddof=1, dtype=np.float64))


def test_layer_norm():
    scale, shift = drawn(3, 5, name="layer"), drawn(3, 5, name="layer/shift")
    expected = standardised(X, (2, 3)) * scale + shift
    assert_close(evaluate(lambda x, s, b: normalization.layer_norm(x, s, b, axes=2), X, scale, shift), expected)
    assert_close(evaluate(normalization.layer_norm, X), standardised(X, (3,)))


def test_rms_norm():
    expected = X / np.sqrt((X.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6) * SCALE[:5]
    assert_close(evaluate(normalization.rms_norm, X, SCALE[:5].copy()), expected)


def test_group_norm():
    groups = standardised(X.reshape(4, 3, 30), (2,)).reshape(X.shape)
    found = evaluate(lambda x, s, b: normalization.group_norm(x, 3, s, b), X, SCALE, SHIFT)
    assert_close(found, groups * channel(SCALE) + channel(SHIFT))


def test_batch_norm_in_training_moves_its_statistics():
    before = [drawn(6, name="mean"), np.abs(drawn(6, name="variance"))]
    expected = (
        standardised(X, (0, 2, 3)) * channel(SCALE) + channel(SHIFT),
        0.9 * before[0] + 0.1 * X.mean((0, 2, 3)),
        0.9 * before[1] + 0.1 * X.var((0, 2, 3), ddof=1),
    )
    for i, values in enumerate(expected):
        found = evaluate(lambda *t, i=i: normalization.batch_norm_train(*t)[i], X, SCALE, SHIFT, *before)
        assert_close(found, values)


def test_batch_norm_for_prediction():
    mean, variance = drawn(6, name="mean"), np.abs(drawn(6, name="variance"))
    expected = (X - channel(mean)) / np.sqrt(channel(variance) + 1e-5) * channel(SCALE) + channel(SHIFT)
    assert_close(evaluate(normalization.batch_norm, X, SCALE, SHIFT, mean, variance), expected)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: normalization.mean_over(x[:0], (0,)), "no elements"),
        (lambda x: normalization.variance_over(x[:1], (0,), correction=1), "1 elements with correction 1"),
        (lambda x: normalization.group_norm(x, 4, x[0, 0, 0], x[0, 0, 0]), "4 groups do not divide 6"),
        (lambda x: normalization.per_channel(x[0, 0, 0], x), "not one value per channel"),
    ],
)
def test_mistakes_are_named(function, sentence):
    with pytest.raises(LocalError, match=sentence):
        evaluate(function, X)
