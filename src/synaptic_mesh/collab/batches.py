"""The batch-order rule: which rows of a shard the k-th inner step trains on.

    draw(pass, row) = little-endian u32 number `row` of the BLAKE3 extended output over
                      len(domain) || domain || order_seed (32 bytes) || pass (u64, little-endian)
    order(pass)     = rows sorted by (draw(pass, row), row)
    sequence        = order(0) || order(1) || order(2) || ...
    batch(k)        = sequence[k * B : (k + 1) * B]

Every pass over the shard visits each row once. A shard with fewer rows than a batch wraps into its next pass, so a
batch is always full. Only integer comparisons occur: the rule gives the same rows in any language.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from synaptic_mesh.base.errors import LocalError

DOMAIN = b"SM/batch-order/v1"
ROWS_MAX = 1 << 24
"""Rows of one shard: the draws of one pass take 64 MiB."""

Rows = npt.NDArray[np.int64]


def order_rows(order_seed: bytes, pass_index: int, rows: int) -> Rows:
    """Return the rows 0..rows-1 in the order in which pass `pass_index` visits them. Shape (rows,)."""
    material = bytes([len(DOMAIN)]) + DOMAIN + order_seed + pass_index.to_bytes(8, "little")
    draws = np.frombuffer(blake3(material).digest(length=4 * rows), dtype="<u4")
    return np.argsort(draws, kind="stable")  # equal draws keep ascending rows


def iterate_batches(order_seed: bytes, rows: int, batch: int) -> Iterator[Rows]:
    """Yield the rows of batch 0, 1, 2, ... without end. Each has shape (batch,).

    Raises LocalError when rows or batch is not in range.
    """
    if not 1 <= rows <= ROWS_MAX:
        raise LocalError(f"a shard has 1 to {ROWS_MAX} rows, not {rows}: split the data differently")
    if not 1 <= batch <= ROWS_MAX:
        raise LocalError(f"a batch has 1 to {ROWS_MAX} rows, not {batch}")
    pending, pass_index = order_rows(order_seed, 0, rows), 1
    while True:
        missing = -(-max(batch - len(pending), 0) // rows)  # passes; joined at once, so that tiny shards cost no more
        if missing:
            passes = [order_rows(order_seed, pass_index + more, rows) for more in range(missing)]
            pending = np.concatenate((pending, *passes))
            pass_index += missing
        yield pending[:batch]
        pending = pending[batch:]
