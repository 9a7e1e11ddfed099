"""Transfers as they travel: records of fixed size, many under one signature, read by numpy without a copy.

    record = receiver (32 bytes) || amount (u64, little-endian)          40 bytes, no padding
    TransferMany.records = record 1 || ... || record n                   1 <= n <= 4,096

There is one encoding for each list of transfers, so the bytes are canonical as they stand. The sender and the nonce are
those of the transaction around them: one signature and one nonce cover all n.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import PEER_ID_BYTES
from synaptic_mesh.ledger.amounts import AMOUNT_MAX

TRANSFERS_MAX = 4_096
"""Records under one signature."""
AMOUNT_BYTES = 8
RECORD_BYTES = PEER_ID_BYTES + AMOUNT_BYTES
RECORD = np.dtype([("receiver", f"V{PEER_ID_BYTES}"), ("amount", "<u8")])


def pack_transfers(transfers: Iterable[tuple[bytes, int]]) -> bytes:
    """Return the records of (receiver, amount) pairs in order. Raises LocalError for a pair that no ledger would take,
    for none, and for more than 4,096.
    """
    parts: list[bytes] = []
    for receiver, amount in transfers:
        if len(receiver) != PEER_ID_BYTES:
            raise LocalError(f"receiver has {len(receiver)} bytes, an account id has {PEER_ID_BYTES}")
        if not 1 <= amount <= AMOUNT_MAX:
            raise LocalError(f"amount {amount} is not between 1 and 2^63 - 1 units")
        parts += (receiver, amount.to_bytes(AMOUNT_BYTES, "little"))
    if not 1 <= len(parts) // 2 <= TRANSFERS_MAX:
        raise LocalError(f"{len(parts) // 2} transfers in one transaction: give 1 to {TRANSFERS_MAX}")
    return b"".join(parts)


def check_records_untrusted(records: bytes) -> None:
    """Raise PeerError unless the bytes are 1 to 4,096 whole records. Amounts are the ledger's business: a wrong one
    fails the transaction there.
    """
    count, rest = divmod(len(records), RECORD_BYTES)
    if rest or not 1 <= count <= TRANSFERS_MAX:
        raise PeerError(
            f"{len(records)} bytes of transfers are not 1 to {TRANSFERS_MAX} records of {RECORD_BYTES} bytes"
        )


def record_count(records: bytes) -> int:
    """Return the number of records in checked bytes."""
    return len(records) // RECORD_BYTES


def read_records(records: bytes) -> tuple[list[bytes], list[int]]:
    """Return receivers and amounts of checked bytes as Python values, in order."""
    table = np.frombuffer(records, RECORD)
    return table["receiver"].tolist(), table["amount"].tolist()


def total_of(records: bytes) -> int:
    """Return the sum of the amounts in checked bytes."""
    return sum(np.frombuffer(records, RECORD)["amount"].tolist())


def exact_sums(amounts: npt.NDArray[np.uint64], starts: Sequence[int]) -> list[int]:
    """Return the sums of the slices of `amounts` (n,) that begin at `starts` (ascending, the first 0, no slice empty)
    as Python integers. Two 32-bit limbs are summed apart, so that no sum of up to 2^32 values leaves 64 bits.
    """
    low = np.add.reduceat(amounts & np.uint64(0xFFFFFFFF), starts).tolist()
    high = np.add.reduceat(amounts >> np.uint64(32), starts).tolist()
    return [(above << 32) + below for above, below in zip(high, low, strict=True)]
