"""Hybrid signatures: both parts must hold, over the same digest."""

import pytest

from synaptic_mesh.identity.committee import Committee, committee_of
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES, HybridKey, committee_check, verify_hybrid
from synaptic_mesh.identity.keys import KeyPair, verify_signature

KEY, OTHER = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
HYBRID, OTHER_HYBRID = HybridKey(KEY), HybridKey(OTHER)
SIGNATURE = HYBRID.sign("block/v1", b"message")


def hybrid_committee(*keys: KeyPair) -> Committee:
    return committee_of(0, {k.peer_id: 1 for k in keys}, {k.peer_id: HybridKey(k).public for k in keys})


def holds(
    signature: bytes, domain: str = "block/v1", message: bytes = b"message", public: bytes = HYBRID.public
) -> bool:
    answers = {verify_hybrid(KEY.peer_id, public, domain, message, signature)}
    if public == HYBRID.public:
        answers.add(committee_check(hybrid_committee(KEY, OTHER))(KEY.peer_id, domain, message, signature))
    assert len(answers) == 1
    return answers.pop()


def test_a_signature_holds_for_its_message_domain_and_keys_alone() -> None:
    assert len(SIGNATURE) == HYBRID_SIGNATURE_BYTES == 3_373
    assert holds(SIGNATURE)
    assert not holds(SIGNATURE, domain="other/v1")
    assert not holds(SIGNATURE, message=b"other")
    assert not holds(SIGNATURE, public=OTHER_HYBRID.public)
    assert not holds(SIGNATURE, public=b"short")


def test_both_parts_must_hold() -> None:
    foreign = OTHER_HYBRID.sign("block/v1", b"message")
    assert not holds(SIGNATURE[:64] + foreign[64:])
    assert not holds(foreign[:64] + SIGNATURE[64:])
    for position in (0, 63, 64, HYBRID_SIGNATURE_BYTES - 1):
        broken = bytearray(SIGNATURE)
        broken[position] ^= 1
        assert not holds(bytes(broken))
    for wrong in (b"", SIGNATURE[:64], SIGNATURE[:-1], SIGNATURE + b"\0"):
        assert not holds(wrong)


def test_the_classical_part_alone_is_an_ordinary_signature() -> None:
    assert verify_signature(KEY.peer_id, "block/v1", b"message", SIGNATURE[:64])


def test_keys_follow_from_the_seed() -> None:
    assert HybridKey(KeyPair(bytes([1]) * 32)).public == HYBRID.public != OTHER_HYBRID.public


def test_a_committee_without_such_keys_signs_as_ever() -> None:
    committee = committee_of(0, {KEY.peer_id: 1})
    assert not committee.is_hybrid
    assert committee_check(committee) is verify_signature


def test_nobody_outside_the_committee_signs() -> None:
    check = committee_check(hybrid_committee(OTHER))
    assert not check(KEY.peer_id, "block/v1", b"message", SIGNATURE)


def test_a_committee_is_hybrid_as_a_whole() -> None:
    stakes = {KEY.peer_id: 1, OTHER.peer_id: 1}
    with pytest.raises(ValueError, match="all sign alike"):
        committee_of(0, stakes, {KEY.peer_id: HYBRID.public})
    with pytest.raises(ValueError, match="key of 5 bytes"):
        committee_of(0, stakes, {KEY.peer_id: b"short"})
