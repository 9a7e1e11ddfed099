"""Real child processes, one per node: started, listened to, stopped.

A child reads the pipe that is its standard input, and ends when it does: so it ends with us even when we are killed. It
has a session of its own, so that Ctrl-C in a terminal reaches only us, and the children are stopped in order.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from synaptic_mesh.base.errors import ResourceError

JOURNAL_NAME = "journal.jsonl"
"""Everything a node said, kept in its directory."""
LINE_BYTES_MAX = 8 << 20
STOP_TIMEOUT_S = 15.0
"""A node closes its links, log and threads on SIGTERM; one that needs longer than this is killed and reported."""
ERROR_TAIL_BYTES = 4_000

OnLine = Callable[[str, Mapping[str, Any]], None]


class NodeProcess:
    """One node in a process of its own. Its standard output is its journal."""

    def __init__(self, name: str, directory: Path, arguments: tuple[str, ...], on_line: OnLine) -> None:
        self.name = name
        self._directory = directory
        self._arguments = arguments
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Start the node and pass its journal on until it ends. Raises ResourceError when it ends with an error."""
        errors = self._directory / "stderr.txt"
        with errors.open("wb") as stderr:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "synaptic_mesh.demo.child",
                str(self._directory),
                "--attached",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
            try:
                await self._read(process)
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if code != 0:
            tail = errors.read_bytes()[-ERROR_TAIL_BYTES:].decode(errors="replace").strip()
            raise ResourceError(f"node {self.name} ended with status {code}: {tail or 'it wrote nothing'}")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise ResourceError(f"node {self.name} has no standard output")
        with (self._directory / JOURNAL_NAME).open("ab") as journal:
            while data := await process.stdout.readline():
                journal.write(data)
                try:
                    line = json.loads(data)
                except ValueError:
                    raise ResourceError(f"node {self.name} wrote a line that is not JSON: {data[:200]!r}") from None
                self._on_line(self.name, line)

    def terminate(self) -> None:
        """Ask the node to stop in order: SIGTERM."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the node at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


async def stop_all(processes: list[NodeProcess], ended: Awaitable[object]) -> bool:
    """Terminate every process and wait; return False when some had to be killed."""
    for process in processes:
        process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(ended)), STOP_TIMEOUT_S)
    except TimeoutError:
        for process in processes:
            process.kill()
        return False
    return True
