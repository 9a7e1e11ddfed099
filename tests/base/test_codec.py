import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError


class Point(Record):
    x: int
    name: str
    parts: tuple[bytes, ...]


@given(st.integers(-(2**63), 2**64 - 1), st.text(max_size=20), st.lists(st.binary(max_size=20), max_size=5))
def test_round_trip(x: int, name: str, parts: list[bytes]) -> None:
    point = Point(x, name, tuple(parts))
    assert decode_untrusted(Point, encode(point)) == point


@given(st.binary(max_size=200))
def test_garbage_raises_only_peer_error(data: bytes) -> None:
    try:
        value = decode_untrusted(Point, data)
    except PeerError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\x93\xcc\x01\xa1a\x90",  # 1 as uint8 instead of the fixint
        b"\x93\x01\xd9\x01a\x90",  # "a" as str8 instead of the fixstr
        b"\x94\x01\xa1a\x90\x01",  # a field too many
        b"\x92\x01\xa1a",  # a field too few
        b"\x93\x01\xa1a\x90\x00",  # a byte too many
        b"",
    ],
)
def test_other_encodings_of_a_value_are_refused(data: bytes) -> None:
    assert msgspec.msgpack.decode(b"\x93\x01\xa1a\x90", type=Point) == Point(1, "a", ())
    with pytest.raises(PeerError):
        decode_untrusted(Point, data)


def test_oversized_is_refused_before_decoding() -> None:
    with pytest.raises(PeerError, match="over the limit of 10"):
        decode_untrusted(Point, bytes(11), bytes_max=10)


def test_deep_nesting_is_a_peer_error() -> None:
    with pytest.raises(PeerError):
        decode_untrusted(list, b"\x91" * 100_000 + b"\x90")
