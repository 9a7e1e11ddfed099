"""Blobs pulled by their BLAKE3, from several holders at once, believed only when the hash fits.

A blob of up to `CHUNK_BYTES` is one chunk, and its digest is the chunk's. A larger one is asked for its manifest first:
the digests of its chunks in order. A holder can lie about a manifest, so holders are grouped by the manifest they gave:
inside a group a chunk that does not fit convicts its sender, and when every chunk fits but the whole does not, the
manifest convicts the group. The blob's own digest has the last word. A receiver pulls with credits, so nothing is ever
pushed at a peer that has stopped reading.

A holder that is silent does not hold up the others: once nothing has come in for `STALL_MS`, its chunks are asked from
them too.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import DIGEST_BYTES, Digest, PeerId, short
from synaptic_mesh.transport.network import BlobSource, Counters

BLOB_TOPIC = "blob"
CHUNK_BYTES = 4 << 20
"""Bytes of one answer. Larger ones gain nothing on a link; smaller ones cost a signature each."""
BLOB_BYTES_MAX = 1 << 30
"""Largest blob that is fetched or served: 256 chunks, a manifest of 8 KiB."""
HOLDERS_MAX = 16
"""Holders asked for one blob; further ones are ignored."""
CREDITS = 8
"""Chunks in flight to this node, over all holders and blobs: 32 MiB."""
CREDITS_PER_HOLDER = 2
"""Chunks in flight from one holder: 8 MiB, under the 19 MiB at which a stalled link was seen to close."""
ANSWERS_PER_PEER_MAX = 32
"""Questions of one peer that are answered at the same time; more are refused."""
MANIFESTS_MAX = 256
"""Manifests remembered by the serving side."""
REQUEST_TIMEOUT_MS = 10_000
STALL_MS = 1_000


class WantManifest(Record, tag="manifest"):
    """Asks for the chunk digests of a blob, concatenated."""

    digest: Digest


class WantChunk(Record, tag="chunk"):
    """Asks for one chunk of a blob, counted from 0."""

    digest: Digest
    index: int


Question = WantManifest | WantChunk


class BlobServer:
    """Answers questions from `source`, which decides what may be served."""

    def __init__(self, counters: Counters) -> None:
        self.source: BlobSource | None = None
        self._counters = counters
        self._manifests: OrderedDict[Digest, bytes] = OrderedDict()
        self._answering: dict[PeerId, int] = {}

    async def answer_untrusted(self, peer: PeerId, payload: bytes) -> bytes:
        """Return the answer, b"" when the blob is not served. Raises PeerError for a question that makes no sense."""
        question: Question = decode_untrusted(cast(Any, Question), payload)
        if len(question.digest) != DIGEST_BYTES:
            raise PeerError("a blob is asked for by its 32-byte digest", peer)
        if self._answering.get(peer, 0) >= ANSWERS_PER_PEER_MAX:
            raise PeerError(f"more than {ANSWERS_PER_PEER_MAX} questions at once", peer)
        self._answering[peer] = self._answering.get(peer, 0) + 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(None, self._answer, question)
        finally:
            self._answering[peer] -= 1
            if not self._answering[peer]:
                del self._answering[peer]
        self._counters.blob_sent_bytes += len(answer)
        return answer

    def _answer(self, question: Question) -> bytes:
        data = None if self.source is None else self.source(question.digest)
        if data is None or len(data) > BLOB_BYTES_MAX:
            return b""
        if isinstance(question, WantManifest):
            return self._manifest(question.digest, data)
        if not 0 <= question.index < chunk_count(len(data)):
            return b""
        start = question.index * CHUNK_BYTES
        return bytes(memoryview(data)[start : start + CHUNK_BYTES])

    def _manifest(self, digest: Digest, data: bytes | memoryview) -> bytes:
        manifest = self._manifests.get(digest)
        if manifest is None:
            view = memoryview(data)
            starts = range(0, len(view), CHUNK_BYTES)
            manifest = b"".join(blob_digest(view[start : start + CHUNK_BYTES]) for start in starts)
            self._manifests[digest] = manifest
            if len(self._manifests) > MANIFESTS_MAX:
                self._manifests.popitem(last=False)
        return manifest


class BlobFetcher:
    """Pulls blobs through `ask`, a function that puts one question to one peer."""

    def __init__(self, ask: Callable[[PeerId, bytes], Awaitable[bytes]], counters: Counters) -> None:
        self._ask = ask
        self._counters = counters
        self._credits = asyncio.Semaphore(CREDITS)
        self._holder_credits: dict[PeerId, asyncio.Semaphore] = {}

    async def fetch(self, digest: Digest, size: int, holders: Sequence[PeerId]) -> bytes:
        """Return the blob. Raises ResourceError naming why each holder failed, LocalError for a size out of bounds."""
        if not 0 <= size <= BLOB_BYTES_MAX:
            raise LocalError(f"blob {short(digest)} of {size} bytes is out of bounds: at most {BLOB_BYTES_MAX}")
        if size == 0:
            return _check_empty(digest)
        chosen = list(dict.fromkeys(holders))[:HOLDERS_MAX]
        pull = _Pull(digest, size)
        tasks = [asyncio.create_task(self._use_holder(pull, holder)) for holder in chosen]
        everyone: asyncio.Future[list[BaseException | None]] = asyncio.gather(*tasks, return_exceptions=True)
        try:
            waited: list[asyncio.Future[Any]] = [pull.whole, everyone]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await everyone
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result  # our own bug: what holders do wrong is kept in `failures`
        if pull.whole.done():
            return pull.whole.result()
        why = (
            "; ".join(f"{short(peer)}: {reason}" for peer, reason in sorted(pull.failures.items()))
            or "no holder is known"
        )
        raise ResourceError(f"blob {short(digest)} of {size} bytes cannot be fetched ({why})")

    async def _use_holder(self, pull: "_Pull", holder: PeerId) -> None:
        """Pull chunks from one holder until the blob is whole or the holder fails."""
        try:
            group = await self._join(pull, holder)
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(CREDITS_PER_HOLDER, len(group.digests))):
                    workers.create_task(self._pull_chunks(pull, group, holder))
        except* (PeerError, ResourceError) as failed:
            pull.failures[holder] = str(failed.exceptions[0])

    async def _join(self, pull: "_Pull", holder: PeerId) -> "_Group":
        if pull.size <= CHUNK_BYTES:
            return pull.group(bytes(pull.digest))
        manifest = await self._ask_with_credit(holder, WantManifest(pull.digest))
        if not manifest:
            raise ResourceError("does not serve it")
        if len(manifest) != chunk_count(pull.size) * DIGEST_BYTES:
            self._counters.drop("blob_manifest")
            raise PeerError("sent a manifest of the wrong length", holder)
        return pull.group(manifest)

    async def _pull_chunks(self, pull: "_Pull", group: "_Group", holder: PeerId) -> None:
        while not group.closed:
            index = group.take(holder)
            if index is None:
                await group.wait_for_change()
                continue
            try:
                chunk = await self._ask_with_credit(holder, WantChunk(pull.digest, index))
                self._check_chunk(pull, group, index, chunk, holder)
            finally:
                group.give_back(index, holder)
            if group.add(index, chunk):
                await self._finish(pull, group, holder)

    async def _ask_with_credit(self, holder: PeerId, question: Question) -> bytes:
        """Ask while no more than the credits are in flight. A silent holder binds its own credits; after `STALL_MS` it
        gives everyone's back, so that a few silent holders cannot stop every fetch of this node.
        """
        credits_of_holder = self._holder_credits.setdefault(holder, asyncio.Semaphore(CREDITS_PER_HOLDER))
        async with credits_of_holder:
            await self._credits.acquire()
            loan = asyncio.get_running_loop().call_later(STALL_MS / 1_000, self._credits.release)
            try:
                return await self._ask(holder, encode(question))
            finally:
                if loan.when() > asyncio.get_running_loop().time():
                    loan.cancel()
                    self._credits.release()

    def _check_chunk(self, pull: "_Pull", group: "_Group", index: int, chunk: bytes, holder: PeerId) -> None:
        if not chunk:
            raise ResourceError("does not serve it")
        self._counters.blob_received_bytes += len(chunk)
        expected = min(CHUNK_BYTES, pull.size - index * CHUNK_BYTES)
        if len(chunk) != expected or blob_digest(chunk) != group.digests[index]:
            self._counters.drop("blob_chunk")
            raise PeerError("sent a chunk that does not match", holder)

    async def _finish(self, pull: "_Pull", group: "_Group", holder: PeerId) -> None:
        whole, digest = await asyncio.to_thread(group.join_chunks)  # copies and hashes the whole: not on the loop
        if digest == pull.digest:
            if not pull.whole.done():
                pull.whole.set_result(whole)
            return
        self._counters.drop("blob_manifest")
        raise PeerError("gave a manifest of another blob", holder)


class _Pull:
    """One blob on its way, from holders that may disagree."""

    def __init__(self, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.failures: dict[PeerId, str] = {}
        self._groups: dict[bytes, _Group] = {}

    def group(self, manifest: bytes) -> "_Group":
        group = self._groups.get(manifest)
        if group is None:
            group = self._groups[manifest] = _Group(manifest)
        return group


class _Group:
    """Chunks pulled under one manifest, and who is asked for which now."""

    def __init__(self, manifest: bytes) -> None:
        self.digests = [manifest[start : start + DIGEST_BYTES] for start in range(0, len(manifest), DIGEST_BYTES)]
        self.closed = False
        self._chunks: dict[int, bytes] = {}
        self._askers: dict[int, set[PeerId]] = {index: set() for index in range(len(self.digests))}
        self._change = asyncio.Event()
        self._stalled = False

    def take(self, holder: PeerId) -> int | None:
        """Choose a chunk to ask `holder` for: one nobody is asked for; after a stall, any."""
        for index, askers in self._askers.items():
            if not askers or (self._stalled and holder not in askers):
                askers.add(holder)
                return index
        return None

    def give_back(self, index: int, holder: PeerId) -> None:
        if index in self._askers:
            self._askers[index].discard(holder)
        self._note_change()

    def add(self, index: int, chunk: bytes) -> bool:
        """Keep a verified chunk; True if that made the set complete."""
        if self._askers.pop(index, None) is None:
            return False
        self._chunks[index] = chunk
        self._stalled = False
        self.closed = not self._askers
        return self.closed

    def join_chunks(self) -> tuple[bytes, Digest]:
        """The whole blob and its digest. A single chunk is the blob, and its digest was checked when it came."""
        if len(self._chunks) == 1:
            return self._chunks[0], Digest(self.digests[0])
        whole = b"".join(self._chunks[index] for index in range(len(self.digests)))
        return whole, blob_digest(whole)

    async def wait_for_change(self) -> None:
        self._change.clear()
        try:
            async with asyncio.timeout(STALL_MS / 1_000):
                await self._change.wait()
        except TimeoutError:
            self._stalled = True

    def _note_change(self) -> None:
        self._change.set()


def chunk_count(size: int) -> int:
    """Chunks of a blob of `size` bytes: ceil(size / CHUNK_BYTES)."""
    return -(-size // CHUNK_BYTES)


def _check_empty(digest: Digest) -> bytes:
    if blob_digest(b"") != digest:
        raise ResourceError(f"blob {short(digest)} cannot have 0 bytes")
    return b""
