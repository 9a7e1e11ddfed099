"""What becomes of submitted transactions, and what clients are told."""

from typing import Any

import pytest

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import NetworkId, PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.identity.envelope import PAYLOAD_BYTES_MAX
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.events import TransactionApplied
from synaptic_mesh.ledger.signing import VerifiedTransaction, sign_transaction
from synaptic_mesh.ledger.transactions import Transaction, Transfer
from synaptic_mesh.node import intake as module
from synaptic_mesh.node.checks import AT_ONCE_MAX, UNSIGNED, Checks
from synaptic_mesh.node.intake import FOLLOWERS_MAX, NONCES_AHEAD_MAX, Intake
from synaptic_mesh.node.messages import SUBMISSION_TRANSACTIONS_MAX, Outcomes, Refusal, Submission
from synaptic_mesh.workers.signatures import ROW_BYTES, check_rows

NETWORK = NetworkId(b"intaking" * 4)
KEY, STRANGER = KeyPair(derive_bytes(1, "intake")), KeyPair(derive_bytes(2, "intake"))
CLIENT, SECOND = PeerId(bytes([7]) * 32), PeerId(bytes([8]) * 32)


class Bench:
    """An intake over a ledger that is one dictionary."""

    def __init__(self, processes: int = 0) -> None:
        self.checks = Checks(NETWORK, 0, processes)
        self.accounts = {KEY.peer_id: Account(balance=100, nonce=5)}
        self.is_poor = False
        self.intake = Intake(self.checks, self.account, self.objection)

    def account(self, peer: bytes) -> Account:
        return self.accounts.get(PeerId(peer), Account())

    def objection(self, peer: bytes, _action: Any) -> str:
        return "" if peer in self.accounts and not self.is_poor else "it cannot pay"

    def submit(self, *transactions: bytes, first: int = 0, client: PeerId = CLIENT) -> list[bytes]:
        self.intake.submit(client, Submission(first, transactions), 0, 0)
        due, dropped = self.intake.take_due()
        assert not dropped
        return due

    def told(self) -> list[tuple[PeerId | None, Outcomes]]:
        sent = self.intake.take_messages()
        return [(each.peer, decode_untrusted(Outcomes, each.payload)) for each in sent]

    def apply(self, commit: int, *transactions: bytes, reason: str = "") -> None:
        events = []
        for data in transactions:
            verdict = self.checks.verdict(data)
            assert isinstance(verdict, VerifiedTransaction)
            nonce = verdict.transaction.nonce
            events.append(TransactionApplied(verdict.id, verdict.transaction.sender, nonce, not reason, reason))
            if nonce == self.accounts[KEY.peer_id].nonce:
                self.accounts[KEY.peer_id] = Account(balance=100, nonce=nonce + 1)
        self.intake.executed(commit, events)


def signed(nonce: int, key: KeyPair = KEY) -> bytes:
    return sign_transaction(key, Transaction(NETWORK, 0, key.peer_id, nonce, Transfer(bytes(32), 1)))


def test_a_client_hears_of_each_transaction_once() -> None:
    bench = Bench()
    transactions = [signed(nonce) for nonce in (5, 6, 7)]
    assert bench.submit(*transactions, first=40) == transactions
    assert bench.told() == []
    bench.apply(9, *transactions[:2])
    assert bench.told() == [(CLIENT, Outcomes(9, ((40, 2),), ()))]
    bench.apply(10, transactions[2], reason="too poor")
    assert bench.told() == [(CLIENT, Outcomes(10, (), (Refusal(42, 1, "too poor", True),)))]
    bench.apply(11, *transactions)
    assert bench.told() == []
    assert bench.intake.tracked_count == 0


def test_what_cannot_run_is_refused_at_once_with_the_reason() -> None:
    bench = Bench()
    forged = signed(5)[:-1] + b"?"
    assert bench.submit(signed(4), forged, b"junk", signed(0, STRANGER), signed(5 + NONCES_AHEAD_MAX)) == []
    ((client, outcomes),) = bench.told()
    assert client == CLIENT
    assert outcomes.commit == 0
    reasons = {refusal.first: (refusal.reason.split(":")[0], refusal.is_final) for refusal in outcomes.refused}
    assert reasons[0] == (f"nonce 4 of {KEY.peer_id[:4].hex()} is used already, the next is 5", True)
    assert reasons[1] == (UNSIGNED, True)
    assert reasons[2] == ("cannot decode SignedTransaction", True)
    assert reasons[3] == ("it cannot pay", True)
    assert "far ahead" in reasons[4][0]
    assert not reasons[4][1]
    assert bench.checks.known_count == 0


def test_a_gap_is_refused_for_now() -> None:
    bench = Bench()
    late = signed(6)
    bench.submit(late)
    bench.apply(3, late, reason="leaves a gap")
    ((_, outcomes),) = bench.told()
    assert outcomes.refused == (Refusal(0, 1, "leaves a gap", False),)


def test_whoever_lost_the_answer_gets_it_again() -> None:
    bench = Bench()
    done = signed(5)
    bench.submit(done)
    bench.apply(3, done)
    bench.told()
    bench.checks.forget([done])
    assert bench.submit(done, first=8) == []
    assert bench.told() == [(CLIENT, Outcomes(3, ((8, 1),), ()))]


def test_two_clients_may_wait_for_one_transaction() -> None:
    bench = Bench()
    both = signed(5)
    bench.submit(both)
    bench.submit(both, first=3, client=SECOND)
    bench.apply(2, both)
    assert bench.told() == [(CLIENT, Outcomes(2, ((0, 1),), ())), (SECOND, Outcomes(2, ((3, 1),), ()))]


def test_too_many_waiting_is_said_and_nothing_of_the_message_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(module, "WAITING_TRANSACTIONS_MAX", 10)
    bench.intake.submit(CLIENT, Submission(4, (signed(5), signed(6))), 10, 0)
    assert bench.intake.take_due() == ([], [])
    ((_, outcomes),) = bench.told()
    (refusal,) = outcomes.refused
    assert (refusal.first, refusal.count, refusal.is_final) == (4, 2, False)
    assert "submit again later" in refusal.reason
    with pytest.raises(PeerError, match="submit again later"):
        bench.intake.relay(SECOND, (signed(5),), 10, 0)


def test_what_the_pool_has_no_room_for_is_told() -> None:
    bench = Bench()
    due = bench.submit(signed(5), signed(6))
    bench.intake.no_room(due[1:], "the pool is full")
    assert bench.told() == [(CLIENT, Outcomes(0, (), (Refusal(1, 1, "the pool is full", False),)))]
    assert bench.intake.tracked_count == 1


def test_order_is_kept_while_signatures_are_checked_elsewhere() -> None:
    bench = Bench(processes=1)
    many = [signed(nonce) for nonce in range(5, 6 + AT_ONCE_MAX)]
    assert bench.submit(*many) == []
    asked = bench.checks.take_rows()
    one = signed(20)
    assert bench.submit(one, first=50) == []  # checked at once, but it is not its turn
    assert asked is not None
    bench.checks.answered(asked.token, check_rows(asked.rows))
    assert bench.intake.take_due()[0] == [*many, one]


@pytest.mark.parametrize("message", [Submission(0, ()), Submission(-1, (b"x",)), Submission(1 << 63, (b"x",))])
def test_messages_that_break_a_rule_are_dropped(message: Submission) -> None:
    with pytest.raises(PeerError):
        Bench().intake.submit(CLIENT, message, 0, 0)
    with pytest.raises(PeerError):
        Bench().intake.submit(CLIENT, Submission(0, (b"x",) * (SUBMISSION_TRANSACTIONS_MAX + 1)), 0, 0)


def test_what_a_node_hands_on_is_tracked_for_nobody() -> None:
    bench = Bench()
    bench.intake.relay(SECOND, (signed(5), signed(4)), 0, 0)
    due, dropped = bench.intake.take_due()
    assert due == [signed(5)]
    ((sender, reason),) = dropped
    assert sender == SECOND
    assert "is used already" in reason
    assert bench.intake.tracked_count == 0
    assert bench.told() == []


def test_what_is_told_fits_into_messages_whatever_was_submitted() -> None:
    bench = Bench()
    count = 3 * SUBMISSION_TRANSACTIONS_MAX
    for number in range(count):  # each refused for a reason of its own, longer than any message would bear
        bench.intake._tell(CLIENT, 2 * number, (0, f"{number} " + "\u20ac" * 300, True))
    sent = bench.intake.take_messages()
    assert all(len(each.payload) <= PAYLOAD_BYTES_MAX for each in sent)
    told = [refusal.first for each in sent for refusal in decode_untrusted(Outcomes, each.payload).refused]
    assert told == list(range(0, 2 * count, 2))
    assert bench.told() == []


def test_one_transaction_submitted_again_and_again_takes_no_room() -> None:
    bench = Bench()
    data = signed(5)
    for number in (*range(FOLLOWERS_MAX), *range(FOLLOWERS_MAX + 3)):
        bench.submit(data, first=number)
    assert bench.intake.tracked_count == 1
    ((_, told),) = bench.told()
    assert [(each.first, each.count, each.is_final) for each in told.refused] == [(FOLLOWERS_MAX, 3, False)]
    bench.apply(9, data)
    assert bench.told() == [(CLIENT, Outcomes(9, ((0, FOLLOWERS_MAX),), ()))]


def test_the_oldest_followed_transactions_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRACKED_MAX", 2)
    bench = Bench()
    transactions = [signed(nonce) for nonce in (5, 6, 7)]
    bench.submit(*transactions)
    assert bench.intake.tracked_count == 2
    bench.apply(9, *transactions)
    assert bench.told() == [(CLIENT, Outcomes(9, ((1, 2),), ()))]


def many(key: KeyPair, count: int, start: int = 5) -> tuple[bytes, ...]:
    return tuple(signed(nonce, key) for nonce in range(start, start + count))


def test_who_floods_waits_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client sends all it can; the next one's transactions are checked after one turn of what was under way."""
    monkeypatch.setattr(module, "TURN_TRANSACTIONS", 8)
    monkeypatch.setattr(module, "CHECKING_MAX", 16)
    bench = Bench(processes=1)
    flood, honest = many(STRANGER, 64), many(KEY, 8)
    bench.intake.submit(CLIENT, Submission(0, flood), 0, 0)
    bench.intake.submit(SECOND, Submission(0, honest), 0, 0)
    asked = 0
    while True:
        due, _ = bench.intake.take_due()
        if due:
            break
        question = bench.checks.take_rows()
        assert question is not None
        asked += len(question.rows) // ROW_BYTES
        bench.checks.answered(question.token, check_rows(question.rows))
    assert due == list(honest)
    assert asked <= 16 + 8 + 8


def test_a_client_leaves_as_much_room_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_TRANSACTIONS_MAX", 40)
    bench = Bench(processes=1)
    for first in range(0, 60, 10):
        bench.intake.submit(CLIENT, Submission(first, many(STRANGER, 10, first)), 0, 0)
    ((peer, outcomes),) = bench.told()
    assert peer == CLIENT
    assert [(each.first, each.count, each.is_final) for each in outcomes.refused] == [
        (20, 10, False),
        (30, 10, False),
        (40, 10, False),
        (50, 10, False),
    ]
    assert outcomes.refused[0].reason.startswith("20 transactions (")
    assert outcomes.refused[0].reason.endswith("wait here already, 20 of them yours: submit again later")
    bench.intake.submit(SECOND, Submission(0, many(KEY, 10)), 0, 0)
    assert not bench.told()


def test_parts_of_a_message_end_in_order_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_TRANSACTIONS", 3)
    monkeypatch.setattr(module, "CHECKING_MAX", 6)
    for processes in (0, 1):
        bench = Bench(processes)
        transactions = many(KEY, 20)
        bench.intake.submit(CLIENT, Submission(0, transactions), 0, 0)
        due: list[bytes] = []
        for _ in range(20):
            due += bench.intake.take_due()[0]
            question = bench.checks.take_rows()
            if question is not None:
                bench.checks.answered(question.token, check_rows(question.rows))
        assert due == list(transactions)
        assert not bench.intake._lines
        assert not bench.intake._turns
        assert (bench.intake._count, bench.intake._bytes, bench.intake._checking_count) == (0, 0, 0)


def test_a_message_without_transactions_is_refused_and_leaves_nothing() -> None:
    bench = Bench(processes=1)
    with pytest.raises(PeerError, match="without transactions"):
        bench.intake.relay(CLIENT, (), 0, 0)
    with pytest.raises(PeerError, match="0 transactions"):
        bench.intake.submit(CLIENT, Submission(0, ()), 0, 0)
    assert not bench.intake._lines
    assert not bench.intake._turns


def test_what_has_room_of_a_message_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a client that sends its whole window would be kept out by clients that send little."""
    monkeypatch.setattr(module, "WAITING_TRANSACTIONS_MAX", 30)
    bench = Bench(processes=1)
    bench.intake.submit(CLIENT, Submission(0, many(STRANGER, 14)), 0, 0)
    bench.intake.submit(SECOND, Submission(100, many(KEY, 40)), 0, 0)
    ((peer, outcomes),) = bench.told()
    assert peer == SECOND
    assert [(each.first, each.count) for each in outcomes.refused] == [(116, 24)]
    assert outcomes.refused[0].reason.startswith("30 transactions (")
    with pytest.raises(PeerError, match="30 transactions"):
        bench.intake.relay(PeerId(bytes([9]) * 32), many(KEY, 2), 0, 0)


def test_bytes_count_as_transactions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    transactions = many(KEY, 10)
    size = len(transactions[0])
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 7 * size + 1)
    bench = Bench(processes=1)
    bench.intake.submit(CLIENT, Submission(0, transactions), 0, 0)
    ((_, outcomes),) = bench.told()
    assert [(each.first, each.count) for each in outcomes.refused] == [(7, 3)]


def test_copies_and_small_messages_are_not_checked_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[int] = []

    def counted(rows: bytes) -> bytes:
        here.append(len(rows) // ROW_BYTES)
        return check_rows(rows)

    monkeypatch.setattr("synaptic_mesh.node.checks.check_rows", counted)
    bench = Bench(processes=1)
    used = signed(1)
    bench.intake.submit(CLIENT, Submission(0, (used,) * 1_000), 0, 0)
    bench.intake.take_due()
    assert sum(here) <= AT_ONCE_MAX
    here.clear()
    monkeypatch.setattr(module, "CHECKING_MAX", 16)
    bench.intake.submit(CLIENT, Submission(0, many(STRANGER, 16)), 0, 0)
    for number in range(40):
        bench.intake.submit(SECOND, Submission(4 * number, many(KEY, 4, 5 + 4 * number)), 0, 0)
    due: list[bytes] = []
    while question := bench.checks.take_rows():
        bench.checks.answered(question.token, check_rows(question.rows))
        due += bench.intake.take_due()[0]
    assert due == list(many(KEY, 160))
    assert sum(here) == 0
