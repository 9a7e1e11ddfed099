"""Which states a node keeps to prove accounts from, and how often it does."""

import pytest

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate, checkpoint_rules, sign_checkpoint
from synaptic_mesh.ledger.genesis import ConsensusOptions, GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.light_client import verify_balance_untrusted, verify_certificate_untrusted
from synaptic_mesh.node import proofs as module
from synaptic_mesh.node.proofs import ANSWER_MS, BURST_MS, PEERS_MAX, STATES_KEPT, Proofs

KEY = KeyPair(bytes([4]) * 32)
CLIENT = b"c" * 32
GENESIS = genesis_of(
    bytes(32),
    "proofs",
    [GenesisValidator(KEY.peer_id, 5)],
    [GenesisAccount(CLIENT, 77)],
    consensus=ConsensusOptions(checkpoint_commits=1),
)


class Node:
    """A ledger at its checkpoints."""

    def __init__(self) -> None:
        self.ledger = Ledger(GENESIS)
        self.proofs = Proofs(self.ledger)

    def commit(self) -> CheckpointCertificate:
        index = self.ledger.commit_index + 1
        self.ledger.apply(OrderedCommit(index, index, ()))
        rules = checkpoint_rules(GENESIS)
        state = rules.checkpoint(index, bytes(32), index, self.ledger.state_root(), self.ledger.supply())
        return CheckpointCertificate(state, ((0, sign_checkpoint(state, 0, KEY.sign).signature),))

    def proved_index(self) -> int:
        certificate, proof = self.proofs.prove(CLIENT)
        assert verify_balance_untrusted(GENESIS, certificate, CLIENT, proof).balance == 77
        return verify_certificate_untrusted(GENESIS, certificate).checkpoint.index


def test_the_newest_certified_state_proves() -> None:
    node = Node()
    assert node.proofs.prove(CLIENT) == (b"", b"")
    first = node.commit()
    node.proofs.keep(1, None)
    assert node.proofs.prove(CLIENT) == (b"", b"")
    node.proofs.certified(first)
    assert node.proved_index() == 1
    second = node.commit()
    node.proofs.keep(2, first)
    assert node.proved_index() == 1
    node.proofs.certified(second)
    assert node.proved_index() == 2
    assert node.proofs.prove(b"x" * 32) == (encode(second), b"")


def test_a_certificate_that_came_before_the_commit_proves_too() -> None:
    node = Node()
    certificate = node.commit()
    node.proofs.certified(certificate)
    node.proofs.keep(1, certificate)
    assert node.proved_index() == 1


def test_states_without_a_certificate_are_given_up() -> None:
    node = Node()
    certificates = [node.commit()]
    node.proofs.keep(1, None)
    for index in range(2, 9):
        certificates.append(node.commit())
        node.proofs.keep(index, None)
        assert len(node.proofs._waiting) < STATES_KEPT
    node.proofs.certified(certificates[0])
    assert node.proofs.prove(CLIENT) == (b"", b"")
    node.proofs.certified(certificates[6])
    assert (node.proved_index(), list(node.proofs._waiting)) == (7, [8])


def test_large_ledgers_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROVED_ACCOUNTS_MAX", 1)
    node = Node()
    node.proofs.keep(1, node.commit())
    assert node.proofs.prove(CLIENT) == (b"", b"")


def test_one_peer_is_answered_at_most_so_often() -> None:
    proofs, one, other = Node().proofs, PeerId(b"1" * 32), PeerId(b"2" * 32)
    burst = BURST_MS // ANSWER_MS + 1
    assert [proofs.is_too_soon(one, 0) for _ in range(burst + 2)] == [False] * burst + [True] * 2
    later = [proofs.is_too_soon(one, now_ms) for now_ms in range(10_000)]
    assert later.count(False) == 10_000 // ANSWER_MS - 1
    assert not proofs.is_too_soon(other, 0)


def test_peers_are_remembered_no_longer_than_they_must() -> None:
    proofs = Node().proofs
    peers = [PeerId(number.to_bytes(32, "big")) for number in range(PEERS_MAX + 1)]
    assert [proofs.is_too_soon(peer, 0) for peer in peers] == [False] * PEERS_MAX + [True]
    assert not proofs.is_too_soon(peers[0], 0)
    assert not proofs.is_too_soon(peers[-1], ANSWER_MS)
    assert proofs._paid_ms.keys() == {peers[0], peers[-1]}
