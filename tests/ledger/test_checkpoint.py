"""What a checkpoint is, and which signatures make one certain."""

from typing import Any

import pytest
from checkpoint_net import KEYS, NETWORK, RULES, checkpoint, rules_of
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES, HybridKey
from synaptic_mesh.ledger.checkpoint import (
    CHECKPOINT_DOMAIN,
    CheckpointCertificate,
    CheckpointRules,
    committee_digest,
    sign_checkpoint,
)


def certificate(*authors: int, root: int = 0) -> CheckpointCertificate:
    state = checkpoint(20, root)
    votes = [sign_checkpoint(state, author, KEYS[author].sign) for author in authors]
    return CheckpointCertificate(state, tuple((vote.author, vote.signature) for vote in votes))


def test_checkpoints_are_due_at_multiples() -> None:
    assert [index for index in range(-10, 31) if RULES.is_due(index)] == [10, 20, 30]


@pytest.mark.parametrize("authors", [(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_a_quorum_is_enough(authors: tuple[int, ...]) -> None:
    RULES.check_certificate_untrusted(certificate(*authors))


def other_signature(found: CheckpointCertificate) -> CheckpointCertificate:
    (first, _), *rest = found.signatures
    return replace(found, signatures=((first, rest[0][1]), *rest))


def block_signature(found: CheckpointCertificate) -> CheckpointCertificate:
    message = encode(found.checkpoint)
    return replace(found, signatures=tuple((author, KEYS[author].sign("block/v1", message)) for author in range(3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: certificate(0, 1), "signed by stake 2 of 4, it needs 3"),
        (lambda _: certificate(0, 1, 1, 1), "not of validators in ascending order"),
        (lambda _: certificate(2, 1, 0), "not of validators in ascending order"),
        (lambda found: replace(found, signatures=((9, bytes(64)), (10, bytes(64)))), "not of validators in ascending"),
        (lambda found: replace(found, signatures=()), "signed by stake 0"),
        (lambda found: replace(found, checkpoint=checkpoint(20, 1)), "signature of author 0 on checkpoint 20 is wrong"),
        (other_signature, "signature of author 0"),
        (block_signature, "signature of author 0"),
        (lambda found: replace(found, checkpoint=replace(found.checkpoint, network=bytes(32))), "network 00000000"),
        (lambda found: replace(found, checkpoint=replace(found.checkpoint, epoch=1)), "epoch 1"),
        (lambda found: replace(found, checkpoint=replace(found.checkpoint, committee=bytes(32))), "committee 00000000"),
        (lambda found: replace(found, checkpoint=checkpoint(21)), "one every 10 commits"),
        (lambda found: replace(found, checkpoint=checkpoint(0)), "one every 10 commits"),
    ],
)
def test_anything_less_is_refused(change: Any, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        RULES.check_certificate_untrusted(change(certificate(0, 1, 2)))


def test_every_field_is_signed() -> None:
    """A certificate for a state with another value in any one field is refused."""
    found = certificate(0, 1, 2)
    for name in ("commit", "timestamp_ms", "state_root", "supply"):
        value = getattr(found.checkpoint, name)
        other = value + 1 if isinstance(value, int) else bytes(reversed(value[1:] + b"x"))
        with pytest.raises(PeerError, match="signature of author 0"):
            RULES.check_certificate_untrusted(replace(found, checkpoint=replace(found.checkpoint, **{name: other})))


def test_stake_counts_and_not_heads() -> None:
    rules = rules_of(stakes=(7, 1, 1, 1))
    state = checkpoint(10, rules=rules)
    votes = {author: sign_checkpoint(state, author, KEYS[author].sign).signature for author in range(4)}
    with pytest.raises(PeerError, match="stake 3 of 10, it needs 7"):
        rules.check_certificate_untrusted(CheckpointCertificate(state, tuple((a, votes[a]) for a in (1, 2, 3))))
    rules.check_certificate_untrusted(CheckpointCertificate(state, ((0, votes[0]),)))


def test_hybrid_certificates_need_both_parts() -> None:
    rules = rules_of(is_hybrid=True)
    state = checkpoint(10, rules=rules)
    votes = [sign_checkpoint(state, author, HybridKey(KEYS[author]).sign) for author in range(3)]
    whole = CheckpointCertificate(state, tuple((vote.author, vote.signature) for vote in votes))
    assert {len(vote.signature) for vote in votes} == {HYBRID_SIGNATURE_BYTES}
    rules.check_certificate_untrusted(whole)
    for broken in (
        votes[0].signature[:64],
        votes[0].signature[:64] + votes[1].signature[64:],
        votes[1].signature[:64] + votes[0].signature[64:],
    ):
        with pytest.raises(PeerError, match="signature of author 0"):
            rules.check_certificate_untrusted(replace(whole, signatures=((0, broken), *whole.signatures[1:])))


def test_a_committee_is_named_by_all_of_it() -> None:
    stakes = {key.peer_id: 1 for key in KEYS}
    committees = [
        committee_of(0, stakes),
        committee_of(1, stakes),
        committee_of(0, {**stakes, KEYS[0].peer_id: 2}),
        committee_of(0, stakes, {key.peer_id: HybridKey(key).public for key in KEYS}),
    ]
    assert len({committee_digest(committee) for committee in committees}) == 4
    other = CheckpointRules(committees[2], NETWORK, 10)
    with pytest.raises(PeerError, match="committee"):
        other.check_certificate_untrusted(certificate(0, 1, 2))
    assert CHECKPOINT_DOMAIN == "checkpoint/v1"  # a change would make old certificates worthless
