"""The processes of the ledger benchmark: started, asked line by line, stopped in order."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from synaptic_mesh.base.errors import ResourceError

LINE_BYTES_MAX = 64 << 20
STOP_TIMEOUT_S = 15.0
ERROR_TAIL_BYTES = 4_000


class Talker:
    """A child process that answers lines with lines of JSON. The end of its standard input ends it."""

    def __init__(self, name: str, module: str, arguments: tuple[str, ...], errors: Path) -> None:
        self.name = name
        self._module = module
        self._arguments = arguments
        self._errors = errors
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process."""
        with self._errors.open("wb") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"synaptic_mesh.bench.{self._module}",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )

    async def hear(self, kind: str) -> dict[str, Any]:
        """Return the next line, which must be of this kind. Raises ResourceError when the process has ended instead."""
        process = self._process
        data = await process.stdout.readline() if process is not None and process.stdout is not None else b""
        if not data:
            tail = self._errors.read_bytes()[-ERROR_TAIL_BYTES:].decode(errors="replace").strip()
            raise ResourceError(f"{self.name} ended: {tail or 'it wrote nothing'}")
        line: dict[str, Any] = json.loads(data)
        if line["kind"] != kind:
            raise ResourceError(f"{self.name} said {line['kind']!r} where {kind!r} was expected")
        return line

    async def ask(self, line: str, kind: str) -> dict[str, Any]:
        """Write a line and return the answer to it."""
        if self._process is None or self._process.stdin is None:
            raise ResourceError(f"{self.name} does not run")
        try:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            pass  # it has ended: `hear` says why
        return await self.hear(kind)

    async def stop(self) -> bytes:
        """End the process in order, or kill it when that takes too long; return what it still said."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return b""
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                rest = await process.stdout.read()
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ResourceError(f"{self.name} did not stop within {STOP_TIMEOUT_S:.0f} s and was killed") from None
        return rest
