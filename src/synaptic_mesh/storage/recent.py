"""The newest records of a log that another process may be writing, for whoever wants to look inside a running node.

Nothing is written and no lock of the node is taken. A child process reads, because a damaged file can end its reader
(see `inspection`); it goes backwards from the newest record and believes what follows from the record before it.

    python -m synaptic_mesh.storage.recent DIRECTORY BYTES     the records on standard output, newest first
"""

import os
import struct
import subprocess
import sys
from pathlib import Path

import lmdb

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.storage.inspection import CHECK_BYTES, DATA_NAME, FIRST_CHECK, POSITION, check_of

_LENGTH = struct.Struct("<Q")
READ_S_MAX = 60.0


def recent_records(directory: Path, bytes_max: int) -> list[bytes]:
    """Return the newest records of the log, ascending: as many as bytes_max holds, at least one if there is one. Raises
    ResourceError when there is no log or it cannot be read.
    """
    if not (directory / DATA_NAME).is_file():
        raise ResourceError(f"{directory} holds no log: give the directory of a node that has been started")
    command = [sys.executable, "-m", "synaptic_mesh.storage.recent", str(directory), str(bytes_max)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=READ_S_MAX)
    except subprocess.TimeoutExpired:
        raise ResourceError(f"{directory} was not read within {READ_S_MAX:.0f} s: is its disk healthy?") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ResourceError(f"the log in {directory} cannot be read: {said[-1] if said else done.returncode}")
    records, at = [], 0
    while at < len(done.stdout):
        (length,) = _LENGTH.unpack_from(done.stdout, at)
        at += _LENGTH.size + length
        records.append(done.stdout[at - length : at])
    return records[::-1]


def newest_first(directory: Path, bytes_max: int) -> list[bytes]:
    """The believed records from the newest back. Raises lmdb.Error or OSError."""
    found: list[bytes] = []
    with (
        lmdb.open(str(directory), max_dbs=0, readonly=True, readahead=False) as environment,
        environment.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        has_entry = cursor.last()
        while has_entry:
            key, value = cursor.item()
            (position,), check, data = POSITION.unpack(key), value[:CHECK_BYTES], bytes(value[CHECK_BYTES:])
            has_entry = cursor.prev()
            previous = cursor.value()[:CHECK_BYTES] if has_entry else FIRST_CHECK
            bytes_max -= len(data)
            if check != check_of(position, previous, data) or (found and bytes_max < 0):
                break
            found.append(data)
    return found


def main(arguments: list[str]) -> int:
    """Write the records to standard output; return the exit status."""
    try:
        records = newest_first(Path(arguments[0]), int(arguments[1]))
    except (lmdb.Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for data in records:
        sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # closing a damaged environment could end us otherwise
