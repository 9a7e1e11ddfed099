"""The polynomials against float64 mathematics; `pytest tests/engine/test_polynomials.py -s -k error` prints figures."""

import math

import numpy as np
import pytest

from synaptic_mesh.engine import polynomials, powers, trigonometry
from synaptic_mesh.engine.executors.numpy_ops import NumpyOps

STRIDE = 2039
"""Every 2039th f32 bit pattern, a prime: all exponents and signs, 2.1 million values."""
ULP_MAX = {"exp": 0.98, "log": 0.81, "tanh": 1.32, "sigmoid": 2.31, "erf": 6.8, "sin": 2.4, "cos": 2.4}
"""Stated in docs/protocol/semantics.md; the least subnormal is the smallest ulp."""
MATHEMATICS = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sin": np.sin,
    "cos": np.cos,
}
FUNCTIONS = {
    **{name: getattr(polynomials, name) for name in ("exp", "log", "tanh", "sigmoid")},
    **{name: getattr(trigonometry, name) for name in ("erf", "sin", "cos")},
}
POW_ULP_MAX = 3.5


def evaluate(name, values):
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[name](NumpyOps(), np.asarray(values, np.float32))).view(np.float32)


def sample():
    bits = np.arange(0, 1 << 32, STRIDE, dtype=np.uint64).astype(np.uint32)
    dense = np.linspace(-20, 20, 1_000_001, dtype=np.float32)
    values = np.concatenate([bits.view(np.float32), dense])
    return values[np.isfinite(values)]


@pytest.mark.parametrize("name", ULP_MAX)
def test_sampled_error_is_what_the_page_states(name):
    values = sample()
    if name == "log":
        values = values[values > 0]
    if name == "erf":
        values = np.concatenate([values, np.linspace(0, 4.5, 2_000_001, dtype=np.float32)])
    if name in ("sin", "cos"):
        values = np.concatenate(
            [values[np.abs(values) <= 32768], np.linspace(-32768, 32768, 1_000_003, dtype=np.float32)]
        )
    with np.errstate(all="ignore"):
        exact = MATHEMATICS[name](values.astype(np.float64))
        rounded = exact.astype(np.float32)
        usable = np.isfinite(rounded)
        ulp = np.spacing(np.abs(rounded[usable])).astype(np.float64)
        error = np.abs(evaluate(name, values)[usable].astype(np.float64) - exact[usable]) / ulp
    worst = int(error.argmax())
    print(f"\n{name}: {error[worst]:.3f} ulp at {values[usable][worst]!r} of {usable.sum()} values")
    assert error[worst] <= ULP_MAX[name]
    assert error[worst] > 0.9 * ULP_MAX[name]  # the statement is not slack either


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exp", [1, 1, np.inf, 0, np.inf, 0]),
        ("log", [-np.inf, -np.inf, np.inf, np.nan, 88.722839, np.nan]),
        ("tanh", [0.0, -0.0, 1, -1, 1, -1]),
        ("sigmoid", [0.5, 0.5, 1, 0, 1, 0]),
        ("erf", [0.0, -0.0, 1, -1, 1, -1]),
        ("sin", [0.0, -0.0, np.nan, np.nan, np.nan, np.nan]),
        ("cos", [1, 1, np.nan, np.nan, np.nan, np.nan]),
    ],
)
def test_special_values(name, expected):
    found = evaluate(name, [0.0, -0.0, np.inf, -np.inf, np.finfo(np.float32).max, np.finfo(np.float32).min])
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    np.testing.assert_array_equal(np.signbit(found[:2]), np.signbit(np.array(expected[:2], np.float32)))


@pytest.mark.parametrize("name", ULP_MAX)
@pytest.mark.parametrize("payload", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FD55555])
def test_nan_propagates_whatever_its_payload(name, payload):
    assert np.isnan(evaluate(name, np.array([payload], np.uint32).view(np.float32))).all()


def test_sampled_error_of_powers_is_what_the_page_states():
    """Results of all sizes; bases of all sizes, and near 1 where log2 cancels."""
    random = np.random.default_rng(0)
    bases = np.concatenate([np.exp(random.uniform(-88, 88, 250_000)), random.uniform(0.5, 2, 250_000)]).astype(
        np.float32
    )
    exponents = (random.uniform(-150, 129, bases.size) / np.log2(bases.astype(np.float64))).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = np.power(bases.astype(np.float64), exponents.astype(np.float64))
        rounded = exact.astype(np.float32)
        found = np.asarray(powers.pow(NumpyOps(), bases, exponents)).view(np.float32)
        usable = np.isfinite(rounded)
        ulp = np.spacing(np.abs(rounded[usable])).astype(np.float64)
        error = np.abs(found[usable].astype(np.float64) - exact[usable]) / ulp
    print(f"\npow: {error.max():.3f} ulp of {usable.sum()} pairs")
    assert np.array_equal(np.isinf(found), np.isinf(rounded))
    assert 0.8 * POW_ULP_MAX < error.max() <= POW_ULP_MAX


def test_powers_of_special_numbers_are_those_of_ieee_754():
    numbers = np.array(
        [
            0,
            -0.0,
            1,
            -1,
            2,
            -2,
            3,
            -3,
            0.5,
            -1.5,
            np.inf,
            -np.inf,
            np.nan,
            1e-45,
            -1e-40,
            1e38,
            2**24,
            -(2**24) - 2,
            0.99999994,
        ],
        np.float32,
    )
    bases, exponents = np.repeat(numbers, numbers.size), np.tile(numbers, numbers.size)
    with np.errstate(all="ignore"):
        found = np.asarray(powers.pow(NumpyOps(), bases, exponents)).view(np.float32)
        expected = np.power(bases.astype(np.float64), exponents.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=2e-45)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


def test_sin_and_cos_are_odd_and_even_and_end_where_stated():
    values = sample()[::11]
    np.testing.assert_array_equal(evaluate("sin", values), -evaluate("sin", -values))
    np.testing.assert_array_equal(evaluate("cos", values), evaluate("cos", -values))
    ends = np.array([32768, -32768, 32768.004, -4e4, 3e38], np.float32)
    for name in ("sin", "cos"):
        assert np.isnan(evaluate(name, ends)).tolist() == [False, False, True, True, True]


def test_exp_keeps_subnormals_and_ends_where_stated():
    values = np.array([-87.4, -100.0, -103.0, -103.97, -103.98, -104.0, -150.0, 88.72, 88.73], np.float32)
    found = evaluate("exp", values)
    exact = np.exp(values.astype(np.float64))
    assert (np.abs(found[:4] - exact[:4]) <= 2.0**-149).all()
    assert (found[:4] > 0).all()
    assert (found[4:7] == 0).all()
    assert np.isfinite(found[7])
    assert np.isinf(found[8])


def test_log_of_powers_of_two_reaches_subnormals():
    exponents = np.arange(-149, 128)
    found = evaluate("log", np.exp2(exponents.astype(np.float64)).astype(np.float32))
    np.testing.assert_allclose(found, exponents * np.log(2.0), rtol=1e-7, atol=0)


def test_tanh_is_odd_to_the_bit():
    values = sample()[::7]
    np.testing.assert_array_equal(evaluate("tanh", values), -evaluate("tanh", -values))
