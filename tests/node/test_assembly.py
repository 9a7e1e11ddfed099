"""How an assembly gets transactions to validators, and which of others' it takes."""

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.consensus.block import BlockRef
from synaptic_mesh.consensus.linearizer import commit_digest
from synaptic_mesh.consensus.messages import Commit, Committed
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.economics import Economics
from synaptic_mesh.ledger.events import RewardsPaid
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of, network_id
from synaptic_mesh.ledger.signing import sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import JoinJob, LeaveJob, Transaction, Transfer
from synaptic_mesh.node import intake
from synaptic_mesh.node.assembly import Assembly, in_messages
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.intake import NONCES_AHEAD_MAX
from synaptic_mesh.node.messages import (
    TOPIC_TRANSACTIONS,
    TRANSACTIONS_PER_MESSAGE_MAX,
    Dropped,
    Effect,
    LedgerNote,
    PeerUp,
    Received,
    SendMessage,
    Submit,
    Transactions,
)
from synaptic_mesh.node.outbox import RESEND_MS
from synaptic_mesh.node.settings import PacingSettings

VALIDATORS = sorted((KeyPair(derive_bytes(1, "validator", i)) for i in range(4)), key=lambda key: key.peer_id)
WORKER, STRANGER = KeyPair(derive_bytes(1, "worker")), KeyPair(derive_bytes(1, "stranger"))
GENESIS = genesis_of(
    bytes(32),
    "test",
    [GenesisValidator(key.peer_id, 100) for key in VALIDATORS],
    [GenesisAccount(WORKER.peer_id, 1_000, 1_000)],
)
NETWORK = network_id(GENESIS)


def started(key: KeyPair) -> Assembly:
    node = build_assembly(key, GENESIS, PacingSettings(), works=True, incarnation=1)
    node.start([], 0)
    for peer in VALIDATORS:
        if peer is not key:
            node.handle(PeerUp(peer.peer_id), 0)
    return node


def sent(effects: list[Effect]) -> list[tuple[PeerId | None, tuple[bytes, ...]]]:
    return [
        (effect.peer, decode_untrusted(Transactions, effect.payload).transactions)
        for effect in effects
        if isinstance(effect, SendMessage) and effect.topic == TOPIC_TRANSACTIONS
    ]


def signed(key: KeyPair, nonce: int, action: Any = JoinJob(bytes(32))) -> bytes:
    return sign_transaction(key, Transaction(NETWORK, 0, key.peer_id, nonce, action))


def test_one_validator_cannot_swallow_what_a_worker_sends() -> None:
    """A witness that is opened late costs the worker its pay: with one of four lying, two must hear it."""
    node = started(WORKER)
    first = sent(node.handle(Submit(JoinJob(bytes(32))), 10))
    second = sent(node.handle(Submit(LeaveJob(bytes(32))), 20))
    assert len({peer for peer, _ in first}) == 2
    # The same ones hear the next nonce, so that it does not come before its turn.
    assert [peer for peer, _ in second] == [peer for peer, _ in first]
    again = sent(node.handle_deadline(20 + RESEND_MS))
    assert {peer for peer, _ in again} != {peer for peer, _ in first}
    assert {data for _, data in again} == {(first[0][1][0], second[0][1][0])}


def test_what_waits_is_cut_into_messages_that_travel() -> None:
    many = [bytes([i % 251]) for i in range(TRANSACTIONS_PER_MESSAGE_MAX + 1)]
    assert [len(part) for part in in_messages(many)] == [TRANSACTIONS_PER_MESSAGE_MAX, 1]
    large = [bytes(500 << 10)] * 3
    assert [len(part) for part in in_messages(large)] == [1, 1, 1]
    assert in_messages([]) == []


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (signed(WORKER, 0), 1),
        (signed(WORKER, NONCES_AHEAD_MAX - 1), 1),
        (signed(WORKER, NONCES_AHEAD_MAX), 0),
        (signed(STRANGER, 0), 0),
        (signed(WORKER, 0, Transfer(VALIDATORS[0].peer_id, 1)), 0),  # of 1,000 units the fee takes 1,100
    ],
)
def test_others_transactions_enter_the_pool_if_they_may_run(data: bytes, taken: int) -> None:
    node = started(VALIDATORS[0])
    node.handle(Received(WORKER.peer_id, TOPIC_TRANSACTIONS, encode(Transactions((data,)))), 0)
    assert len(node._core.pool._known) == taken


def test_others_leave_room_for_the_validators_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "WAITING_TRANSACTIONS_MAX", 3)
    node = started(VALIDATORS[0])
    message = encode(Transactions(tuple(signed(WORKER, nonce) for nonce in range(3))))
    node._core.amnesia.is_active = True  # it proposes nothing, so the pool only fills
    node.handle(Received(WORKER.peer_id, TOPIC_TRANSACTIONS, message), 0)
    more = encode(Transactions((signed(WORKER, 3),)))
    effects = node.handle(Received(WORKER.peer_id, TOPIC_TRANSACTIONS, more), 0)
    (refused,) = [effect.reason for effect in effects if isinstance(effect, Dropped)]
    assert refused.startswith("3 transactions (")
    assert refused.endswith("wait here already, 0 of them yours: submit again later")
    node.handle(Submit(JoinJob(bytes(32))), 0)
    assert len(node._core.pool) == 4


def committed(index: int, *transactions: bytes) -> Any:
    """A commit of one block, made by hand."""
    header = SimpleNamespace(author=0)
    commit = Commit(index, bytes(32), BlockRef(1, 0, bytes(32)), 1_000 * index, 0, (), ())
    block: Any = SimpleNamespace(transactions=transactions, header=header)
    return Committed(commit, commit_digest(commit), (block,), True)


def test_an_action_that_came_before_its_turn_is_not_taken_for_done() -> None:
    """After a restart the nonce of an action may belong to a transaction of the life before. Its own comes first, is
    refused for the gap, and must be signed anew when the other has run."""
    node = started(WORKER)
    node.handle(Submit(JoinJob(bytes(32))), 0)
    ((_, (first,)), *_) = sent(node.handle(Submit(LeaveJob(bytes(32))), 0))
    other = [signed(WORKER, nonce, Transfer(VALIDATORS[0].peer_id, 1)) for nonce in (0, 1)]
    assert verify_transaction_untrusted(first, NETWORK, 0).transaction.nonce == 1
    node._effects = []
    node._execute(committed(1, first, *other), 1)
    waiting = {nonce: pending.action for nonce, pending in node._outbox._pending.items()}
    assert waiting == {2: JoinJob(bytes(32)), 3: LeaveJob(bytes(32))}


def test_who_made_the_blocks_of_a_commit_is_paid() -> None:
    genesis = replace(GENESIS, economics=Economics(fee_flat=100, reward_commits=1))
    node = build_assembly(VALIDATORS[1], genesis, PacingSettings(), works=True, incarnation=1)
    node.start([], 0)
    joining = Transaction(network_id(genesis), 0, WORKER.peer_id, 0, JoinJob(bytes(32)))
    node._execute(committed(1, sign_transaction(WORKER, joining)), 1)
    (paid,) = [e.event for e in node._effects if isinstance(e, LedgerNote) and isinstance(e.event, RewardsPaid)]
    assert paid.shares == ((VALIDATORS[0].peer_id, 100),)  # author 0 alone
