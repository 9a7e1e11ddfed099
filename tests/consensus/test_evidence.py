"""Proofs of equivocation: what convicts, and what does not."""

from functools import partial

import pytest
from consensus_mesh import NETWORK, committee_for, keys_of
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import InvariantBroken, PeerError
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.evidence import (
    EvidenceRecord,
    SignedHeader,
    check_evidence_untrusted,
    evidence_bytes_max,
    evidence_of,
)
from synaptic_mesh.identity.committee import Committee, committee_of
from synaptic_mesh.identity.hybrid import HybridKey
from synaptic_mesh.identity.keys import KeyPair

KEYS = keys_of(4)
COMMITTEE = committee_for(KEYS)


def seal(key: KeyPair | HybridKey = KEYS[1], author: int = 1, round_: int = 5, **changes: object) -> VerifiedBlock:
    values: dict[str, object] = {
        "network": NETWORK, "epoch": 0, "incarnation": 0, "timestamp_ms": 0,
        "ancestors": (genesis_ref(NETWORK, 0, author),), "transactions": (b"a",), **changes,
    }  # fmt: skip
    return seal_block(key.sign, round_=round_, author=author, **values)  # type: ignore[arg-type]


ONE, OTHER = seal(), seal(transactions=(b"b",))


def forged(first: VerifiedBlock, second: VerifiedBlock) -> bytes:
    """A record whatever it proves, in the right order."""
    pair = sorted((first, second), key=lambda block: block.digest)
    return encode(EvidenceRecord(*(SignedHeader(encode(block.header), block.signature) for block in pair)))


def test_two_blocks_of_a_slot_convict_their_author_in_one_form() -> None:
    proof = evidence_of(ONE, OTHER)
    assert proof == evidence_of(OTHER, ONE) == forged(ONE, OTHER)
    assert check_evidence_untrusted(proof, COMMITTEE, NETWORK) == (1, 5, KEYS[1].peer_id)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (ONE, ONE, "the two headers are one"),
        (ONE, seal(round_=6), "differ"),
        (ONE, seal(KEYS[2], 2), "differ"),
        (seal(author=9), seal(author=9, transactions=()), "nobody signs as author 9"),
        (seal(round_=0), seal(round_=0, transactions=()), "in round 0"),
        (ONE, seal(epoch=1), "epoch 1"),
        (ONE, seal(network=bytes(32)), "a header of network"),
        (ONE, seal(KEYS[2], transactions=(b"b",)), "signature of author 1 in round 5 is wrong"),
    ],
)
def test_what_proves_nothing(first: VerifiedBlock, second: VerifiedBlock, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        check_evidence_untrusted(forged(first, second), COMMITTEE, NETWORK)


def test_the_order_is_part_of_the_form() -> None:
    record = decode_untrusted(EvidenceRecord, evidence_of(ONE, OTHER))
    with pytest.raises(PeerError, match="not in the order"):
        check_evidence_untrusted(encode(EvidenceRecord(record.second, record.first)), COMMITTEE, NETWORK)


def test_only_twins_make_a_proof() -> None:
    with pytest.raises(InvariantBroken, match="prove nothing"):
        evidence_of(ONE, seal(round_=6))


@given(st.binary(max_size=200), st.integers(0, 2_000), st.integers(0, 255))
def test_any_bytes_are_a_peer_error_or_a_proof(data: bytes, position: int, value: int) -> None:
    proof = bytearray(evidence_of(ONE, OTHER))
    proof[position % len(proof)] = value
    for attempt in (data, bytes(proof), bytes(proof)[: position % len(proof)]):
        try:
            found = check_evidence_untrusted(attempt, COMMITTEE, NETWORK)
        except PeerError:
            continue
        assert found == (1, 5, KEYS[1].peer_id)
        assert attempt == evidence_of(ONE, OTHER)


def hybrid_committee() -> Committee:
    return committee_of(0, {k.peer_id: 1 for k in KEYS}, {k.peer_id: HybridKey(k).public for k in KEYS})


def test_in_a_hybrid_committee_both_signatures_of_both_headers_must_hold() -> None:
    committee, key = hybrid_committee(), HybridKey(KEYS[1])
    check = partial(check_evidence_untrusted, committee=committee, network=NETWORK)
    one, other = seal(key), seal(key, transactions=(b"b",))
    assert check(evidence_of(one, other)) == (1, 5, KEYS[1].peer_id)
    with pytest.raises(PeerError, match="is wrong"):
        check(forged(one, OTHER))  # signed with Ed25519 only
    with pytest.raises(PeerError, match="is wrong"):
        check_evidence_untrusted(evidence_of(one, other), COMMITTEE, NETWORK)


def test_a_hybrid_block_is_admitted_only_with_both_parts() -> None:
    committee, key = hybrid_committee(), HybridKey(KEYS[1])
    ancestors = (genesis_ref(NETWORK, 0, 1), genesis_ref(NETWORK, 0, 0), genesis_ref(NETWORK, 0, 2))
    block = seal(key, round_=1, ancestors=ancestors)
    assert Admission(committee, NETWORK).verify_untrusted(block.encoded).digest == block.digest
    for admission, data in (
        (Admission(COMMITTEE, NETWORK), block.encoded),
        (Admission(committee, NETWORK), seal(round_=1, ancestors=ancestors).encoded),
    ):
        with pytest.raises(PeerError, match="V5"):
            admission.verify_untrusted(data)


def test_the_largest_headers_of_a_committee_fit() -> None:
    ancestors = tuple(BlockRef((1 << 32) - 2, (1 << 32) - 1, bytes([255]) * 32) for _ in range(COMMITTEE.size))
    one, other = (seal(ancestors=ancestors, transactions=(tx,), timestamp_ms=(1 << 63) - 1) for tx in (b"a", b"b"))
    assert len(evidence_of(one, other)) < evidence_bytes_max(COMMITTEE)
