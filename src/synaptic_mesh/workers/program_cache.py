"""Compiled programs on disk: generated module, precompiled machine code, and where inputs and outputs lie.

An entry's name is the hash of everything its content depends on: graph, emitter version, wasmtime version, engine
settings, CPU. Its content carries a digest bound to that name. An entry that is damaged, misplaced, or not ours is
deleted, counted in `rebuilt`, and built anew.

Precompiled code is native code: whoever can write an entry can run code as us. What is assumed, and checked before
every read: the directory and the entry belong to this user, nobody else may write to them, and the entry is a plain
file, not a link. Against another process of the same user there is no defence here, nor could there be.
"""

import contextlib
import os
import platform
import stat
import tempfile
from pathlib import Path

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import PeerError, ResourceError
from synaptic_mesh.base.ids import DIGEST_BYTES, Digest

ENTRY_BYTES_MAX = 64 << 20
_MAGIC = b"SMPC\x01"
_DOMAIN = "SM/program-cache"


class CachedSlot(Record):
    """Where one named tensor lies."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class CachedProgram(Record):
    """Everything an instance needs; `native` is what wasmtime's serialisation gave for `wasm`. `threads`: how many may
    work on a run."""

    wasm: bytes
    native: bytes
    inputs: dict[str, CachedSlot]
    outputs: dict[str, CachedSlot]
    arena_bytes: int
    threads: int = 1


class ProgramCache:
    """A directory of compiled programs. `hits`, `misses` and `rebuilt` count what happened since it was opened."""

    def __init__(self, directory: Path) -> None:
        """Open or create `directory` (mode 0700). Raises ResourceError when it belongs to somebody else or is
        writable by others."""
        self.directory = directory
        self.hits = 0
        self.misses = 0
        self.rebuilt: list[str] = []
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            problem = _problem(os.lstat(directory), stat.S_ISDIR)
        except OSError as error:
            raise ResourceError(f"cannot use the program cache {directory}: {error.strerror}") from None
        if problem:
            raise ResourceError(f"the program cache {directory} {problem}: choose a directory of your own")

    def load(self, key: Digest) -> CachedProgram | None:
        """Return the entry for `key`, or None. A damaged one is deleted and reported in `rebuilt`."""
        path = self._path(key)
        try:
            program = _read(path, key)
        except FileNotFoundError:
            self.misses += 1
            return None
        except (PeerError, OSError) as error:
            self.discard(key, str(error))
            return None
        self.hits += 1
        return program

    def discard(self, key: Digest, reason: str) -> None:
        """Delete an entry that cannot be used and report why."""
        self.rebuilt.append(f"{key.hex()}: {reason}")
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def store(self, key: Digest, program: CachedProgram) -> None:
        """Write an entry. The rename makes it whole or absent. A full or read-only disk loses nothing but time."""
        payload = encode(program)
        with contextlib.suppress(OSError):
            handle, temporary = tempfile.mkstemp(dir=self.directory, prefix="new-")  # mode 0600
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + _digest(key, payload) + payload)
                os.replace(temporary, self._path(key))
            except OSError:
                os.unlink(temporary)

    def _path(self, key: Digest) -> Path:
        return self.directory / f"{key.hex()}.program"


def program_key(graph: Digest, *versions: str) -> Digest:
    """Return the name of the entry for a graph under these versions, on this CPU."""
    text = "\n".join((*versions, platform.machine(), _cpu_features()))
    return hash_bytes(_DOMAIN + "/key", graph, text.encode())


def _cpu_features() -> str:
    """Model and feature lines of the first CPU, where the system tells them; machine code may depend on them."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            block = file.read(1 << 16).split("\n\n")[0]
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "model name", "flags", "Features", "CPU part")
    return "\n".join(line for line in block.splitlines() if line.split(":")[0].strip() in wanted)


def _read(path: Path, key: Digest) -> CachedProgram:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        problem = _problem(status, stat.S_ISREG)
        if problem:
            raise PeerError(f"the entry {problem}")
        if status.st_size > ENTRY_BYTES_MAX:
            raise PeerError(f"the entry has {status.st_size} bytes, the limit is {ENTRY_BYTES_MAX}")
        data = file.read()
    head = len(_MAGIC) + DIGEST_BYTES
    payload = data[head:]
    if data[:head] != _MAGIC + _digest(key, payload):
        raise PeerError("the entry's digest does not fit")
    return decode_untrusted(CachedProgram, payload, ENTRY_BYTES_MAX)


def _digest(key: Digest, payload: bytes) -> Digest:
    return hash_bytes(_DOMAIN, key, payload)


def _problem(status: os.stat_result, is_kind: "object") -> str:
    """Return why something on disk cannot be trusted, or nothing."""
    if not is_kind(status.st_mode):  # type: ignore[operator]
        return "is of the wrong kind"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return "belongs to another user"
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by other users"
    return ""
