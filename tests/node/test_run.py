"""The shell around an assembly: what it tells the assembly about its log."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from synaptic_mesh.base.ids import Digest
from synaptic_mesh.collab.messages import BlobFetched, BlobMissing, FetchBlob
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.messages import Effect, Notice
from synaptic_mesh.node.run import Node
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.storage.log import WriteAheadLog
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork

KEY = KeyPair(bytes(range(32)))


class Started:
    """Stands where an assembly stands, and keeps what it was started with."""

    records: Sequence[bytes] = ()
    is_log_whole = False

    def start(self, records: Sequence[bytes], _now_ms: int, *, is_log_whole: bool) -> list[Effect]:
        self.records, self.is_log_whole = list(records), is_log_whole
        return []

    def deadline_ms(self) -> int | None:
        return None


def start(directory: Path, *, is_first_start: bool) -> tuple[Started, list[Effect]]:
    """Run a node over the log in `directory` until it has started."""
    started, seen = Started(), list[Effect]()

    async def play() -> None:
        network = MeshNetwork(MemoryHub().attach(KEY.peer_id), KEY, cast(Any, Digest(bytes(32))), incarnation=1)
        log = WriteAheadLog(directory / "log", durable=False)
        blobs = BlobStore(directory / "blobs", durable=False)
        assembly = cast(Assembly, started)
        node = Node(assembly, network, log, blobs, cast(Any, None), seen.append, is_first_start=is_first_start)
        await node.run(node.stop)

    asyncio.run(play())
    return started, seen


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    log = WriteAheadLog(tmp_path / "log", durable=False)
    log.append_now([b"%d" % number * 900 for number in range(9)])
    log.close_now()
    return tmp_path


def test_every_start_but_the_first_asks_peers_what_was_proposed(directory: Path) -> None:
    # The log could be an older copy, put back: a second block for a taken round would be equivocation.
    assert start(directory, is_first_start=True)[0].is_log_whole
    later, seen = start(directory, is_first_start=False)
    assert not later.is_log_whole
    assert len(later.records) == 9
    assert not seen


def test_a_damaged_log_is_reported_cut_and_not_trusted(directory: Path) -> None:
    file = directory / "log" / "data.mdb"
    data = bytearray(file.read_bytes())
    data[data.rindex(b"5" * 900)] ^= 1
    file.write_bytes(data)
    started, seen = start(directory, is_first_start=True)
    assert not started.is_log_whole
    assert len(started.records) == 5
    assert [effect.text for effect in seen if isinstance(effect, Notice)] == [
        "the log is damaged at record 5 (its check does not fit): what follows is fetched again"
    ]


class Asking(Started):
    """Asks for one blob, and keeps the answer."""

    def __init__(self, blob: BlobRef) -> None:
        self._blob = blob
        self.answers: list[object] = []
        self.answered = asyncio.Event()

    def start(self, records: Sequence[bytes], _now_ms: int, *, is_log_whole: bool) -> list[Effect]:
        super().start(records, _now_ms, is_log_whole=is_log_whole)
        return [FetchBlob(self._blob, ())]

    def handle(self, event: object, _now_ms: int) -> list[Effect]:
        self.answers.append(event)
        self.answered.set()
        return []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_damaged_blob_counts_as_missing(tmp_path: Path, damaged: bool) -> None:
    store = BlobStore(tmp_path / "blobs", durable=False)
    digest = store.put(b"a shard of the data")
    if damaged:
        (path,) = (tmp_path / "blobs").glob("??/*")
        path.write_bytes(b"a shard of the date")

    async def play() -> list[object]:
        asking = Asking(BlobRef(digest, 19))
        network = MeshNetwork(MemoryHub().attach(KEY.peer_id), KEY, cast(Any, Digest(bytes(32))), incarnation=1)
        log = WriteAheadLog(tmp_path / "log", durable=False)
        blobs = BlobStore(tmp_path / "blobs", durable=False)
        node = Node(cast(Assembly, asking), network, log, blobs, cast(Any, None), lambda _: None)
        running = asyncio.create_task(node.run())
        await asyncio.wait_for(asking.answered.wait(), 20)
        node.stop()
        await running
        return asking.answers

    assert asyncio.run(play()) == [BlobMissing(digest) if damaged else BlobFetched(digest)]
