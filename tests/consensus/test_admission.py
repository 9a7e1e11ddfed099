"""Every stateless rule refuses what breaks it, in the order that keeps judging cheap and safe."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.consensus import admission
from synaptic_mesh.consensus.admission import Admission, verify_block_untrusted
from synaptic_mesh.consensus.block import (
    BLOCK_DOMAIN,
    BlockRef,
    CommitVote,
    Header,
    WireBlock,
    genesis_ref,
    header_digest,
    payload_digest,
    seal_block,
    signed_message,
)
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.identity.keys import KeyPair

NETWORK = bytes([7]) * 32
KEYS = sorted((KeyPair(bytes([seed]) * 32) for seed in range(1, 5)), key=lambda key: key.peer_id)
COMMITTEE = committee_of(3, {key.peer_id: 1 for key in KEYS})
RULES = Admission(COMMITTEE, NETWORK)
GENESIS = tuple(genesis_ref(NETWORK, 3, author) for author in range(4))


def header(**changes: Any) -> Header:
    """A valid header of author 1 in round 1, with some fields changed."""
    payload = encode((b"tx",))
    valid = Header(
        NETWORK, 3, 1, 1, 0, 1_000, (GENESIS[1], GENESIS[0], GENESIS[2]), payload_digest(payload), len(payload), 1, ()
    )
    return msgspec.structs.replace(valid, **changes)


def signed(head: Header, payload: bytes | None = None, key: KeyPair = KEYS[1]) -> bytes:
    """The wire bytes of a header, signed."""
    raw = encode(head)
    signature = key.sign(BLOCK_DOMAIN, signed_message(head.network, head.epoch, header_digest(raw)))
    return encode(WireBlock(raw, signature, encode((b"tx",)) if payload is None else payload))


def refused(data: bytes) -> str:
    with pytest.raises(PeerError) as error:
        RULES.verify_untrusted(data)
    return str(error.value)


def ref(round_: int, author: int) -> BlockRef:
    return BlockRef(round_, author, bytes([round_, author]) * 16)


def test_a_sealed_block_passes_and_comes_out_equal() -> None:
    sealed = seal_block(
        KEYS[1].sign, network=NETWORK, epoch=3, round_=1, author=1, incarnation=2, timestamp_ms=5,
        ancestors=(GENESIS[1], GENESIS[0], GENESIS[3]), transactions=(b"a", b"bc"),
        commit_votes=(CommitVote(1, NETWORK),),
    )  # fmt: skip
    block = verify_block_untrusted(sealed.encoded, COMMITTEE, NETWORK)
    assert (block.digest, block.header, block.transactions) == (sealed.digest, sealed.header, (b"a", b"bc"))
    assert block.encoded == sealed.encoded


def test_the_digest_does_not_cover_the_signature() -> None:
    data = signed(header())
    assert RULES.verify_untrusted(data).digest == header_digest(encode(header()))


CASES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "another network": ("V1", lambda: signed(header(network=bytes(32)))),
    "another epoch": ("V1", lambda: signed(header(epoch=4))),
    "phantom voter": ("V2", lambda: signed(header(author=4))),
    "huge author": ("V2", lambda: signed(header(author=(1 << 32) - 1))),
    "round 0": ("V3", lambda: signed(header(round=0))),
    "another key": ("V5", lambda: signed(header(), key=KEYS[0])),
    "no ancestors": ("V6", lambda: signed(header(ancestors=()))),
    "own block not first": ("V6", lambda: signed(header(ancestors=(GENESIS[0], GENESIS[1], GENESIS[2])))),
    "author twice": ("V6", lambda: signed(header(ancestors=(GENESIS[1], GENESIS[0], GENESIS[0])))),
    "own author twice": (
        "V6", lambda: signed(header(round=2, ancestors=(ref(1, 1), ref(1, 0), ref(1, 2), ref(0, 1)))),
    ),
    "ancestor author unknown": ("V6", lambda: signed(header(ancestors=(GENESIS[1], GENESIS[0], ref(0, 4))))),
    "more ancestors than authors": ("V6", lambda: signed(header(ancestors=(*GENESIS[1:], *GENESIS[:1], ref(0, 0))))),
    "ancestor of the same round": (
        "V6", lambda: signed(header(round=2, ancestors=(ref(1, 1), ref(1, 0), ref(1, 2), ref(2, 3)))),
    ),
    "invented genesis": ("V6", lambda: signed(header(ancestors=(GENESIS[1], GENESIS[0], ref(0, 2))))),
    "too many commit votes": ("V6", lambda: signed(header(commit_votes=(CommitVote(1, NETWORK),) * 17))),
    "two parents": ("V7", lambda: signed(header(ancestors=(GENESIS[1], GENESIS[0])))),
    "parents from older rounds": (
        "V7", lambda: signed(header(round=3, ancestors=(ref(2, 1), ref(2, 0), ref(1, 2), ref(1, 3)))),
    ),
    "another payload": ("V4", lambda: signed(header(), encode((b"ty",)))),
    "longer payload": ("V4", lambda: signed(header(), encode((b"tx", b"ty")))),
    "wrong count": ("V8", lambda: signed(header(transaction_count=2))),
    "too many transactions": ("V8", lambda: signed(header(transaction_count=admission.BLOCK_TRANSACTIONS_MAX + 1))),
    "too many bytes": ("V8", lambda: signed(header(payload_bytes=admission.BLOCK_PAYLOAD_BYTES_MAX + 1))),
    "empty transaction": ("V8", lambda: with_payload((b"",))),
    "oversized transaction": ("V8", lambda: with_payload((bytes(admission.TRANSACTION_BYTES_MAX + 1),))),
}  # fmt: skip


def with_payload(transactions: tuple[bytes, ...]) -> bytes:
    payload = encode(transactions)
    counts = {"payload_bytes": len(payload), "transaction_count": len(transactions)}
    return signed(header(payload_hash=payload_digest(payload), **counts), payload)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named(name: str) -> None:
    rule, build = CASES[name]
    assert refused(build()).startswith(rule)


def test_a_quorum_of_parents_is_exactly_enough() -> None:
    assert RULES.verify_untrusted(signed(header())).round == 1


def test_malformed_and_non_canonical_bytes_are_refused() -> None:
    data = signed(header())
    assert "decode" in refused(b"")
    assert "decode" in refused(data[:-1])
    assert "over the limit" in refused(data + bytes(RULES.block_bytes_max))
    wire = msgspec.msgpack.decode(data, type=WireBlock)
    raw = wire.header
    assert raw[0] == 0x9B  # an array of 11 in its short form; the long form below means the same and is refused
    long_form = b"\xdc\x00\x0b" + raw[1:]
    assert "canonical" in refused(encode(WireBlock(long_form, wire.signature, wire.payload)))


def test_negative_and_oversized_integers_are_refused() -> None:
    for change in ({"timestamp_ms": -1}, {"timestamp_ms": 1 << 63}, {"round": 1 << 32}, {"incarnation": -5}):
        assert "decode" in refused(signed(header(**change)))


def test_the_signature_is_checked_before_the_payload_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_payload: bytes) -> bytes:
        raise AssertionError("the payload was hashed")

    monkeypatch.setattr(admission, "payload_digest", explode)
    assert refused(signed(header(), key=KEYS[0])).startswith("V5")


def test_any_flipped_bit_is_refused_or_changes_nothing_but_bytes() -> None:
    data = signed(header())
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        refused(bytes(flipped))


def test_only_admission_and_sealing_build_verified_blocks() -> None:
    """The type is the proof, so the constructor may not be called elsewhere."""
    from pathlib import Path

    source = Path(admission.__file__).parent.parent
    callers = {path.name for path in source.rglob("*.py") if "VerifiedBlock(" in path.read_text()}
    assert callers == {"block.py", "admission.py"}


def test_the_parents_that_a_block_needs_are_those_of_the_epochs_rule() -> None:
    data = signed(header())  # three parents of four
    strict = Admission(COMMITTEE, NETWORK, parent_stake=4)
    with pytest.raises(PeerError, match="V7: parents of round 0 have stake 3, below 4"):
        strict.verify_untrusted(data)
    assert Admission(COMMITTEE, NETWORK, parent_stake=3).verify_untrusted(data)
