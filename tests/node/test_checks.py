"""Verdicts on transactions: checked once, here or elsewhere, within bounds."""

import pytest

from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.signing import VerifiedTransaction, sign_transaction
from synaptic_mesh.ledger.transactions import Transaction, Transfer
from synaptic_mesh.node import checks as module
from synaptic_mesh.node.checks import AT_ONCE_MAX, UNSIGNED, Checks
from synaptic_mesh.workers.signatures import ROW_BYTES, check_rows

NETWORK = NetworkId(b"checking" * 4)
KEY, OTHER = KeyPair(derive_bytes(1, "checks")), KeyPair(derive_bytes(2, "checks"))


def signed(nonce: int) -> bytes:
    return sign_transaction(KEY, Transaction(NETWORK, 0, KEY.peer_id, nonce, Transfer(OTHER.peer_id, 1)))


def forged(nonce: int) -> bytes:
    data = bytearray(signed(nonce))
    data[-1] ^= 1  # the end of the signature
    return bytes(data)


MANY = [signed(nonce) for nonce in range(AT_ONCE_MAX + 1)]


def test_without_processes_nothing_waits() -> None:
    checks = Checks(NETWORK, 0)
    good, bad, junk = signed(0), forged(1), b"junk"
    assert checks.want([good, bad, junk, *MANY]) < checks.oldest
    assert checks.take_rows() is None
    verdict = checks.verdict(good)
    assert isinstance(verdict, VerifiedTransaction)
    assert verdict.transaction.nonce == 0
    assert checks.verdict(bad) == UNSIGNED
    assert "cannot decode" in str(checks.verdict(junk))


def test_a_few_are_checked_at_once_and_many_elsewhere() -> None:
    checks = Checks(NETWORK, 0, processes=1)
    assert checks.want(MANY[:AT_ONCE_MAX]) < checks.oldest
    rest = [signed(nonce) for nonce in range(10, 20)]
    ticket = checks.want([*rest, forged(30)])
    assert not ticket < checks.oldest
    asked = checks.take_rows()
    assert asked is not None
    assert len(asked.rows) == 11 * ROW_BYTES
    assert checks.take_rows() is None
    assert not ticket < checks.oldest
    checks.answered(asked.token, check_rows(asked.rows))
    assert ticket < checks.oldest
    assert isinstance(checks.verdict(rest[3]), VerifiedTransaction)
    assert checks.verdict(forged(30)) == UNSIGNED


def test_what_is_known_or_under_way_is_not_asked_again() -> None:
    checks = Checks(NETWORK, 0, processes=1)
    first = checks.want(MANY)
    asked = checks.take_rows()
    assert asked is not None
    again = checks.want(MANY)  # the commit arrives before the answer
    assert checks.take_rows() is None
    assert again >= first
    checks.answered(asked.token, b"\1" * len(MANY))
    assert again < checks.oldest
    assert checks.want(MANY) < checks.oldest


def test_answers_may_come_in_any_order_and_twice() -> None:
    checks = Checks(NETWORK, 0, processes=1)
    tickets, asked = [], []
    for start in (0, 10):
        tickets.append(checks.want([signed(nonce) for nonce in range(start, start + 9)]))
        question = checks.take_rows()
        assert question is not None
        asked.append(question.token)
    checks.answered(asked[1], b"\1" * 9)
    assert not tickets[0] < checks.oldest
    checks.answered(asked[0], b"\1" * 9)
    assert tickets[1] < checks.oldest
    checks.answered(asked[0], b"")


def test_under_load_questions_grow_instead_of_becoming_more() -> None:
    checks = Checks(NETWORK, 0, processes=1)
    sizes, tokens = [], []
    for batch in range(5):
        checks.want([signed(batch * 10 + nonce) for nonce in range(10)])
        asked = checks.take_rows()
        if asked is not None:
            sizes.append(len(asked.rows) // ROW_BYTES)
            tokens.append(asked.token)
    assert sizes == [10, 10]
    checks.answered(tokens[0], b"\1" * 10)
    asked = checks.take_rows()
    assert asked is not None
    assert len(asked.rows) // ROW_BYTES == 30


def test_what_is_forgotten_is_checked_when_it_is_asked_for() -> None:
    checks = Checks(NETWORK, 0)
    checks.want(MANY)
    checks.forget(MANY)
    assert checks.known_count == 0
    assert isinstance(checks.verdict(MANY[0]), VerifiedTransaction)
    assert checks.verdict(forged(0)) == UNSIGNED
    assert checks.known_count == 0


def test_verdicts_are_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_MAX", 3)
    checks = Checks(NETWORK, 0)
    checks.want(MANY)
    assert checks.known_count == 3
    monkeypatch.setattr(module, "KNOWN_BYTES_MAX", 2 * len(MANY[0]))
    checks.want([signed(99)])
    assert checks.known_count == 2
