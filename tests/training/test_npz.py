"""Arrays from NPZ files, and every file that is refused."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training import npz as npz_module
from synaptic_mesh.training.npz import examples_from_npz


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


X = np.arange(24, dtype=np.float64).reshape(4, 3, 2)


def test_features_are_flattened_and_integers_are_classes() -> None:
    examples = examples_from_npz(npz(x=X, y=np.array([7, -1, 7, 3])), "d.npz")
    assert examples.x.shape == (4, 6)
    assert examples.x.dtype == np.float32
    assert examples.prepared.target_names == ("y",)
    assert examples.prepared.task == "classify"
    assert getattr(examples.prepared.target, "classes", None) == ("-1", "3", "7")
    assert examples.y.tolist() == [2, 0, 2, 1]


def test_floats_are_numbers_with_one_column_or_several() -> None:
    assert examples_from_npz(npz(x=X, y=np.ones(4)), "d.npz").y.shape == (4, 1)
    assert examples_from_npz(npz(x=X, y=np.ones((4, 2))), "d.npz").prepared.outputs == 2


def test_texts_are_classes_and_the_task_can_be_stated() -> None:
    assert examples_from_npz(npz(x=X, y=np.array(list("abab"))), "d.npz").y.tolist() == [0, 1, 0, 1]
    assert examples_from_npz(npz(x=X, y=np.arange(4)), "d.npz", "regress").y.tolist() == [[0], [1], [2], [3]]
    assert examples_from_npz(npz(x=X, y=np.array([0.0, 1, 0, 1])), "d.npz", "classify").prepared.outputs == 2


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "d.npz cannot be read as NPZ"),
        (b"PK\x03\x04 not a zip", "d.npz cannot be read as NPZ"),
        (npz(x=X, y=np.arange(4))[:-30], "d.npz cannot be read as NPZ"),
        (npz(a=X), "d.npz has no array 'x' but 'a'; save it with x=... and y=..."),
        (npz(x=X), "d.npz has no array 'y' but 'x'"),
        (npz(x=np.array([{}, {}], dtype=object), y=np.arange(2)), "d.npz: array 'x' holds pickled Python objects"),
        (npz(x=np.zeros(4), y=np.arange(4)), "d.npz: x has shape (4,); it must be (rows, features)"),
        (npz(x=np.zeros((0, 3)), y=np.arange(0)), "d.npz: x has shape (0, 3)"),
        (npz(x=X, y=np.arange(3)), "d.npz: y has shape (3,) but x has 4 rows"),
        (npz(x=X, y=np.array(1)), "d.npz: y has shape () but x has 4 rows"),
        (npz(x=X.astype(complex), y=np.arange(4)), "d.npz: x has dtype complex128; save it as numbers"),
        (npz(x=np.array([["a"]]), y=np.arange(1)), "d.npz: x has dtype <U1"),
        (npz(x=np.array([[1.0, np.nan]]), y=np.ones(1)), "d.npz: x[0, 1] is nan, not a finite 32-bit float"),
        (npz(x=np.array([[1.0, 1e39]]), y=np.ones(1)), "d.npz: x[0, 1] is 1e+39, not a finite 32-bit float"),
        (npz(x=X, y=np.array([0.5, np.inf, 1, 2])), "d.npz: y[1, 0] is inf"),
        (npz(x=X, y=np.zeros((4, 1, 1))), "d.npz: y has shape (4, 1, 1); for regression"),
        (npz(x=X, y=np.zeros(4, np.int64)), "d.npz: target 'y' has a single value in every row"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        examples_from_npz(data, "d.npz")
    assert str(caught.value).startswith(sentence)


def test_fractions_are_no_classes() -> None:
    with pytest.raises(LocalError, match="y holds fractions, which are no classes; use --task regress"):
        examples_from_npz(npz(x=X, y=np.array([0.5, 1, 2, 3])), "d.npz", "classify")


def test_an_array_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_module, "ARRAY_BYTES_MAX", 100)
    with pytest.raises(LocalError, match=r"array 'x' has \d+ bytes, over 100"):
        examples_from_npz(npz(x=X, y=np.arange(4)), "d.npz")


VALID = npz(x=X, y=np.arange(4))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(1, len(VALID)))
def test_damage_gives_examples_or_a_local_error(at: int, byte: int, length: int) -> None:
    damaged = bytearray(VALID)
    damaged[at] = byte
    for data in (bytes(damaged), VALID[:length]):
        with contextlib.suppress(LocalError):
            assert np.isfinite(examples_from_npz(data, "d.npz").x).all()
