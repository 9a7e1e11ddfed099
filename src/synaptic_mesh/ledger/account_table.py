"""The table of accounts: fixed rows, columns that numpy can add to, pages that are hashed.

    row = account id (32 bytes) || balance || stake || locked || nonce || unbonding || release      i64, little-endian

Rows stand in the order in which accounts were opened; 256 of them are a page, and the root is a Merkle root over the
pages. So thousands of transfers at once are a few operations on columns, and their share of the root is the cost of
hashing 20 KiB for each page they touch.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.digests import hash_bytes, merkle_root
from synaptic_mesh.base.ids import PEER_ID_BYTES, Digest
from synaptic_mesh.ledger.merkle import MerkleTable

PAGE_ACCOUNTS = 256
"""Accounts whose rows are hashed together: more cost small commits, fewer cost the inner nodes of large ones."""
COLUMNS = ("balance", "stake", "locked", "nonce", "unbonding", "release")
ROW = np.dtype([("peer", f"V{PEER_ID_BYTES}"), *((name, "<i8") for name in COLUMNS)])
PAGES_DOMAIN = "SM/accounts/v2"


class Account(Record):
    """What one key owns. `locked` is the part of `stake` that cannot be withdrawn or locked again: voting stake for the
    epoch, and stake behind unresolved updates. `unbonding` is another part of it, on its way to the balance, where it
    arrives with the commit `release`. `nonce` is that of the next transaction.
    """

    balance: int = 0
    stake: int = 0
    locked: int = 0
    nonce: int = 0
    unbonding: int = 0
    release: int = 0

    @property
    def unlocked(self) -> int:
        """Stake that is free to be locked or withdrawn."""
        return self.stake - self.locked - self.unbonding


EMPTY_ACCOUNT = Account()


class AccountTable:
    """Accounts by row. Who writes to a column says so with `touch`, or the root stays behind."""

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}  # account -> its row
        self._use(np.zeros(PAGE_ACCOUNTS, ROW))
        self._dirty = np.zeros(1, np.bool_)  # by page
        self._pages = MerkleTable(PAGES_DOMAIN)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._index

    def peers(self) -> tuple[bytes, ...]:
        """Return the ids of all accounts, ascending."""
        return tuple(sorted(self._index))

    def row(self, peer: bytes) -> int | None:
        """Return the account's row, None for one that is not open."""
        return self._index.get(peer)

    def rows(self, peers: Sequence[bytes]) -> list[int | None]:
        """Return each account's row, None for one that is not open."""
        return list(map(self._index.get, peers))

    def open(self, peer: bytes) -> int:
        """Return the row of an account that may be new."""
        row = self._index.get(peer)
        if row is not None:
            return row
        row = len(self._index)
        if row == len(self._table):
            self._use(np.concatenate([self._table, np.zeros(row, ROW)]))
            self._dirty = np.concatenate([self._dirty, np.zeros(len(self._dirty), np.bool_)])
        self._index[peer] = row
        self._table["peer"][row] = peer
        self.touch(row)
        return row

    def get(self, row: int) -> Account:
        """Return the account in a row."""
        return Account(*[column.item(row) for column in self._columns])

    def set(self, row: int, account: Account) -> None:
        """Replace the account in a row."""
        for column, value in zip(self._columns, astuple(account), strict=True):
            column[row] = value
        self.touch(row)

    def touch(self, row: int) -> None:
        """The row's page is hashed again."""
        self._dirty[row // PAGE_ACCOUNTS] = True

    def touch_all(self, rows: npt.NDArray[np.int64]) -> None:
        """The pages of these rows are hashed again."""
        self._dirty[rows // PAGE_ACCOUNTS] = True

    def owned(self) -> int:
        """Return balances and stakes of all accounts, by visiting each."""
        count = len(self._index)
        owned: int = sum(self.balance[:count].tolist()) + sum(self.stake[:count].tolist())
        return owned

    def root(self) -> Digest:
        """Return the Merkle root over all pages in order; only touched ones are hashed again."""
        for page in np.flatnonzero(self._dirty).tolist():
            self._pages.set(page, self._leaf(page))
        self._dirty[:] = False
        return self._pages.root()

    def prove(self, page: int) -> tuple[bytes, tuple[tuple[bool, Digest], ...]]:
        """Return a page and its path to the root."""
        self.root()
        return bytes(self._slice(page)), self._pages.path(page)

    def recomputed_root(self) -> Digest:
        """Return the same root from scratch."""
        pages = range(-(-len(self._index) // PAGE_ACCOUNTS))
        return merkle_root([self._leaf(page) for page in pages], PAGES_DOMAIN)

    def _leaf(self, page: int) -> Digest:
        return page_leaf(self._slice(page))

    def _slice(self, page: int) -> memoryview:
        end = min((page + 1) * PAGE_ACCOUNTS, len(self._index))
        return self._bytes[page * PAGE_ACCOUNTS * ROW.itemsize : end * ROW.itemsize]

    def _use(self, table: npt.NDArray[np.void]) -> None:
        self._table = table
        self._bytes = table.data.cast("B")
        self._columns: tuple[npt.NDArray[np.int64], ...] = tuple(table[name] for name in COLUMNS)
        self.balance, self.stake, _, self.nonce, _, _ = self._columns  # (rows,) each, views


def page_leaf(page: bytes | memoryview) -> Digest:
    """Return the leaf of a page in the Merkle tree of the accounts."""
    return hash_bytes("SM/account-page/v1", page)


def rows_of_page(page: bytes) -> dict[bytes, Account]:
    """Return the accounts of a page by id; the page is one that the state root is known to hold."""
    rows = np.frombuffer(page, ROW)
    columns = [rows[name].tolist() for name in COLUMNS]
    return {peer.tobytes(): Account(*values) for peer, *values in zip(rows["peer"], *columns, strict=True)}
