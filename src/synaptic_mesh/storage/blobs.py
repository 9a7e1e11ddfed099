"""Blobs by content: one file per blob, named by its BLAKE3, believed only when the bytes hash to the name.

    DIRECTORY/ab/abcdef...    two levels, so that no directory grows too large

Which blobs may be shown to others (published or sealed) is not known here: the caller keeps that set.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import DIGEST_BYTES, Digest
from synaptic_mesh.storage.directory import disk_errors, write_durably

BLOB_BYTES_MAX = 1 << 30
"""Largest blob, as on the network."""
STORE_BYTES_MAX = 64 << 30
"""All blobs of one store, unless the caller says otherwise."""
CACHE_BYTES_MAX = 64 << 20
"""Bytes of blobs that were read and verified lately and are kept: a blob is served chunk by chunk, and hashed once."""


class BlobStore:
    """Blobs on disk. Every method may be called from any thread; two processes may share a directory."""

    def __init__(self, directory: Path, durable: bool = True, bytes_max: int = STORE_BYTES_MAX) -> None:
        """Open or make the store. `durable`: a blob survives a crash once `put` has returned.

        Raises ResourceError if the directory cannot be used.
        """
        self.directory = directory
        self.damaged: list[Digest] = []
        self._durable = durable
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._cache: OrderedDict[Digest, bytes] = OrderedDict()
        self._cache_bytes = 0
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self.size = sum(path.stat().st_size for path in self._files())

    def put(self, data: bytes | memoryview) -> Digest:
        """Store a blob and return its name. Storing it again changes nothing, unless the file on disk is damaged: then
        it is replaced. Raises LocalError if it is too large, ResourceError if the store or the disk is full."""
        if len(data) > BLOB_BYTES_MAX:
            raise LocalError(f"a blob of {len(data)} bytes is over the limit of {BLOB_BYTES_MAX}")
        digest = blob_digest(data)
        if self.get(digest) is not None:
            return digest
        with self._lock:
            if self.size + len(data) > self._bytes_max:
                raise ResourceError(
                    f"{self.directory} holds {self.size} bytes of at most {self._bytes_max}: "
                    "delete blobs or raise the limit"
                )
            self.size += len(data)
        try:
            with disk_errors(self._path(digest)):
                self._path(digest).parent.mkdir(exist_ok=True)
                write_durably(self._path(digest), data, self._durable)
        except ResourceError:
            self._change_size(-len(data))
            raise
        return digest

    def get(self, digest: Digest) -> bytes | None:
        """Return the blob, or None if it is not here. A damaged file is removed, noted in `damaged`, and counts as not
        here.
        """
        with self._lock:
            cached = self._cache.get(digest)
            if cached is not None:
                self._cache.move_to_end(digest)
                return cached
        path = self._path(digest)
        with disk_errors(path):
            try:
                if path.stat().st_size > BLOB_BYTES_MAX:
                    self._remove_damaged(digest)
                    return None
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        if blob_digest(data) != digest:
            self._remove_damaged(digest)
            return None
        self._remember(digest, data)
        return data

    def has(self, digest: Digest) -> bool:
        """Answer whether a file of that name is here; its bytes are not checked."""
        with disk_errors(self.directory):
            return self._path(digest).exists()

    def delete(self, digest: Digest) -> bool:
        """Remove a blob; answer whether it was here."""
        self._forget(digest)
        path = self._path(digest)
        with disk_errors(path):
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return False
        self._change_size(-size)
        return True

    def digests(self) -> list[Digest]:
        """Names of all blobs here, sorted."""
        with disk_errors(self.directory):
            return sorted(Digest(bytes.fromhex(path.name)) for path in self._files())

    def _path(self, digest: Digest) -> Path:
        if len(digest) != DIGEST_BYTES:
            raise LocalError(f"a blob is named by {DIGEST_BYTES} bytes, not {len(digest)}")
        name = digest.hex()
        return self.directory / name[:2] / name

    def _files(self) -> Iterator[Path]:
        for path in self.directory.glob("??/*"):
            if len(path.name) == 2 * DIGEST_BYTES and set(path.name) <= set("0123456789abcdef"):
                yield path

    def _sweep(self) -> None:
        """Remove what a crash left of unfinished writes."""
        for path in self.directory.glob("??/.*.tmp"):
            path.unlink(missing_ok=True)

    def _remove_damaged(self, digest: Digest) -> None:
        self.damaged.append(digest)
        self.delete(digest)

    def _remember(self, digest: Digest, data: bytes) -> None:
        with self._lock:
            if digest in self._cache or len(data) > CACHE_BYTES_MAX:
                return
            self._cache[digest] = data
            self._cache_bytes += len(data)
            while self._cache_bytes > CACHE_BYTES_MAX:
                _, dropped = self._cache.popitem(last=False)
                self._cache_bytes -= len(dropped)

    def _forget(self, digest: Digest) -> None:
        with self._lock:
            dropped = self._cache.pop(digest, None)
            self._cache_bytes -= len(dropped or b"")

    def _change_size(self, change: int) -> None:
        with self._lock:
            self.size += change
