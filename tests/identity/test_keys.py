import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.identity.keys import KeyPair, verify_signature

KEY = KeyPair(bytes(range(32)))
ORDER = (1 << 252) + 27742317777372353535851937790883648493
"""L, order of the prime-order subgroup of Ed25519 (RFC 8032)."""
PRIME = (1 << 255) - 19

SMALL_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    (PRIME - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]
"""Encodings of the points of order 1, 2, 4, 8."""


def test_public_key_is_that_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert KeyPair(seed).peer_id == public


def test_a_signature_holds_for_its_key_domain_and_message_only() -> None:
    signature = KEY.sign("block", b"payload")
    assert verify_signature(KEY.peer_id, "block", b"payload", signature)
    assert verify_signature(KEY.peer_id, "block", memoryview(b"payload"), signature)
    assert not verify_signature(KEY.peer_id, "vote", b"payload", signature)
    assert not verify_signature(KEY.peer_id, "block", b"payloae", signature)
    assert not verify_signature(KeyPair(bytes(32)).peer_id, "block", b"payload", signature)
    assert signature == KeyPair(KEY.seed).sign("block", b"payload")


@given(st.integers(0, 511))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    signature = bytearray(KEY.sign("block", b"payload"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify_signature(KEY.peer_id, "block", b"payload", bytes(signature))


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_garbage_is_false_not_an_exception(peer_id: bytes, signature: bytes) -> None:
    assert not verify_signature(peer_id, "block", b"payload", signature)


def test_the_second_form_of_a_signature_is_refused() -> None:
    signature = KEY.sign("block", b"payload")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify_signature(KEY.peer_id, "block", b"payload", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_points_sign_nothing(point: bytes) -> None:
    # R = identity, S = 0 satisfies the bare equation for a key of order 1: only the rule refuses it.
    for first in SMALL_ORDER:
        assert not verify_signature(point, "block", b"payload", first + bytes(32))
    assert not verify_signature(KEY.peer_id, "block", b"payload", point + bytes(32))


def test_non_canonical_keys_are_refused() -> None:
    for value in range(PRIME, 1 << 255):
        assert not verify_signature(value.to_bytes(32, "little"), "block", b"payload", KEY.sign("block", b"payload"))


def test_seeds_have_32_bytes_and_stay_out_of_reprs() -> None:
    with pytest.raises(LocalError, match="has 31"):
        KeyPair(bytes(31))
    assert KEY.seed.hex()[:8] not in repr(KEY)
