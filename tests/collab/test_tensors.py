import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.collab.tensors import (
    BLOB_BYTES_MAX,
    decode_finite_untrusted,
    decode_tensors_untrusted,
    encode_tensors,
    with_rows,
)
from synaptic_mesh.ledger.manifest import TensorSpec

SPECS = (TensorSpec("w", "f32", (2, 3)), TensorSpec("label", "i32", (2,)), TensorSpec("scale", "f32", ()))
TENSORS = {
    "scale": np.float32(2).reshape(()),
    "label": np.array([1, -5], np.int32),
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
}


def test_blob_is_the_tensors_in_the_order_of_the_specs():
    blob = encode_tensors(SPECS, TENSORS)
    assert blob == TENSORS["w"].tobytes() + TENSORS["label"].tobytes() + TENSORS["scale"].tobytes()
    decoded = decode_tensors_untrusted(SPECS, blob)
    assert all(np.array_equal(decoded[name], TENSORS[name]) for name in TENSORS)
    assert decoded["scale"].shape == ()


@pytest.mark.parametrize("change", [-1, 1, 4])
def test_wrong_length_is_refused(change):
    blob = encode_tensors(SPECS, TENSORS)
    with pytest.raises(PeerError, match="does not hold"):
        decode_tensors_untrusted(SPECS, (blob + bytes(4))[: len(blob) + change])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite(value):
    blob = encode_tensors(SPECS, TENSORS | {"scale": np.float32(value).reshape(())})
    assert not np.isfinite(decode_tensors_untrusted(SPECS, blob)["scale"])
    with pytest.raises(PeerError, match="'scale'"):
        decode_finite_untrusted(SPECS, blob)


@pytest.mark.parametrize(
    ("specs", "named"),
    [
        ((TensorSpec("w", "f64", (1,)),), "'f64'"),
        ((TensorSpec("w", "f32", (1,)), TensorSpec("w", "f32", (1,))), "repeat"),
        ((TensorSpec("w", "f32", (-1,)),), "-1"),
        ((TensorSpec("w", "f32", (1,) * 7),), "rank"),
        ((TensorSpec("w", "f32", (BLOB_BYTES_MAX,)),), "is over"),
        (tuple(TensorSpec(str(i), "f32", ()) for i in range(4_097)), "4097"),
    ],
)
def test_specs_that_cannot_be(specs, named):
    with pytest.raises(PeerError, match=named):
        decode_tensors_untrusted(specs, b"")


@given(
    st.binary(max_size=64),
    st.lists(
        st.builds(
            TensorSpec, st.text(max_size=3), st.sampled_from(["f32", "i32", "u32", "x"]), st.tuples(st.integers(-2, 5))
        ),
        max_size=4,
    ),
)
def test_any_bytes_give_tensors_or_a_peer_error(data, specs):
    try:
        tensors = decode_tensors_untrusted(specs, data)
    except PeerError:
        return
    assert encode_tensors(specs, tensors) == data


def test_rows_come_first():
    assert with_rows(SPECS, 5)[0] == TensorSpec("w", "f32", (5, 2, 3))
