"""Accounts, and the bank: the only code that moves money.

Money is in one of four places: an account's balance, an account's stake (part of which may be locked), held for jobs
(escrow and pay that has not vested), or the treasury. Every method of `Bank` moves it from one to another; the bank
keeps the four totals as it goes, so that the supply can be checked at every commit without visiting each account.
"""

from synaptic_mesh.base.codec import Record, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import invariant
from synaptic_mesh.base.ids import PEER_ID_BYTES, Digest, short
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, SUPPLY_MAX, format_amount
from synaptic_mesh.ledger.merkle import MerkleTable
from synaptic_mesh.ledger.reject import LedgerReject

ACCOUNTS_MAX = 1 << 20
"""Accounts in the state. An account is opened by the first transfer to it and is never removed."""


class Account(Record):
    """What one key owns. `locked` is the part of `stake` that cannot be withdrawn or locked again: voting stake for the
    epoch, and stake behind unresolved updates. `nonce` is that of the next transaction.
    """

    balance: int = 0
    stake: int = 0
    locked: int = 0
    nonce: int = 0

    @property
    def unlocked(self) -> int:
        """Stake that is free to be locked or withdrawn."""
        return self.stake - self.locked


EMPTY_ACCOUNT = Account()


class Bank:
    """All accounts, the treasury, and how much is held for jobs.

    Methods that a transaction asks for raise LedgerReject before they change anything. The others are called by the
    ledger's own transitions: for them a missing amount is a broken invariant.
    """

    def __init__(self, accounts: dict[bytes, Account]) -> None:
        self._accounts: dict[bytes, Account] = {}
        self._index: dict[bytes, int] = {}  # position of the account's leaf: order of opening
        self._dirty: set[bytes] = set()
        self._leaves = MerkleTable("SM/accounts/v1")
        self.balances = 0
        self.stakes = 0
        self.held = 0
        self.treasury = 0
        for peer in sorted(accounts):
            self._put(peer, accounts[peer])

    def __len__(self) -> int:
        return len(self._accounts)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._accounts

    def get(self, peer: bytes) -> Account:
        """Return the account; one that was never opened is empty."""
        return self._accounts.get(peer, EMPTY_ACCOUNT)

    def peers(self) -> tuple[bytes, ...]:
        """Return the ids of all accounts, ascending."""
        return tuple(sorted(self._accounts))

    def total(self) -> int:
        """Return the supply according to the running totals."""
        return self.balances + self.stakes + self.held + self.treasury

    def consume_nonce(self, peer: bytes) -> None:
        """The account's next nonce is one higher."""
        old = self._accounts[peer]
        self._put(peer, Account(old.balance, old.stake, old.locked, old.nonce + 1))

    # What transactions ask for.

    def transfer(self, sender: bytes, recipient: bytes, amount: int) -> None:
        """Move balance to another account, which is opened if it is new."""
        check_amount(amount)
        if len(recipient) != PEER_ID_BYTES:
            raise LedgerReject(f"recipient has {len(recipient)} bytes, an account id has {PEER_ID_BYTES}")
        self._check_balance(sender, amount)
        if recipient not in self._accounts and len(self._accounts) >= ACCOUNTS_MAX:
            raise LedgerReject(f"cannot open account {short(recipient)}: the ledger holds {ACCOUNTS_MAX} accounts")
        self._add_balance(sender, -amount)
        self._add_balance(recipient, amount)

    def stake(self, peer: bytes, amount: int) -> None:
        """Move balance into stake."""
        check_amount(amount)
        self._check_balance(peer, amount)
        old = self._accounts[peer]
        self._put(peer, Account(old.balance - amount, old.stake + amount, old.locked, old.nonce))

    def unstake(self, peer: bytes, amount: int) -> None:
        """Move unlocked stake into balance."""
        check_amount(amount)
        old = self.get(peer)
        if old.unlocked < amount:
            raise LedgerReject(
                f"{format_amount(amount)} rUv to unstake, but {short(peer)} has {format_amount(old.unlocked)} rUv of "
                f"unlocked stake"
            )
        self._put(peer, Account(old.balance + amount, old.stake - amount, old.locked, old.nonce))

    def hold(self, sponsor: bytes, amount: int) -> None:
        """Move balance into what is held for jobs."""
        self._check_balance(sponsor, amount)
        self._add_balance(sponsor, -amount)
        self.held += amount

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
        self._put(peer, Account(old.balance, old.stake, old.locked + amount, old.nonce))

    def unlock(self, peer: bytes, amount: int) -> None:
        """Unlock locked stake."""
        old = self.get(peer)
        invariant(0 <= amount <= old.locked, f"unlocking {amount} of {old.locked} locked stake")
        self._put(peer, Account(old.balance, old.stake, old.locked - amount, old.nonce))

    def seize(self, peer: bytes, amount: int) -> None:
        """Move locked stake into the treasury."""
        old = self.get(peer)
        invariant(0 <= amount <= old.locked, f"seizing {amount} of {old.locked} locked stake")
        self._put(peer, Account(old.balance, old.stake - amount, old.locked - amount, old.nonce))
        self.treasury += amount

    def grant(self, peer: bytes, amount: int) -> None:
        """Move money from the treasury into a balance."""
        invariant(0 <= amount <= self.treasury, f"granting {amount} of {self.treasury} in the treasury")
        self.treasury -= amount
        self._add_balance(peer, amount)

    # State root and checks.

    def root(self) -> Digest:
        """Return the Merkle root over all accounts in order of opening; only changed ones are hashed again."""
        for peer in sorted(self._dirty, key=self._index.__getitem__):
            self._leaves.set(self._index[peer], account_leaf(peer, self._accounts[peer]))
        self._dirty.clear()
        return self._leaves.root()

    def leaves(self) -> list[Digest]:
        """Return every account's leaf, computed anew in order of opening."""
        return [account_leaf(peer, account) for peer, account in self._accounts.items()]

    def recount(self) -> int:
        """Return the supply by visiting every account."""
        owned = sum(account.balance + account.stake for account in self._accounts.values())
        return owned + self.held + self.treasury

    def _check_balance(self, peer: bytes, amount: int) -> None:
        balance = self.get(peer).balance
        if balance < amount:
            raise LedgerReject(
                f"{format_amount(amount)} rUv needed, but {short(peer)} has a balance of {format_amount(balance)} rUv"
            )

    def _add_balance(self, peer: bytes, amount: int) -> None:
        old = self.get(peer)
        self._put(peer, Account(old.balance + amount, old.stake, old.locked, old.nonce))

    def _put(self, peer: bytes, new: Account) -> None:
        old = self._accounts.get(peer)
        if old is None:
            old = EMPTY_ACCOUNT
            self._index[peer] = len(self._accounts)
        invariant(
            0 <= new.balance <= SUPPLY_MAX and 0 <= new.locked <= new.stake <= SUPPLY_MAX,
            "an account left its range",
        )
        self.balances += new.balance - old.balance
        self.stakes += new.stake - old.stake
        self._accounts[peer] = new
        self._dirty.add(peer)


def account_leaf(peer: bytes, account: Account) -> Digest:
    """Return the leaf that stands for an account in the state root."""
    return hash_bytes("SM/account/v1", peer, encode(account))


def check_amount(amount: int) -> None:
    """Raise LedgerReject unless 1 <= amount < 2^63."""
    if not 1 <= amount <= AMOUNT_MAX:
        raise LedgerReject(f"amount {amount} is not between 1 and 2^63 - 1 units")
