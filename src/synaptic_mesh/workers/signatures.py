"""Signatures checked in batches by processes of their own.

One check takes some 40 us and nothing makes it cheaper: libsodium has no batch verification, and two threads of one
Python process are no faster than one (measured; decision 0018). So checks run in child processes, while the node's
event loop goes on ordering and executing. What crosses the pipe is a table of fixed rows,

    row    = peer id (32) || signature (64) || signed digest (32)
    batch  = row count (u32, little-endian) || rows
    answer = row count || one byte for each row: 1 valid, 0 not

so the child decodes nothing that a stranger made. A child ends when its standard input does, so it never outlives the
node, however that ends. Its answer is what `identity/keys.py` says of the same bytes, and nothing else.
"""

import asyncio
import struct
import sys
from collections.abc import Sequence
from typing import BinaryIO

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.base.ids import DIGEST_BYTES, PEER_ID_BYTES, SIGNATURE_BYTES
from synaptic_mesh.identity.keys import verify_digest

ROW_BYTES = PEER_ID_BYTES + SIGNATURE_BYTES + DIGEST_BYTES
SIGNATURE_END = PEER_ID_BYTES + SIGNATURE_BYTES
COUNT = struct.Struct("<I")
ROWS_MAX = 512
"""Rows in one batch: some 20 ms of work. Larger lists are cut, so that a short one never waits long behind a long."""
WAITING_ROWS_MAX = 1 << 18
"""Rows handed in and not answered: 32 MiB of them. Callers bound what they hand in; this is the last line."""
CLOSE_TIMEOUT_S = 2.0


class SignatureChecker:
    """`count` child processes, started with the first question. Calls come from one event loop; `close` ends them."""

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._children: list[_Child] = []
        self._starting: asyncio.Task[None] | None = None
        self._waiting_rows = 0
        self._closed = False

    async def check(self, rows: bytes) -> bytes:
        """Return one byte for each row, 1 where the signature is valid. Raises ResourceError when a child has died or
        too many rows wait.
        """
        count = len(rows) // ROW_BYTES
        if self._waiting_rows + count > WAITING_ROWS_MAX:
            raise ResourceError(f"{self._waiting_rows} signatures wait to be checked: this machine is too slow")
        self._waiting_rows += count
        try:
            await self._start()
            step = ROWS_MAX * ROW_BYTES
            if len(rows) <= step:
                return await self._check_part(rows)
            parts = [rows[start : start + step] for start in range(0, len(rows), step)]
            return b"".join(await asyncio.gather(*[self._check_part(part) for part in parts]))
        finally:
            self._waiting_rows -= count

    async def _start(self) -> None:
        if self._closed:
            raise ResourceError("the processes that check signatures are not running any more")
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_children())
        if not self._starting.done():
            await self._starting

    async def _start_children(self) -> None:
        for _ in range(self._count):
            child = _Child()
            self._children.append(child)
            await child.start()

    async def _check_part(self, rows: bytes) -> bytes:
        return await min(self._children, key=_Child.load).check(rows)

    async def close(self) -> None:
        """End the children. Calling it twice is harmless."""
        self._closed = True
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        children, self._children = self._children, []
        for child in children:
            await child.close()


class _Child:
    """One process; batches are answered in the order in which they were written."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: list[tuple[int, asyncio.Future[bytes]]] = []
        self._rows = 0
        self._reader: asyncio.Task[None] | None = None

    def load(self) -> int:
        """Rows that wait here."""
        return self._rows

    async def start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "synaptic_mesh.workers.signatures",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in a terminal is for the node, which ends its children in order
            )
        except OSError as error:
            raise ResourceError(f"cannot start a process to check signatures: {error.strerror}") from None
        self._reader = asyncio.create_task(self._read())

    async def check(self, rows: bytes) -> bytes:
        count = len(rows) // ROW_BYTES
        if self._process is None or self._process.stdin is None or self._reader is None or self._reader.done():
            raise ResourceError("a process that checks signatures has ended")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, answer))
        self._rows += count
        self._process.stdin.write(COUNT.pack(count) + rows)
        return await answer

    async def close(self) -> None:
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def _read(self) -> None:
        output = self._process.stdout if self._process is not None else None
        while output is not None:
            try:
                (count,) = COUNT.unpack(await output.readexactly(COUNT.size))
                data = await output.readexactly(count)
            except (asyncio.IncompleteReadError, OSError):
                break
            rows, answer = self._waiting.pop(0)
            self._rows -= rows
            if not answer.done():
                answer.set_result(data)
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_exception(ResourceError("a process that checks signatures has ended"))
        self._waiting.clear()


def signature_row(peer: bytes, signature: bytes, digest: bytes) -> bytes:
    """Return the row of one signature over a digest (`identity.keys.signed_digest`). Wrong lengths make a row that no
    signature fits.
    """
    row = peer + signature + digest
    return row if len(row) == ROW_BYTES and len(peer) == PEER_ID_BYTES else bytes(ROW_BYTES)


def check_rows(rows: bytes) -> bytes:
    """Return one byte for each row: the definition of what the children answer."""
    return bytes(
        [
            verify_digest(
                rows[start : start + PEER_ID_BYTES],
                rows[start + SIGNATURE_END : start + ROW_BYTES],
                rows[start + PEER_ID_BYTES : start + SIGNATURE_END],
            )
            for start in range(0, len(rows), ROW_BYTES)
        ]
    )


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer batches until the input ends."""
    while len(head := source.read(COUNT.size)) == COUNT.size:
        (count,) = COUNT.unpack(head)
        rows = source.read(count * ROW_BYTES)
        if len(rows) < count * ROW_BYTES:
            return
        sink.write(head + check_rows(rows))
        sink.flush()


def main(_arguments: Sequence[str]) -> int:
    """The child: standard input and output are the pipe."""
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
