"""Old rounds out of a node's log: where they begin, and what the shell reads."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.consensus.messages import ReadStored, StoredRead
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.messages import Effect, LogRead, LogRecord, ReadLog
from synaptic_mesh.node.run import Node
from synaptic_mesh.node.store import RECORDS_AT_A_TIME, StoredRounds, read_log
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.storage.log import WriteAheadLog
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork

PEER = PeerId(bytes([7]) * 32)
KEY = KeyPair(bytes(range(32)))
COUNT = 3 * RECORDS_AT_A_TIME + 5
RECORDS = [encode(LogRecord((b"%d a" % n, b"%d b" % n) if n % 3 else ())) for n in range(COUNT)]


def stored() -> StoredRounds:
    """The index of a log whose record n holds blocks of rounds 10 n and 10 n + 1, or none."""
    rounds = StoredRounds()
    for n in range(COUNT):
        rounds.note((10 * n, 10 * n + 1) if n % 3 else ())
    return rounds


def test_a_late_peer_gets_the_log_from_its_own_bound_on_in_parts_without_a_gap() -> None:
    rounds, found = stored(), list[bytes]()
    question = rounds.question(ReadStored(PEER, 200, 0, 5, 1 << 20))
    assert question.block == 0
    assert 16 <= question.position <= 20  # record 20 holds round 201; the index is no finer than 32 rounds
    first = question.position
    while True:
        answer = rounds.answer(read_log(lambda start, count: RECORDS[start : start + count], question))
        assert answer.oldest_round == 1
        if not answer.blocks:
            break
        found += answer.blocks
        question = rounds.question(ReadStored(PEER, 200, answer.place, 5, 1 << 20))
    assert found == [block for n in range(first, COUNT) if n % 3 for block in (b"%d a" % n, b"%d b" % n)]


def test_a_place_beyond_the_log_is_empty() -> None:
    question = stored().question(ReadStored(PEER, 0, (1 << 63) - 1, 5, 100))
    assert read_log(lambda start, count: RECORDS[start : start + count], question).blocks == ()


class Reading:
    """Stands where an assembly stands: wants the log read at once, and keeps the answer."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.answered = asyncio.Event()

    def start(self, records: Sequence[bytes], _now_ms: int, *, is_log_whole: bool) -> list[Effect]:
        assert len(records) == COUNT
        assert is_log_whole
        return [ReadLog(PEER, 3, 0, 4, 1 << 20), ReadLog(PEER, COUNT, 0, 4, 1 << 20)]

    def deadline_ms(self) -> int | None:
        return None

    def handle(self, event: object, _now_ms: int) -> list[Effect]:
        self.answers.append(event)
        if len(self.answers) == 2:
            self.answered.set()
        return []


def test_the_shell_reads_the_real_log(tmp_path: Path) -> None:
    written = WriteAheadLog(tmp_path / "log", durable=False)
    written.append_now(RECORDS)
    written.close_now()

    async def play() -> list[object]:
        reading = Reading()
        network = MeshNetwork(MemoryHub().attach(KEY.peer_id), KEY, cast(Any, Digest(bytes(32))), incarnation=1)
        log = WriteAheadLog(tmp_path / "log", durable=False)
        blobs = BlobStore(tmp_path / "blobs", durable=False)
        assembly = cast(Assembly, reading)
        node = Node(assembly, network, log, blobs, cast(Any, None), lambda _: None, is_first_start=True)
        running = asyncio.create_task(node.run())
        await asyncio.wait_for(reading.answered.wait(), 20)
        node.stop()
        await running
        return reading.answers

    answers = asyncio.run(play())
    assert all(isinstance(answer, LogRead) for answer in answers)
    blocks = sorted((cast(LogRead, answer).blocks for answer in answers), key=len)
    assert blocks == [(), (b"4 a", b"4 b", b"5 a", b"5 b")]
    assert isinstance(stored().answer(cast(LogRead, answers[0])), StoredRead)
