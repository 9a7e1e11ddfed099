"""A write-ahead log: what it has accepted survives a crash.

An LMDB environment of its own, apart from the state, with one record per key: position (8 bytes, big-endian) -> check
|| data, where check is BLAKE3 over the position, the check of the record before and the data. So a record that was
changed, lost, swapped or cut off breaks the chain there. Reading stops at the break: nothing behind it is believed, and
`damage` says where and why. A file of which LMDB itself can make nothing is damage too (see inspection.py).

One commit is one fsync. Appends that wait while a commit is under way share the next one (group commit), and each
returns only when its own records are on the disk.
"""

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb

from synaptic_mesh.base.errors import LocalError, ResourceError, broken
from synaptic_mesh.storage.directory import DirectoryLock, disk_errors, sync_directory
from synaptic_mesh.storage.inspection import (
    CHECK_BYTES,
    DATA_NAME,
    FIRST_CHECK,
    POSITION,
    ChainBroken,
    Damage,
    believed_records,
    check_of,
    find_damage,
)

RECORD_BYTES_MAX = 64 << 20
"""Largest record."""
APPENDS_WAITING_MAX = 4_096
"""Appends that may wait for a commit; further ones are refused."""
MAP_BYTES_START = 64 << 20
"""First size of the memory map; it doubles when it is full. On Linux it takes address space, not disk."""
MAP_BYTES_MAX = 1 << 40
REMAP_BYTES = 16 << 20
"""After so much was written the file is mapped anew. Nothing reads what was written, but the system counts mapped pages
of it as memory of this process until then, and that would grow with the log.
"""
READ_RECORDS = 256
"""Records read in one go."""
DAMAGED_NAME = "data.mdb.damaged"
"""What `repair` leaves of a damaged log, for whoever wants to look."""
REBUILT_NAME = "rebuilt"


class WriteAheadLog:
    """An append-only list of byte strings on disk. Positions count from 0.

    Opening it reads and checks every record. If `damage` is not None afterwards, the caller decides: `repair()` cuts
    the log there.
    """

    def __init__(self, directory: Path, durable: bool = True) -> None:
        """Open or make the log. `durable=False` skips fsync: for simulations and tests only.

        Raises ResourceError if another process has it open or the disk refuses.
        """
        self.directory = directory
        self._lock = DirectoryLock(directory)
        self._durable = durable
        self._io = threading.Lock()
        self._open: Any = None
        self._salvaged: list[bytes] = []
        self.damage: Damage | None = None
        self._length = 0
        self._written = 0  # bytes since the file was mapped
        self._check = FIRST_CHECK
        try:
            self._open_checked()
        except ResourceError:
            self._lock.release()
            raise
        self._executor = ThreadPoolExecutor(1, "mesh-log")
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[int]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Records that are believed."""
        return self._length

    def records(self) -> Iterator[bytes]:
        """Yield the believed records in order; they were checked when the log was opened or they were written."""
        if self.damage is not None:
            yield from self._salvaged
            return
        start = 0
        while start < self._length:
            chunk = self._read(start, min(start + READ_RECORDS, self._length))
            yield from chunk
            start += len(chunk)

    def read(self, start: int, count: int) -> list[bytes]:
        """Return up to `count` records from position `start` on, fewer at the end: only what an fsync has finished."""
        return self._read(start, min(start + count, self._length)) if start < self._length else []

    def _read(self, start: int, stop: int) -> list[bytes]:
        # Held only here, not across a yield: the map cannot grow while a transaction is open.
        with self._io, self._mapped_errors(), self._environment.begin() as transaction:
            values = [transaction.get(POSITION.pack(position)) for position in range(start, stop)]
        if None in values:
            raise ResourceError(f"{self.directory}: record {start + values.index(None)} went missing while it was open")
        return [value[CHECK_BYTES:] for value in values]

    async def append(self, records: Sequence[bytes]) -> int:
        """Add records after the last; return the position of the first once all of them are on the disk.

        Appends keep the order of their calls. Raises ResourceError if the disk refuses: then none of these was added,
        and the same holds for every append that waited with it.
        """
        self._check_writable(records)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        return await done

    def append_now(self, records: Sequence[bytes]) -> int:
        """The same for callers without an event loop; not beside `append`."""
        self._check_writable(records)
        return self._write([records])[0]

    def repair(self) -> None:
        """Replace a damaged log by one that holds the believed records, durably. The damaged file stays beside it as
        `data.mdb.damaged`. Afterwards `damage` is None.
        """
        if self.damage is None:
            return
        place = self.directory / REBUILT_NAME
        with disk_errors(self.directory):
            shutil.rmtree(place, ignore_errors=True)
            rebuilt = WriteAheadLog(place, self._durable)
            rebuilt.append_now(self._salvaged)
            rebuilt.close_now()
            (self.directory / DAMAGED_NAME).unlink(missing_ok=True)
            os.link(self.directory / DATA_NAME, self.directory / DAMAGED_NAME)
            os.replace(place / DATA_NAME, self.directory / DATA_NAME)
            shutil.rmtree(place)
            sync_directory(self.directory)
        self._open_checked()
        self._salvaged = []

    async def close(self) -> None:
        """Finish the appends that wait, and close. Calling it twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._committing is not None:
            await self._committing
        self._shut()

    def close_now(self) -> None:
        """Close from code without an event loop."""
        if not self._closed:
            self._closed = True
            self._shut()

    def _shut(self) -> None:
        self._executor.shutdown(wait=True)
        if self._open is not None:
            self._open.close()
        self._lock.release()

    def _check_writable(self, records: Sequence[bytes]) -> None:
        if self._closed:
            raise ResourceError(f"{self.directory}: the log is closed")
        if self.damage is not None:
            raise ResourceError(
                f"{self.directory} is damaged at record {self.damage.position} ({self.damage.reason}): repair it first"
            )
        if len(self._waiting) >= APPENDS_WAITING_MAX:
            raise ResourceError(f"{self.directory}: {APPENDS_WAITING_MAX} appends wait for the disk: it is too slow")
        for record in records:
            if len(record) > RECORD_BYTES_MAX:
                raise LocalError(f"a log record of {len(record)} bytes is over the limit of {RECORD_BYTES_MAX}")

    async def _commit_waiting(self) -> None:
        """Write everything that waits, again and again until nothing does: one fsync for each round."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    starts = await loop.run_in_executor(self._executor, self._write, [records for records, _ in batch])
                except BaseException as error:
                    for _, done in batch:  # nobody waits for ever, whatever went wrong
                        if not done.done():
                            done.set_exception(ResourceError(str(error)))
                    if not isinstance(error, ResourceError):
                        raise
                    continue
                for (_, done), start in zip(batch, starts, strict=True):
                    if not done.done():
                        done.set_result(start)
        finally:
            self._committing = None

    def _write(self, batches: list[Sequence[bytes]]) -> list[int]:
        with self._io:
            while True:
                try:
                    return self._write_once(batches)
                except lmdb.MapFullError:
                    self._grow()

    def _write_once(self, batches: list[Sequence[bytes]]) -> list[int]:
        starts: list[int] = []
        position, check = self._length, self._check
        with self._mapped_errors(), self._environment.begin(write=True) as transaction:
            for records in batches:
                starts.append(position)
                for record in records:
                    check = check_of(position, check, record)
                    transaction.put(POSITION.pack(position), check + record, append=True)
                    position += 1
        # Only now, after the commit and its fsync, do the records exist.
        self._length, self._check = position, check
        self._written += sum(len(record) for records in batches for record in records)
        if self._written >= REMAP_BYTES:
            self._written = 0
            with self._mapped_errors():
                self._environment.set_mapsize(self._environment.info()["map_size"])
        return starts

    def _grow(self) -> None:
        size = self._environment.info()["map_size"]
        if size >= MAP_BYTES_MAX:
            raise ResourceError(f"{self.directory}: the log has reached {MAP_BYTES_MAX} bytes")
        with self._mapped_errors():
            self._environment.set_mapsize(size * 2)

    @property
    def _environment(self) -> Any:
        if self._open is None:
            broken(f"{self.directory} is damaged and was not repaired")
        return self._open

    def _open_checked(self) -> None:
        """Open the environment and check every record; or note the damage and leave it closed."""
        found = find_damage(self.directory)
        if found is None:
            self.damage = None
            self._open = _open_environment(self.directory, self._durable)
            self._check_all()
        else:
            self.damage, self._salvaged = found
            self._length = len(self._salvaged)

    def _check_all(self) -> None:
        """Set `_length` and `_check`. Raises ResourceError if the file has changed since it was inspected."""
        self._length, self._check = 0, FIRST_CHECK
        with self._mapped_errors(), self._environment.begin() as transaction:
            try:
                for check, _ in believed_records(transaction):
                    self._length, self._check = self._length + 1, check
            except ChainBroken as error:
                raise ResourceError(f"{self.directory} changed while it was opened ({error})") from None

    def _mapped_errors(self) -> "_lmdb_errors":
        return _lmdb_errors(self.directory)


class _lmdb_errors:
    """Turn what LMDB says into a ResourceError; a full map passes, since `_write` grows it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, lmdb.Error) and not isinstance(error, lmdb.MapFullError):
            if isinstance(error, lmdb.DiskError) or "No space left" in str(error):
                raise ResourceError(f"the disk of {self._directory} refuses ({error}): free space on it") from error
            raise ResourceError(f"{self._directory}: {error}") from error


def _open_environment(directory: Path, durable: bool) -> Any:
    with disk_errors(directory), _lmdb_errors(directory):
        size = MAP_BYTES_START
        existing = directory / DATA_NAME
        while existing.exists() and size < 2 * existing.stat().st_size:
            size *= 2
        return lmdb.open(
            str(directory),
            map_size=size,
            max_dbs=0,
            sync=durable,
            metasync=durable,
            writemap=False,
            readahead=False,
            mode=0o600,
        )
