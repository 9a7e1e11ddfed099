"""The simulator's signatures are cheap, and a changed byte is still noticed."""

from synaptic_mesh.sim.signatures import HashKey, HashScheme

ALICE, BOB = HashKey(b"a" * 32), HashKey(b"b" * 32)
SCHEME = HashScheme([ALICE, BOB])


def test_a_signature_is_its_keys_domains_and_messages_alone() -> None:
    signature = ALICE.sign("block/v1", b"message")
    assert len(signature) == 64
    assert SCHEME.check(ALICE.peer_id, "block/v1", b"message", signature)
    assert not SCHEME.check(BOB.peer_id, "block/v1", b"message", signature)
    assert not SCHEME.check(ALICE.peer_id, "block/v2", b"message", signature)
    assert not SCHEME.check(ALICE.peer_id, "block/v1", b"massage", signature)
    assert not SCHEME.check(ALICE.peer_id, "block/v1", b"message", signature[:-1] + b"\0")
    assert not SCHEME.check(b"c" * 32, "block/v1", b"message", signature)
    assert ALICE.sign("ab", b"c") != ALICE.sign("a", b"bc")
