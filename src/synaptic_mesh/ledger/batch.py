"""Many transfers at once, with exactly the result of one after the other.

What a transfer reads and writes is known before it runs: its sender's balance and nonce, its receivers' balances. So
for transactions whose nonces are in order:

    Each succeeds whatever the others do if every sender's balance covers its own transfers and their fees without
    anything that arrives meanwhile. Balances then only add up, and the order of additions does not matter.

`settle_transfers` checks that premise with exact integers and moves everything in a few operations on columns. Where it
does not hold (somebody spends what it has just received, or more than it has, or an amount is out of range) it changes
nothing, and the caller applies one transaction after the other, which is the definition. Accounts are opened in the
order of the records either way, so the state root is the same to the last bit.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from synaptic_mesh.base.ids import PEER_ID_BYTES
from synaptic_mesh.ledger.accounts import ACCOUNTS_MAX, Bank
from synaptic_mesh.ledger.amounts import AMOUNT_MAX
from synaptic_mesh.ledger.economics import Economics
from synaptic_mesh.ledger.transactions import Transaction, Transfer, TransferMany
from synaptic_mesh.ledger.transfers import AMOUNT_BYTES, RECORD, RECORD_BYTES, exact_sums


def settle_transfers(bank: Bank, economics: Economics, transactions: Sequence[Transaction]) -> list[int] | None:
    """Apply transfers (Transfer or TransferMany, of open accounts, nonces in order) if all of them succeed in every
    order, and return the fee of each; else change nothing and return None.
    """
    parts = [_records(transaction.action) for transaction in transactions]
    if not all(parts):
        return None
    records = np.frombuffer(b"".join(parts), RECORD)
    amounts = np.ascontiguousarray(records["amount"])
    if not bool(np.all(amounts - np.uint64(1) < np.uint64(AMOUNT_MAX))):  # 0 wraps to 2^64 - 1
        return None
    counts = [len(part) // RECORD_BYTES for part in parts]
    starts = [0, *accumulate(counts[:-1])]
    receivers = records["receiver"].tolist()
    fees = [economics.fee_flat + economics.fee_per_record * count for count in counts]
    rows = bank.rows(receivers)
    openings = _openings(receivers, rows, starts)
    for position in openings:
        fees[position] += economics.fee_open_account
    debits: dict[bytes, int] = {}
    nonces: dict[bytes, int] = {}
    for transaction, total, fee in zip(transactions, exact_sums(amounts, starts), fees, strict=True):
        debits[transaction.sender] = debits.get(transaction.sender, 0) + total + fee
        nonces[transaction.sender] = transaction.nonce + 1
    if any(debit > bank.balance(sender) for sender, debit in debits.items()):
        return None
    if len(bank) + len(openings) > ACCOUNTS_MAX:
        return None
    bank.settle(debits, nonces, sum(fees), receivers, rows, amounts.astype(np.int64))
    return fees


def _openings(receivers: Sequence[bytes], rows: Sequence[int | None], starts: Sequence[int]) -> list[int]:
    """Return, for each account that these transfers open, the position of the transaction that does."""
    if None not in rows:
        return []
    seen: set[bytes] = set()
    positions: list[int] = []
    for index, row in enumerate(rows):
        if row is None and receivers[index] not in seen:
            seen.add(receivers[index])
            positions.append(bisect_right(starts, index) - 1)
    return positions


def _records(action: object) -> bytes:
    """Return the action's records, b"" for a transfer that fails in any case."""
    if isinstance(action, TransferMany):
        return action.records
    if isinstance(action, Transfer) and len(action.recipient) == PEER_ID_BYTES and 1 <= action.amount <= AMOUNT_MAX:
        return action.recipient + action.amount.to_bytes(AMOUNT_BYTES, "little")
    return b""
