"""Looks at a log before this process trusts it, in a process of its own.

LMDB maps its file into memory and believes the page headers that it finds there. A file that was cut short or altered
can therefore end whoever reads it: SIGBUS behind the end of the file, an assertion inside the library. So a child
process reads the whole chain first; only when it comes back well does this process open the file.

    python -m synaptic_mesh.storage.inspection DIRECTORY [OUTPUT]     OUTPUT takes the records that are believed
"""

import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import msgspec

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.storage.directory import disk_errors

DATA_NAME = "data.mdb"
CHECK_BYTES = 32
FIRST_CHECK = bytes(CHECK_BYTES)
POSITION = struct.Struct(">Q")
REASON_DISAGREES = "its check does not fit"
_LENGTH = struct.Struct("<Q")
_WHOLE, _DAMAGED, _REFUSED = 0, 10, 11
_ENDED_BY_READING = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT)
_ERROR_TAIL = 500
_DAMAGE_ERRORS = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    lmdb.BadTxnError,
    SystemError,
)
"""What LMDB says about bytes that make no sense. Its other errors speak of the machine, not of the file."""


class Damage(msgspec.Struct, frozen=True):
    """Where a log stops making sense: records from `position` on are not believed."""

    position: int
    reason: str


class ChainBroken(Exception):
    """A record does not follow from the one before it."""


def find_damage(directory: Path) -> tuple[Damage, list[bytes]] | None:
    """Return None when every record of the log can be read and believed, or when there is no log yet; otherwise where
    it is damaged, with the records before that.

    Raises ResourceError when it cannot be found out.
    """
    with disk_errors(directory):
        if not (directory / DATA_NAME).exists() or not (directory / DATA_NAME).stat().st_size:
            return None
        if _read_apart(directory) is None:
            return None
        with tempfile.TemporaryDirectory(prefix="inspection-", dir=directory) as place:
            output = Path(place) / "records"
            reason = _read_apart(directory, output)
            records = list(_saved_records(output)) if output.exists() else []
    return Damage(len(records), reason or REASON_DISAGREES), records


def check_of(position: int, previous: bytes, data: bytes) -> bytes:
    """Return the check of a record: BLAKE3 over its position, the check of the record before, and its data."""
    return hash_bytes("SM/log", POSITION.pack(position), previous, data)


def believed_records(transaction: lmdb.Transaction) -> Iterator[tuple[bytes, bytes]]:
    """Yield (check, record) in order. Raises ChainBroken at the first entry that does not follow from those before."""
    position, check = 0, FIRST_CHECK
    with transaction.cursor() as cursor:
        for key, value in cursor:
            data = bytes(value[CHECK_BYTES:])
            check = check_of(position, check, data)
            if key != POSITION.pack(position) or check != value[:CHECK_BYTES]:
                raise ChainBroken(REASON_DISAGREES)
            yield check, data
            position += 1


def _read_apart(directory: Path, output: Path | None = None) -> str | None:
    """Read the log in a child; return why it is damaged, None when it is whole. Raises ResourceError."""
    command = [sys.executable, "-m", "synaptic_mesh.storage.inspection", str(directory)]
    done = subprocess.run([*command, *([str(output)] if output else [])], capture_output=True, check=False)
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == _WHOLE:
        return None
    if done.returncode == _DAMAGED:
        return said
    if -done.returncode in _ENDED_BY_READING:
        return f"reading it ended with {signal.Signals(-done.returncode).name}"
    tail = said or done.stderr.decode(errors="replace").strip()[-_ERROR_TAIL:]
    raise ResourceError(f"{directory} cannot be checked: {tail or f'status {done.returncode}'}")


def _saved_records(path: Path) -> Iterator[bytes]:
    """Yield the whole records of a child's output; what was being written when it ended is left out."""
    with path.open("rb") as file:
        while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(head)
            data = file.read(length)
            if len(data) < length:
                return
            yield data


def _read(directory: Path, take: Callable[[bytes], object]) -> None:
    with (
        lmdb.open(str(directory), max_dbs=0, readonly=True, lock=False, readahead=False) as environment,
        environment.begin() as transaction,
    ):
        for _, data in believed_records(transaction):
            take(data)


def main(arguments: list[str]) -> int:
    """Read the log in the directory that the arguments name; return the exit status, the reason on standard output."""
    directory = Path(arguments[0])
    output = open(arguments[1], "wb", buffering=0) if len(arguments) > 1 else None  # noqa: SIM115  closed by the end

    def take(data: bytes) -> None:
        if output is not None:
            output.write(_LENGTH.pack(len(data)) + data)

    try:
        _read(directory, take)
    except (ChainBroken, *_DAMAGE_ERRORS) as error:
        sys.stdout.write(str(error))
        return _DAMAGED
    except (lmdb.Error, OSError) as error:
        sys.stdout.write(str(error))
        return _REFUSED
    return _WHOLE


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # closing a damaged environment could end us otherwise
