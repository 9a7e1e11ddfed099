import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import Digest, NetworkId, PeerId
from synaptic_mesh.identity.envelope import (
    ENVELOPE_DOMAIN,
    EVERYONE,
    PAYLOAD_BYTES_MAX,
    REPLAY_WINDOW,
    Claim,
    Envelope,
    EnvelopeRejected,
    Opened,
    Opener,
    Reason,
    Sealer,
)
from synaptic_mesh.identity.keys import KeyPair

NETWORK = NetworkId(b"n" * 32)
ALICE, BOB, EVE = (KeyPair(bytes([number]) * 32) for number in (1, 2, 3))


def sealer(key: KeyPair = ALICE, incarnation: int = 1) -> Sealer:
    return Sealer(key, NETWORK, incarnation)


def opener() -> Opener:
    return Opener(NETWORK, BOB.peer_id, lambda peer: peer == ALICE.peer_id)


def signed(
    payload: bytes = b"hello",
    key: KeyPair = ALICE,
    version: int = 1,
    network: NetworkId = NETWORK,
    sender: PeerId = ALICE.peer_id,
    recipient: PeerId = EVERYONE,
    incarnation: int = 1,
    counter: int = 1,
    topic: str = "block",
    payload_digest: Digest | None = None,
) -> bytes:
    digest = blob_digest(payload) if payload_digest is None else payload_digest
    claim = Claim(version, network, sender, recipient, incarnation, counter, topic, digest)
    return encode(Envelope(claim, key.sign(ENVELOPE_DOMAIN, encode(claim))))


def reason_of(header: bytes, payload: bytes = b"hello", at: Opener | None = None) -> Reason:
    with pytest.raises(EnvelopeRejected) as caught:
        (at or opener()).open_untrusted(header, payload)
    assert isinstance(caught.value, PeerError)
    return caught.value.reason


def test_what_is_sealed_is_opened() -> None:
    source, target = sealer(), opener()
    assert target.open_untrusted(source.seal("block", b"hello"), b"hello") == Opened(
        ALICE.peer_id, "block", b"hello", False
    )
    header = source.seal("vote", b"", BOB.peer_id)
    assert target.open_untrusted(header, b"") == Opened(ALICE.peer_id, "vote", b"", True)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (signed(version=2), Reason.VERSION),
        (signed(network=NetworkId(b"m" * 32)), Reason.NETWORK),
        (signed(recipient=EVE.peer_id), Reason.RECIPIENT),
        (signed(sender=EVE.peer_id, key=EVE), Reason.STRANGER),
        (signed(sender=BOB.peer_id, key=BOB), Reason.STRANGER),
        (signed(key=EVE), Reason.SIGNATURE),
        (signed(payload=b"other"), Reason.PAYLOAD),
        (signed(topic="Block"), Reason.MALFORMED),
        (signed(topic=""), Reason.MALFORMED),
        (signed(topic="x" * 33), Reason.MALFORMED),
        (signed(counter=0), Reason.MALFORMED),
        (signed(incarnation=-1), Reason.MALFORMED),
        (signed(network=NetworkId(b"n")), Reason.MALFORMED),
        (signed(payload_digest=Digest(b"")), Reason.MALFORMED),
        (b"", Reason.MALFORMED),
        (b"\xc1" * 100, Reason.MALFORMED),
        (signed() + b"\0", Reason.MALFORMED),
        (bytes(401), Reason.OVERSIZED),
    ],
)
def test_what_is_dropped_and_why(header: bytes, reason: Reason) -> None:
    assert reason_of(header) is reason


def test_unsigned_is_dropped() -> None:
    claim = Claim(1, NETWORK, ALICE.peer_id, EVERYONE, 1, 1, "block", blob_digest(b"hello"))
    assert reason_of(encode(Envelope(claim, b""))) is Reason.MALFORMED
    assert reason_of(encode(Envelope(claim, bytes(64)))) is Reason.SIGNATURE


def test_oversized_is_refused_on_both_sides() -> None:
    big = bytes(PAYLOAD_BYTES_MAX + 1)
    with pytest.raises(LocalError, match="as a blob"):
        sealer().seal("block", big)
    assert reason_of(signed(payload=big), big) is Reason.OVERSIZED
    with pytest.raises(LocalError, match="topic"):
        sealer().seal("Block!", b"")


def test_each_message_is_taken_once_in_any_order() -> None:
    source, target = sealer(), opener()
    headers = [source.seal("block", b"hello") for _ in range(20)]
    for header in headers[10:] + headers[:10]:
        target.open_untrusted(header, b"hello")
    for header in headers:
        assert reason_of(header, at=target) is Reason.REPLAYED


def test_a_rejected_message_leaves_no_trace() -> None:
    target = opener()
    assert reason_of(signed(key=EVE, counter=1 << 40), at=target) is Reason.SIGNATURE
    target.open_untrusted(signed(counter=1), b"hello")


def test_old_counters_and_incarnations_are_stale() -> None:
    target = opener()
    target.open_untrusted(signed(counter=REPLAY_WINDOW + 5, incarnation=3), b"hello")
    target.open_untrusted(signed(counter=6, incarnation=3), b"hello")
    assert reason_of(signed(counter=5, incarnation=3), at=target) is Reason.STALE
    assert reason_of(signed(counter=9_999, incarnation=2), at=target) is Reason.STALE
    target.open_untrusted(signed(counter=1, incarnation=4), b"hello")  # restarted: heard again
    assert reason_of(signed(counter=REPLAY_WINDOW + 6, incarnation=3), at=target) is Reason.STALE


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3 * REPLAY_WINDOW)), max_size=12))
def test_the_window_agrees_with_a_set(sequence: list[tuple[int, int]]) -> None:
    target = opener()
    taken: set[tuple[int, int]] = set()
    for incarnation, counter in sequence:
        newest = max((i for i, _ in taken), default=0)
        highest = max((c for i, c in taken if i == newest), default=0)
        fresh = incarnation > newest or (incarnation == newest and counter > highest - REPLAY_WINDOW)
        header = signed(incarnation=incarnation, counter=counter)
        if fresh and (incarnation, counter) not in taken:
            target.open_untrusted(header, b"hello")
            taken.add((incarnation, counter))
        else:
            assert reason_of(header, at=target) is (Reason.REPLAYED if fresh else Reason.STALE)


@given(st.integers(0, 8 * len(signed()) - 1))
def test_no_bit_of_the_header_can_change(bit: int) -> None:
    header = bytearray(signed())
    header[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EnvelopeRejected):
        opener().open_untrusted(bytes(header), b"hello")


@given(st.binary(max_size=400))
def test_garbage_raises_only_peer_errors(header: bytes) -> None:
    with pytest.raises(EnvelopeRejected):
        opener().open_untrusted(header, b"hello")
