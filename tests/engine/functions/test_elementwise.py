"""Rounding, signs and bounds follow numpy; random words follow their key."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import elementwise

X = np.array([-2.5, -1.5, -0.5, -0.2, -0.0, 0.0, 0.5, 1.5, 2.49, 7.0, np.inf, -np.inf], np.float32)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (elementwise.round_even, np.rint(X)),
        (elementwise.ceil, np.ceil(X)),
        (elementwise.truncate, np.trunc(X)),
        (elementwise.sign, np.sign(X)),
        (lambda x: elementwise.clip(x, -1.0, 2.0), np.clip(X, -1, 2)),
        (lambda x: elementwise.clip(x, high=2.0), np.minimum(X, 2)),
        (lambda x: elementwise.clip(x, 0.25), np.maximum(X, np.float32(0.25))),
    ],
)
def test_they_follow_numpy(function, expected):
    np.testing.assert_array_equal(evaluate(function, X), expected)


def test_nan_stays():
    nan = np.array([np.nan], np.float32)
    for name in ("round_even", "ceil", "truncate", "sign", "sin", "cos", "erf", "square"):
        assert np.isnan(evaluate(getattr(elementwise, name), nan)).all(), name


def test_signs_of_integers():
    assert evaluate(elementwise.sign, np.array([-7, 0, 5], np.int32)).tolist() == [-1, 0, 1]


def test_remainder_has_the_divisors_sign():
    x = drawn(40, name="remainder", limit=9.0)
    assert_close(evaluate(lambda x: elementwise.remainder(x, 1.5), x), np.mod(x, np.float32(1.5)))
    assert_close(evaluate(lambda x: elementwise.remainder(x, -1.5), x), np.mod(x, np.float32(-1.5)))


def test_reciprocal_square_root():
    x = np.abs(drawn(9, name="rsqrt")) + np.float32(0.1)
    assert_close(evaluate(elementwise.reciprocal_sqrt, x), 1 / np.sqrt(x))


def test_words_depend_on_both_counters_and_both_keys():
    zero, one = np.zeros(1, np.uint32), np.ones(1, np.uint32)
    found = {
        int(evaluate(lambda a, b, key=key: elementwise.threefry(a, b, key), a, b)[0])
        for a in (zero, one)
        for b in (zero, one)
        for key in ((0, 0), (1, 0), (0, 1))
    }
    assert len(found) == 12


def test_a_key_is_two_words():
    with pytest.raises(LocalError, match="two words"):
        evaluate(lambda a: elementwise.threefry(a, a, (0, 1 << 32)), np.zeros(1, np.uint32))
