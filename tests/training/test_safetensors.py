"""The container: equal to the published format, deterministic, and refused when damaged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.training.safetensors import decode_safetensors_untrusted, encode_safetensors

TENSORS: dict[str, F32] = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(-0.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
}
FILE = encode_safetensors(TENSORS, {"z": "1", "a": "\u00e9"})


def test_round_trip_keeps_order_shapes_bits_and_metadata() -> None:
    tensors, metadata = decode_safetensors_untrusted(FILE)
    assert list(tensors) == ["b", "a", "empty"]
    assert all((tensors[k].tobytes(), tensors[k].shape) == (v.tobytes(), v.shape) for k, v in TENSORS.items())
    assert metadata == {"z": "1", "a": "\u00e9"}


def test_the_library_of_the_format_reads_it_and_is_read() -> None:
    library = pytest.importorskip("safetensors.numpy")
    theirs = library.load(FILE)
    assert all(np.array_equal(theirs[name], TENSORS[name]) for name in TENSORS)
    ours, metadata = decode_safetensors_untrusted(library.save(TENSORS, {"k": "v"}))
    assert metadata == {"k": "v"}
    assert all(np.array_equal(ours[name], TENSORS[name]) for name in TENSORS)


def test_the_layout_is_the_published_one() -> None:
    size = int.from_bytes(FILE[:8], "little")
    header = json.loads(FILE[8 : 8 + size])
    assert size % 8 == 0
    assert header["b"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert FILE[8 + size :] == b"".join(tensor.tobytes() for tensor in TENSORS.values())


def forge(header: object, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        FILE[:-1],
        FILE + b"\0",
        (1 << 40).to_bytes(8, "little") + FILE[8:],
        forge([], b""),
        forge({"t": 1}, b""),
        forge({"t": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
        forge({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
        forge({"t": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        forge({"t": {"dtype": "F32", "shape": [1] * 9, "data_offsets": [0, 4]}}, bytes(4)),
        forge({"t": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}, bytes(4)),
        forge({"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
        forge({"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(8)),
        forge({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}}, bytes(4)),
        forge({"__metadata__": {"a": 1}}, b""),
        forge({k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in "tu"}, bytes(4)),
        forge({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\xff\xff\xff\xff"),
    ],
)
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        decode_safetensors_untrusted(data)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_any_byte_changed_decodes_or_raises_peer_error(at: int, byte: int) -> None:
    damaged = FILE[:at] + bytes([byte]) + FILE[at + 1 :]
    try:
        tensors, _ = decode_safetensors_untrusted(damaged)
    except PeerError:
        return
    assert sum(tensor.size for tensor in tensors.values()) == 7
