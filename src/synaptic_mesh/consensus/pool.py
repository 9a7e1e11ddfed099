"""Transactions of this node's clients: waiting, in flight in an own block, done.

A transaction leaves the pool when an own block that carries it is ordered. An own block that falls below the gc round
unordered gives its transactions back, first in line. What is waiting and in flight counts against the bounds, so a
return always fits.
"""

from collections import deque
from collections.abc import Iterable

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.consensus.admission import TRANSACTION_BYTES_MAX


class Pool:
    """Bounded by count and bytes; the same transaction is held once."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self.count_max = count_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self._waiting: deque[bytes] = deque()
        self._in_flight: dict[int, tuple[bytes, ...]] = {}  # own round -> its transactions
        self._known: set[Digest] = set()

    def __len__(self) -> int:
        """Transactions that wait for a block."""
        return len(self._waiting)

    def submit(self, transactions: Iterable[bytes]) -> tuple[list[bytes], str]:
        """Take transactions in; return those refused and the reason of the last refusal. Known ones are ignored."""
        refused: list[bytes] = []
        reason = ""
        for transaction in transactions:
            digest = blob_digest(transaction)
            if digest in self._known:
                continue
            why = self._refusal(transaction)
            if why:
                refused.append(transaction)
                reason = why
                continue
            self._known.add(digest)
            self.bytes += len(transaction)
            self._waiting.append(transaction)
        return refused, reason

    def _refusal(self, transaction: bytes) -> str:
        if not 0 < len(transaction) <= TRANSACTION_BYTES_MAX:
            return f"a transaction of {len(transaction)} bytes is not between 1 and {TRANSACTION_BYTES_MAX}"
        if len(self._known) >= self.count_max:
            return f"the pool holds its maximum of {self.count_max} transactions: submit again later"
        if self.bytes + len(transaction) > self.bytes_max:
            return f"the pool holds {self.bytes} of {self.bytes_max} bytes: submit again later"
        return ""

    def take(self, round_: int, count_max: int, bytes_max: int) -> tuple[bytes, ...]:
        """Move the oldest transactions into the own block of this round, within both limits."""
        taken: list[bytes] = []
        room = bytes_max
        while self._waiting and len(taken) < count_max:
            room -= len(self._waiting[0]) + 5  # 5 bytes: the longest length prefix of the codec
            if room < 0 and taken:
                break
            taken.append(self._waiting.popleft())
        if taken:
            self._in_flight[round_] = tuple(taken)
        return tuple(taken)

    def restore(self, round_: int, transactions: tuple[bytes, ...]) -> None:
        """Count an own block found in the store as in flight; what had returned to the line from an earlier block
        leaves it.
        """
        for transaction in transactions:
            digest = blob_digest(transaction)
            if digest in self._known and transaction in self._waiting:
                self._waiting.remove(transaction)
            else:
                self._known.add(digest)
                self.bytes += len(transaction)
        if transactions:
            self._in_flight[round_] = self._in_flight.get(round_, ()) + transactions

    def release(self, round_: int) -> None:
        """The own block of this round is ordered."""
        for transaction in self._in_flight.pop(round_, ()):
            self._known.discard(blob_digest(transaction))
            self.bytes -= len(transaction)

    def expire(self, gc_round: int) -> None:
        """Own blocks at or below the gc round will never be ordered: their transactions wait again, oldest first."""
        if not self._in_flight:
            return
        for round_ in sorted((r for r in self._in_flight if r <= gc_round), reverse=True):
            self.give_back(round_)

    def give_back(self, round_: int) -> None:
        """The own block of this round counts no more: its transactions wait again, first in line."""
        self._waiting.extendleft(reversed(self._in_flight.pop(round_, ())))
