import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.ledger import accounts
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.accounts import Bank
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, SUPPLY_MAX
from synaptic_mesh.ledger.reject import LedgerReject

A, B, C = (bytes([letter]) * 32 for letter in (1, 2, 3))


def test_transfers_open_accounts_and_keep_the_total() -> None:
    bank = Bank({A: Account(10)})
    bank.transfer(A, B, 4)
    assert (bank.get(A).balance, bank.get(B).balance, bank.total(), bank.recount()) == (6, 4, 10, 10)
    assert bank.peers() == (A, B)
    bank.transfer(A, A, 6)
    assert bank.get(A).balance == 6


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1, (1 << 64) - 1, -(1 << 63)])
def test_amounts_out_of_range_move_nothing(amount: int) -> None:
    bank = Bank({A: Account(SUPPLY_MAX // 2, SUPPLY_MAX // 2)})
    for act in (lambda: bank.transfer(A, B, amount), lambda: bank.stake(A, amount), lambda: bank.unstake(A, amount)):
        with pytest.raises(LedgerReject, match="is not between 1 and 2\\^63 - 1"):
            act()
    assert bank.peers() == (A,)


def test_sums_at_the_edge_of_the_supply() -> None:
    bank = Bank({A: Account(SUPPLY_MAX - 1), B: Account(1)})
    bank.transfer(A, B, SUPPLY_MAX - 1)
    assert bank.get(B).balance == SUPPLY_MAX
    with pytest.raises(LedgerReject, match="has a balance of 0 rUv"):
        bank.transfer(A, B, 1)
    with pytest.raises(LedgerReject, match=r"9223372036\.854775807 rUv needed"):
        bank.transfer(B, A, AMOUNT_MAX)
    bank.stake(B, SUPPLY_MAX)
    assert bank.total() == bank.recount() == SUPPLY_MAX


def test_locked_stake_cannot_be_withdrawn() -> None:
    bank = Bank({A: Account(0, 10)})
    bank.lock(A, 7)
    with pytest.raises(LedgerReject, match=r"0\.000000004 rUv to unstake"):
        bank.unstake(A, 4)
    bank.unstake(A, 3)
    bank.seize(A, 5)
    bank.unlock(A, 2)
    assert (bank.get(A), bank.treasury) == (Account(3, 2), 5)
    bank.grant(B, 5)
    assert (bank.get(B).balance, bank.treasury, bank.recount()) == (5, 0, 10)


def test_money_that_is_not_there_is_a_broken_invariant() -> None:
    bank = Bank({A: Account(5, 5)})
    bank.hold(A, 5)
    for act in (
        lambda: bank.lock(A, 6),
        lambda: bank.unlock(A, 1),
        lambda: bank.seize(A, 1),
        lambda: bank.grant(A, 1),
        lambda: bank.pay_out(A, 6),
        lambda: bank.pay_out(A, -1),
    ):
        with pytest.raises(InvariantBroken):
            act()
    assert (bank.held, bank.total()) == (5, 10)


def test_recipients_are_account_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank({A: Account(5), B: Account(5)})
    with pytest.raises(LedgerReject, match="recipient has 3 bytes"):
        bank.transfer(A, b"abc", 1)
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 2)
    with pytest.raises(LedgerReject, match="the ledger holds 2 accounts"):
        bank.transfer(A, C, 1)
    bank.transfer(A, B, 1)


def test_root_follows_every_change() -> None:
    bank = Bank({A: Account(10), B: Account(10)})
    seen = {bank.root()}
    for act in (lambda: bank.transfer(A, C, 1), lambda: bank.consume_nonce(B), lambda: bank.stake(A, 2)):
        act()
        assert bank.root() == bank.recomputed_root()
        seen.add(bank.root())
    assert len(seen) == 4
