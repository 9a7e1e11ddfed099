"""A node's disk: one write-ahead log of framed records, made durable by fsyncs that take time.

Records are framed as length (u32 LE) || first 8 bytes of BLAKE3 || bytes. A crash keeps everything that an fsync
finished and a random part of the bytes after it, which may end inside a frame: reading stops at the first frame that
is short or does not match, and the log goes on from there. So a record whose fsync never returned may come back
whole, may be lost, but never comes back wrong.

A disk that lies, or a log restored from an old copy, loses in `forget` what an fsync had finished.
"""

import struct
from collections.abc import Callable
from functools import partial
from random import Random

import msgspec

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.sim.queue import EventQueue

CHECK_BYTES = 8
_LENGTH = struct.Struct("<I")


class DiskSettings(msgspec.Struct, frozen=True):
    """Time of one fsync: `base_ms` plus up to `spread_ms`."""

    base_ms: int = 1
    spread_ms: int = 6


class Disk:
    """Outlives its node's crashes. Writes that arrive while an fsync runs are made durable together by the next one."""

    def __init__(self, queue: EventQueue, settings: DiskSettings, random: Random) -> None:
        self.slow_factor = 1  # raised by faults
        self.fsync_count = self.torn_count = self.forgotten_count = self.lost_bytes = 0
        self._queue = queue
        self._settings = settings
        self._random = random
        self._log = bytearray()
        self._synced_bytes = 0
        self._waiting: list[Callable[[], None]] = []
        self._syncing = False
        self._life = 0  # counts crashes, so that an fsync begun before one finishes for nobody

    def append(self, record: bytes, durable: Callable[[], None]) -> None:
        """Write one record; `durable` is called when it would survive a crash."""
        self._log += frame(record)
        self._waiting.append(durable)
        if not self._syncing:
            self._begin_sync()

    def crash(self) -> None:
        """Lose what was not synced, but for a random prefix of its bytes."""
        kept_bytes = self._random.randint(self._synced_bytes, len(self._log))
        self.lost_bytes += len(self._log) - kept_bytes
        whole_bytes = read_frames(bytes(self._log[:kept_bytes]))[1]
        self.torn_count += whole_bytes < kept_bytes
        self._log = self._log[:whole_bytes]
        self._synced_bytes = whole_bytes
        self._waiting = []
        self._syncing = False
        self._life += 1

    def forget(self, count: int) -> None:
        """Lose the last `count` whole records, though an fsync had finished them. Only while the node is down."""
        records = self.records()
        kept = records[: max(0, len(records) - count)]
        self.forgotten_count += len(records) - len(kept)
        self._log = bytearray(b"".join(map(frame, kept)))
        self._synced_bytes = len(self._log)

    def records(self) -> list[bytes]:
        """Every whole record, oldest first: what a node that starts now reads."""
        return read_frames(bytes(self._log))[0]

    def _begin_sync(self) -> None:
        self._syncing = True
        self.fsync_count += 1
        calls, self._waiting = self._waiting, []
        end, life = len(self._log), self._life
        delay_ms = (self._settings.base_ms + self._random.randint(0, self._settings.spread_ms)) * self.slow_factor
        self._queue.at(self._queue.now_ms + delay_ms, partial(self._finish_sync, end, calls, life))

    def _finish_sync(self, end: int, calls: list[Callable[[], None]], life: int) -> None:
        if life != self._life:
            return
        self._synced_bytes = end
        self._syncing = False
        if self._waiting:
            self._begin_sync()
        for call in calls:
            call()


def frame(record: bytes) -> bytes:
    """Return the record as it stands in the log."""
    return _LENGTH.pack(len(record)) + hash_bytes("SM/sim/log", record)[:CHECK_BYTES] + record


def read_frames(log: bytes) -> tuple[list[bytes], int]:
    """Return the whole records at the start of `log`, and how many bytes they take."""
    records: list[bytes] = []
    start = 0
    while start + _LENGTH.size + CHECK_BYTES <= len(log):
        body = start + _LENGTH.size + CHECK_BYTES
        end = body + _LENGTH.unpack_from(log, start)[0]
        record = log[body:end]
        if end > len(log) or hash_bytes("SM/sim/log", record)[:CHECK_BYTES] != log[start + _LENGTH.size : body]:
            break
        records.append(record)
        start = end
    return records, start
