"""Accounts, and the bank: the only code that moves money.

Money is in one of five places: an account's balance, an account's stake (part of which may be locked or unbonding),
held for jobs (escrow and pay that has not vested), collected (fees on their way to validators), or the treasury. Every
method of `Bank` but `mint` and `burn` moves it from one to another; the bank keeps the five totals as it goes, so that
the supply can be checked at every commit without visiting each account.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.base.ids import PEER_ID_BYTES, Digest, short
from synaptic_mesh.ledger.account_table import EMPTY_ACCOUNT, PAGE_ACCOUNTS, Account, AccountTable
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, SUPPLY_MAX, format_amount
from synaptic_mesh.ledger.reject import LedgerReject

ACCOUNTS_MAX = 1 << 20
"""Accounts in the state, 80 bytes each. An account is opened by the first transfer to it and is never removed."""


class Bank:
    """All accounts, the treasury, and how much is held for jobs.

    Methods that a transaction asks for raise LedgerReject before they change anything. The others are called by the
    ledger's own transitions: for them a missing amount is a broken invariant.
    """

    def __init__(self, accounts: Mapping[bytes, Account]) -> None:
        self._table = AccountTable()
        self.balances = 0
        self.stakes = 0
        self._releases: dict[bytes, int] = {}  # account that is unbonding -> commit, ascending by commit
        self.held = 0
        self.collected = 0
        self.treasury = 0
        self.minted = 0
        self.burned = 0
        for peer in sorted(accounts):
            self._set(self._table.open(peer), accounts[peer])

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._table

    def get(self, peer: bytes) -> Account:
        """Return the account; one that was never opened is empty."""
        row = self._table.row(peer)
        return EMPTY_ACCOUNT if row is None else self._table.get(row)

    def nonce(self, peer: bytes) -> int:
        """Return the account's next nonce, 0 for one that was never opened."""
        row = self._table.row(peer)
        return 0 if row is None else self._table.nonce.item(row)

    def balance(self, peer: bytes) -> int:
        """Return the account's balance, 0 for one that was never opened."""
        row = self._table.row(peer)
        return 0 if row is None else self._table.balance.item(row)

    def peers(self) -> tuple[bytes, ...]:
        """Return the ids of all accounts, ascending."""
        return self._table.peers()

    def total(self) -> int:
        """Return the supply according to the running totals."""
        return self.balances + self.stakes + self.held + self.collected + self.treasury

    def consume_nonce(self, peer: bytes) -> None:
        """The account's next nonce is one higher."""
        row = self._table.open(peer)
        self._table.nonce[row] = self._table.nonce.item(row) + 1
        self._table.touch(row)

    # What transactions ask for.

    def charge(self, peer: bytes, fee: int) -> int:
        """Collect a fee from the balance, and where that ends from unlocked stake. Returns what was there to take: the
        fee, or all the account could pay.
        """
        from_balance = min(fee, self.balance(peer))
        self._add_balance(peer, -from_balance)
        self.collected += from_balance
        if from_balance == fee:
            return fee
        old = self.get(peer)
        from_stake = min(fee - from_balance, old.unlocked)
        self._put(peer, replace(old, stake=old.stake - from_stake))
        self.collected += from_stake
        return from_balance + from_stake

    def transfer(self, sender: bytes, recipient: bytes, amount: int, opening_fee: int = 0) -> int:
        """Move balance to another account, which is opened for a fee if it is new. Returns the fee."""
        return self.transfer_many(sender, (recipient,), (amount,), opening_fee)

    def transfer_many(
        self, sender: bytes, receivers: Sequence[bytes], amounts: Sequence[int], opening_fee: int = 0
    ) -> int:
        """Move balance to other accounts, which are opened in order if they are new, each for a fee: all of it or
        nothing. The balance covers sum and fees before any of it arrives, also where the sender is among the receivers.
        Returns the fees.
        """
        for amount in amounts:
            check_amount(amount)
        for receiver in receivers:
            if len(receiver) != PEER_ID_BYTES:
                raise LedgerReject(f"recipient has {len(receiver)} bytes, an account id has {PEER_ID_BYTES}")
        new = {receiver: None for receiver in receivers if receiver not in self._table}
        total, fees = sum(amounts), opening_fee * len(new)
        self._check_balance(sender, total + fees)
        if len(self._table) + len(new) > ACCOUNTS_MAX:
            first = short(next(iter(new)))
            raise LedgerReject(f"cannot open account {first}: the ledger holds {ACCOUNTS_MAX} accounts")
        self._add_balance(sender, -total - fees)
        self.collected += fees
        for receiver, amount in zip(receivers, amounts, strict=True):
            self._add_balance(receiver, amount)
        return fees

    def stake(self, peer: bytes, amount: int) -> None:
        """Move balance into stake."""
        check_amount(amount)
        self._check_balance(peer, amount)
        old = self.get(peer)
        self._put(peer, replace(old, balance=old.balance - amount, stake=old.stake + amount))

    def unstake(self, peer: bytes, amount: int, release: int = 0) -> None:
        """Unlocked stake becomes balance with commit `release`, together with all that is unbonding by then; at once
        when that is 0.
        """
        check_amount(amount)
        old = self.get(peer)
        if old.unlocked < amount:
            raise LedgerReject(
                f"{format_amount(amount)} rUv to unstake, but {short(peer)} has {format_amount(old.unlocked)} rUv of "
                f"unlocked stake"
            )
        if not release:
            self._put(peer, replace(old, balance=old.balance + amount, stake=old.stake - amount))
            return
        self._releases.pop(peer, None)
        self._releases[peer] = release  # the delay is constant, so the last is the latest
        self._put(peer, replace(old, unbonding=old.unbonding + amount, release=release))

    def hold(self, sponsor: bytes, amount: int) -> None:
        """Move balance into what is held for jobs."""
        self._check_balance(sponsor, amount)
        self._add_balance(sponsor, -amount)
        self.held += amount

    # Many transfers at once.

    def rows(self, peers: Sequence[bytes]) -> list[int | None]:
        """Return each account's row, None for one that is not open."""
        return self._table.rows(peers)

    def settle(
        self,
        debits: Mapping[bytes, int],
        nonces: Mapping[bytes, int],
        fees: int,
        receivers: Sequence[bytes],
        rows: Sequence[int | None],
        amounts: npt.NDArray[np.int64],
    ) -> None:
        """Take `debits` from the senders' balances, set the senders' next nonces, collect `fees`, and give `amounts`
        (n,), each in 1 .. 2^63 - 1, to `receivers` (n) in `rows`, which are opened in order if they are new. The debits
        add up to amounts and fees, and every balance covers its debit without what arrives: the caller saw to both.
        """
        invariant(fees <= sum(debits.values()) <= self.balances, "settling more than there is in balances")
        table = self._table
        if None in rows:
            rows = [table.open(peer) if row is None else row for peer, row in zip(receivers, rows, strict=True)]
        for peer, debit in debits.items():
            row = table.open(peer)
            left = table.balance.item(row) - debit
            invariant(left >= 0, "settling more than a balance")
            table.balance[row] = left
            table.nonce[row] = nonces[peer]
            table.touch(row)
        at = np.array(rows, dtype=np.int64)
        np.add.at(table.balance, at, amounts)  # exact: no balance passes the supply, which is below 2^62
        table.touch_all(at)
        self.balances -= fees
        self.collected += fees

    # What the ledger's transitions do.

    def pay_out(self, peer: bytes, amount: int) -> None:
        """Move held money into a balance."""
        invariant(0 <= amount <= self.held, f"paying {amount} of {self.held} held")
        self.held -= amount
        self._add_balance(peer, amount)

    def lock(self, peer: bytes, amount: int) -> None:
        """Lock unlocked stake."""
        old = self.get(peer)
        invariant(0 <= amount <= old.unlocked, f"locking {amount} of {old.unlocked} unlocked stake")
        self._put(peer, replace(old, locked=old.locked + amount))

    def unlock(self, peer: bytes, amount: int) -> None:
        """Unlock locked stake."""
        old = self.get(peer)
        invariant(0 <= amount <= old.locked, f"unlocking {amount} of {old.locked} locked stake")
        self._put(peer, replace(old, locked=old.locked - amount))

    def seize(self, peer: bytes, amount: int) -> None:
        """Move locked stake into the treasury."""
        old = self.get(peer)
        invariant(0 <= amount <= old.locked, f"seizing {amount} of {old.locked} locked stake")
        self._put(peer, replace(old, stake=old.stake - amount, locked=old.locked - amount))
        self.treasury += amount

    def seize_unbonding(self, peer: bytes, amount: int) -> None:
        """Move stake that is unbonding into the treasury."""
        old = self.get(peer)
        invariant(0 <= amount <= old.unbonding, f"seizing {amount} of {old.unbonding} unbonding stake")
        self._put(peer, replace(old, stake=old.stake - amount, unbonding=old.unbonding - amount))
        self.treasury += amount

    def release(self, commit_index: int) -> list[tuple[bytes, int]]:
        """Stake whose unbonding time ends with this commit becomes balance. Returns (account, amount), ascending."""
        due: list[bytes] = []
        for peer, at in self._releases.items():
            if at > commit_index:
                break
            due.append(peer)
        released = []
        for peer in sorted(due):
            del self._releases[peer]
            old = self.get(peer)
            left = replace(old, balance=old.balance + old.unbonding, stake=old.stake - old.unbonding)
            self._put(peer, replace(left, unbonding=0, release=0))
            if old.unbonding:
                released.append((peer, old.unbonding))
        return released

    def mint(self, amount: int) -> None:
        """Create money, as collected."""
        invariant(amount >= 0 and self.total() + amount <= SUPPLY_MAX, f"minting {amount} beyond the largest supply")
        self.collected += amount
        self.minted += amount

    def burn(self, amount: int) -> None:
        """Destroy collected money."""
        invariant(0 <= amount <= self.collected, f"burning {amount} of {self.collected} collected")
        self.collected -= amount
        self.burned += amount

    def reward(self, peer: bytes, amount: int) -> None:
        """Move collected money into a balance."""
        invariant(0 <= amount <= self.collected, f"rewarding {amount} of {self.collected} collected")
        self.collected -= amount
        self._add_balance(peer, amount)

    def grant(self, peer: bytes, amount: int) -> None:
        """Move money from the treasury into a balance."""
        invariant(0 <= amount <= self.treasury, f"granting {amount} of {self.treasury} in the treasury")
        self.treasury -= amount
        self._add_balance(peer, amount)

    # State root and checks.

    def root(self) -> Digest:
        """Return the root of the table of accounts; only what changed is hashed again."""
        return self._table.root()

    def page_of(self, peer: bytes) -> int | None:
        """Return the page that holds the account, for good; None for one that was never opened."""
        row = self._table.row(peer)
        return None if row is None else row // PAGE_ACCOUNTS

    def prove(self, page: int) -> tuple[bytes, tuple[tuple[bool, Digest], ...]]:
        """Return a page of accounts and its path to the root."""
        return self._table.prove(page)

    def recomputed_root(self) -> Digest:
        """Return the same root from scratch."""
        return self._table.recomputed_root()

    def recount(self) -> int:
        """Return the supply by visiting every account."""
        return self._table.owned() + self.held + self.collected + self.treasury

    def _check_balance(self, peer: bytes, amount: int) -> None:
        balance = self.balance(peer)
        if balance < amount:
            raise LedgerReject(
                f"{format_amount(amount)} rUv needed, but {short(peer)} has a balance of {format_amount(balance)} rUv"
            )

    def _add_balance(self, peer: bytes, amount: int) -> None:
        row = self._table.open(peer)
        balance = self._table.balance.item(row) + amount
        invariant(0 <= balance <= SUPPLY_MAX, "an account left its range")
        self._table.balance[row] = balance
        self._table.touch(row)
        self.balances += amount

    def _put(self, peer: bytes, new: Account) -> None:
        self._set(self._table.open(peer), new)

    def _set(self, row: int, new: Account) -> None:
        old = self._table.get(row)
        invariant(
            0 <= new.balance <= SUPPLY_MAX
            and min(new.locked, new.unbonding) >= 0
            and new.locked + new.unbonding <= new.stake <= SUPPLY_MAX,
            "an account left its range",
        )
        self.balances += new.balance - old.balance
        self.stakes += new.stake - old.stake
        self._table.set(row, new)


def check_amount(amount: int) -> None:
    """Raise LedgerReject unless 1 <= amount < 2^63."""
    if not 1 <= amount <= AMOUNT_MAX:
        raise LedgerReject(f"amount {amount} is not between 1 and 2^63 - 1 units")
