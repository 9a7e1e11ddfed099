"""The bundled digits are the published ones, and damage is noticed."""

from importlib import resources

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.digits import DIGITS_ROWS, decode_digits, load_digits
from synaptic_mesh.training.scaling import scale_features


def test_the_published_counts_hold() -> None:
    digits = load_digits()
    assert digits.x.shape == (DIGITS_ROWS, 64)
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (digits.x.min(), digits.x.max()) == (0, 16)
    assert digits.x[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert digits.x.sum() == 561718


def test_scaling_is_exact() -> None:
    digits = load_digits()
    scaled = scale_features(digits.prepared, digits.x)
    assert (scaled * 16 == digits.x).all()


def test_damage_is_noticed() -> None:
    data = resources.files("synaptic_mesh.training").joinpath("data/digits.u8.gz").read_bytes()
    assert len(decode_digits(data)) == DIGITS_ROWS * 65
    for damaged in (b"", data[:-100], data[:500] + bytes([data[500] ^ 1]) + data[501:]):
        with pytest.raises(LocalError, match="bundled digits file is damaged"):
            decode_digits(damaged)
