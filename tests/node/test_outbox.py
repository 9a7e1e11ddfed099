import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.signing import VerifiedTransaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import ActionUnion, JoinJob, ReportAvailable, StepRef, Transfer
from synaptic_mesh.node import outbox as module
from synaptic_mesh.node.outbox import Outbox

KEY = KeyPair(bytes(range(32)))
NETWORK = NetworkId(bytes(32))
ACTION = JoinJob(bytes(32))
REF = StepRef(bytes(32), 0, 0, bytes(32))


def opened(data: bytes) -> VerifiedTransaction:
    return verify_transaction_untrusted(data, NETWORK, 0)


def test_actions_are_signed_with_ascending_nonces() -> None:
    outbox = Outbox(KEY, NETWORK, 0)
    transactions = [opened(outbox.submit(ACTION, 0)).transaction for _ in range(3)]
    assert [transaction.nonce for transaction in transactions] == [0, 1, 2]
    assert {transaction.sender for transaction in transactions} == {KEY.peer_id}


def test_what_has_not_run_is_sent_again_with_the_same_bytes() -> None:
    outbox = Outbox(KEY, NETWORK, 0, resend_ms=100)
    first, second = outbox.submit(ACTION, 0), outbox.submit(ACTION, 50)
    assert outbox.deadline_ms() == 100
    assert outbox.resend(99) == []
    assert outbox.resend(100) == [first]
    assert outbox.resend(150) == [second]
    assert outbox.consumed(0, opened(first).id, 160) == []
    assert outbox.resend(1_000) == [second]
    assert outbox.pending_count == 1


def test_a_nonce_taken_by_another_transaction_signs_the_action_anew() -> None:
    outbox = Outbox(KEY, NETWORK, 0)
    outbox.submit(ACTION, 0)
    (again,) = outbox.consumed(0, opened(Outbox(KEY, NETWORK, 0).submit(JoinJob(b"other"), 0)).id, 1)
    assert opened(again).transaction.nonce == 1
    assert opened(again).transaction.action == ACTION
    assert outbox.pending_count == 1


def test_nonces_that_ran_before_a_restart_are_skipped() -> None:
    outbox = Outbox(KEY, NETWORK, 0)
    assert outbox.consumed(6, opened(Outbox(KEY, NETWORK, 0).submit(ACTION, 0)).id, 0) == []
    assert opened(outbox.submit(ACTION, 0)).transaction.nonce == 7


def test_too_many_waiting_actions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_MAX", 2)
    outbox = Outbox(KEY, NETWORK, 0)
    outbox.submit(ACTION, 0)
    outbox.submit(ACTION, 0)
    with pytest.raises(LocalError, match="2 transactions"):
        outbox.submit(ACTION, 0)
    assert Outbox(KEY, NETWORK, 0).deadline_ms() is None


@pytest.mark.parametrize("action", [Transfer(bytes(32), 1 << 64), ReportAvailable(REF, (bytes(1 << 20),))])
def test_what_cannot_travel_takes_no_nonce(action: ActionUnion) -> None:
    """Else every later action of the account would wait for it for ever."""
    outbox = Outbox(KEY, NETWORK, 0)
    with pytest.raises(LocalError):
        outbox.submit(action, 0)
    assert outbox.pending_count == 0
    assert opened(outbox.submit(ACTION, 0)).transaction.nonce == 0
