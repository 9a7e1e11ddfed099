"""What peers' questions may cost: a bucket of bytes for each peer that fills with time.

An answer may be ten thousand times as large as its question. A peer that asks faster than its bucket fills is not
answered; honest ones ask again after their timeout, so a dropped question costs them a moment.
"""

from synaptic_mesh.base.ids import PeerId

QUESTION_BYTES = 256
"""What every question costs, however small its answer."""
BUCKETS_MAX = 4_096
"""Peers that are remembered; those whose buckets are full need not be."""


class Credit:
    """Bytes that may still be sent to each peer in answers."""

    def __init__(self, bytes_per_s: int, bytes_max: int) -> None:
        self.bytes_per_s = bytes_per_s
        self.bytes_max = bytes_max
        self._buckets: dict[PeerId, tuple[int, int]] = {}  # peer -> (bytes left, at ms)

    def __len__(self) -> int:
        return len(self._buckets)

    def left(self, peer: PeerId, now_ms: int) -> int:
        """Bytes that an answer to this peer may have now; not positive: do not answer."""
        left, at_ms = self._buckets.get(peer, (self.bytes_max, now_ms))
        return min(self.bytes_max, left + (now_ms - at_ms) * self.bytes_per_s // 1_000)

    def spend(self, peer: PeerId, count: int, now_ms: int) -> None:
        """An answer of `count` bytes goes to this peer. It may overdraw the bucket once: then the peer waits longer."""
        left = self.left(peer, now_ms) - QUESTION_BYTES - count
        if peer not in self._buckets and len(self._buckets) >= BUCKETS_MAX:
            self._forget(now_ms)
        self._buckets[peer] = (left, now_ms)

    def _forget(self, now_ms: int) -> None:
        full = [peer for peer in self._buckets if self.left(peer, now_ms) >= self.bytes_max]
        for peer in full or list(self._buckets)[:1]:
            del self._buckets[peer]
