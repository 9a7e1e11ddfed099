"""Counter-based randomness against the published vectors."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.initializers import glorot_uniform, he_uniform, philox4x32, random_u32, uniform

# Random123 1.14, tests/kat_vectors, philox4x32 10: counter, key, result.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_published_vectors(counter, key, result):
    low, high = words(key)
    found = philox4x32(np.array([words(counter)], np.uint32), high << 32 | low)
    assert found.tolist() == [words(result)]


def test_a_shorter_stream_is_a_prefix():
    assert random_u32(1, "p", 5).tolist() == random_u32(1, "p", 103)[:5].tolist()
    assert random_u32(1, "p", 0).size == 0


def test_seed_purpose_and_step_all_matter():
    streams = [random_u32(1, "p", 4), random_u32(2, "p", 4), random_u32(1, "q", 4), random_u32(1, "p", 4, step=1)]
    assert len({stream.tobytes() for stream in streams}) == 4


def test_the_stream_is_pinned():
    """What another language must reproduce."""
    expected = ["c6f3673d", "fd4aee0c", "7ee6807b", "58dba758"]
    assert [f"{word:08x}" for word in random_u32(7, "parameter/w1", 4)] == expected


def test_uniform_fills_its_range_with_one_rounding():
    values = uniform(3, "u", (100_000,), 0.3)
    words_ = random_u32(3, "u", 100_000).astype(np.int64) >> 8
    exact = (words_ - (1 << 23)) / (1 << 23)
    assert values.tobytes() == (exact * np.float64(np.float32(0.3))).astype(np.float32).tobytes()
    assert values.min() >= np.float32(-0.3)
    assert values.max() < np.float32(0.3)
    assert abs(float(values.mean(dtype=np.float64))) < 3e-3


def test_scales():
    he = he_uniform(0, "w", (600, 50))
    assert he.dtype == np.float32
    assert he.shape == (600, 50)
    np.testing.assert_allclose(np.abs(he).max(), np.sqrt(6 / 600), rtol=1e-3)
    np.testing.assert_allclose(np.abs(glorot_uniform(0, "w", (600, 50))).max(), np.sqrt(6 / 650), rtol=1e-3)
    with pytest.raises(LocalError, match="'w'"):
        he_uniform(0, "w", (0, 3))
