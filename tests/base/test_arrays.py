import numpy as np
import pytest

from synaptic_mesh.base.arrays import array_digest, canonical_bytes, from_canonical_untrusted
from synaptic_mesh.base.errors import PeerError


def test_nan_payloads_and_layout_do_not_change_the_bytes() -> None:
    odd = np.array([[0x7FC00001, 0xFFC00000], [0x3F800000, 0x80000000]], np.uint32).view(np.float32)
    plain = np.array([[np.nan, np.nan], [1.0, -0.0]], np.float32)
    assert canonical_bytes(odd) == canonical_bytes(plain)
    assert canonical_bytes(np.asfortranarray(plain)) == canonical_bytes(plain)
    assert array_digest(np.array([0.0], np.float32)) != array_digest(np.array([-0.0], np.float32))


def test_digest_binds_shape_and_dtype() -> None:
    data = np.zeros(6, np.int32)
    digests = {array_digest(data), array_digest(data.reshape(2, 3)), array_digest(data.view(np.float32))}
    assert len(digests) == 3


def test_round_trip_and_refusals() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(from_canonical_untrusted(canonical_bytes(values), "f32", (2, 3)), values)
    with pytest.raises(PeerError, match="do not hold"):
        from_canonical_untrusted(bytes(20), "f32", (2, 3))
    with pytest.raises(PeerError, match="unknown dtype"):
        from_canonical_untrusted(bytes(24), "f64", (3,))
    with pytest.raises(PeerError, match="NaN"):
        from_canonical_untrusted(b"\x01\x00\xc0\x7f", "f32", (1,))


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        canonical_bytes(np.zeros(1))
