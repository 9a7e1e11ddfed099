"""Scaling constants are fitted once; applying them is two f32 operations, the same bits everywhere."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.prepared import (
    ONE_BITS,
    CategoricalColumn,
    ClassTarget,
    NumberTarget,
    NumericColumn,
    Prepared,
    bits_f32,
    f32_bits,
)
from synaptic_mesh.training.scaling import (
    fit_features,
    fit_numbers,
    fit_target,
    scale_features,
    scale_targets,
    unscale_targets,
)

TARGET = ClassTarget("y", ("a", "b"))
F32S = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)


def column(values: list[float]) -> F32:
    return np.array(values, np.float32)


@given(st.lists(F32S, min_size=1, max_size=40))
def test_the_mean_is_the_rounded_exact_mean_in_any_order_of_rows(values: list[float]) -> None:
    constants = fit_numbers(column(values))
    exact = sum((Fraction(value) for value in values), Fraction(0)) / len(values)
    nearest_double = float(exact)
    assert bits_f32(constants[0]) == pytest.approx(float(np.float32(nearest_double)), rel=1.2e-7, abs=1e-44)
    shuffled = sorted(values)
    assert fit_numbers(column(shuffled)) == constants


def test_known_constants() -> None:
    mean, std, inverse = fit_numbers(column([2, 4, 4, 4, 5, 5, 7, 9]))
    assert [bits_f32(bits) for bits in (mean, std, inverse)] == [5, 2, 0.5]


def test_large_values_that_cancel_leave_the_small_one() -> None:
    assert bits_f32(fit_numbers(column([2.0**60, 3.0, -(2.0**60)]))[0]) == 1


@pytest.mark.parametrize("values", [[3.0, 3.0], [], [0.0], [1e-38, 1.1e-38]])
def test_a_constant_column_keeps_deviation_one(values: list[float]) -> None:
    assert fit_numbers(column(values))[1:] == (ONE_BITS, ONE_BITS)


@given(st.lists(F32S, min_size=1, max_size=20), F32S, F32S)
def test_scaling_is_one_subtraction_and_one_product_rounded_each(
    values: list[float], mean: float, inverse: float
) -> None:
    prepared = Prepared((NumericColumn("a", f32_bits(mean), f32_bits(inverse)),), TARGET)
    with np.errstate(over="ignore"):
        expected = np.array([(np.float32(v) - np.float32(mean)) * np.float32(inverse) for v in values], np.float32)
    if np.isfinite(expected).all():
        assert scale_features(prepared, column(values).reshape(-1, 1)).tobytes() == expected.tobytes()
    else:
        with pytest.raises(LocalError, match="feature 1 leaves the range"):
            scale_features(prepared, column(values).reshape(-1, 1))


def test_categories_are_not_scaled() -> None:
    prepared = Prepared((CategoricalColumn("c", ("p", "q")), NumericColumn("a")), TARGET)
    raw = np.array([[1, 0, 10], [0, 1, 30]], np.float32)
    fitted = fit_features(prepared, raw)
    assert fitted.columns[0] == prepared.columns[0]
    assert scale_features(fitted, raw).tolist() == [[1, 0, -1], [0, 1, 1]]


def test_number_targets_come_back_in_their_units() -> None:
    ones = (ONE_BITS, ONE_BITS)
    raw = np.array([[1, 100], [3, 300]], np.float32)
    fitted = fit_target(Prepared((NumericColumn("a"),), NumberTarget(("u", "v"), (0, 0), ones, ones)), raw)
    target = fitted.target
    assert isinstance(target, NumberTarget)
    scaled = scale_targets(target, raw)
    assert scaled.tolist() == [[-1, -1], [1, 1]]
    assert unscale_targets(target, scaled).tolist() == raw.tolist()


def test_a_scaled_value_out_of_range_is_refused() -> None:
    target = NumberTarget(("u",), (0,), (ONE_BITS,), (f32_bits(1e30),))
    with pytest.raises(LocalError, match="target 'u' leaves the range"):
        scale_targets(target, np.array([[1e30]], np.float32))
