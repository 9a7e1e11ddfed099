"""A peer with good credentials and a program of its own floods the others, while one of them is killed and comes back.

Everything the program sends travels over real links. The honest nodes count it, serve nothing that is sealed, keep
their memory, and finish the job with equal roots.
"""

import asyncio
from random import Random
from typing import Any

import pytest
from attack_mesh import WAIT_S, NodeUnderAttack, over, running

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import MeshError
from synaptic_mesh.base.ids import Digest, NetworkId, PeerId
from synaptic_mesh.consensus import messages as consensus
from synaptic_mesh.demo.scenario import Scenario, write_scenario
from synaptic_mesh.identity.envelope import EVERYONE, Sealer
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import network_id
from synaptic_mesh.node.clock import NodeClock
from synaptic_mesh.node.directory import read_node
from synaptic_mesh.node.messages import Transactions
from synaptic_mesh.transport.exchange import BLOB_TOPIC, WantChunk, WantManifest
from synaptic_mesh.transport.links import Frame
from synaptic_mesh.transport.zenoh_links import ZenohLinks
from synaptic_mesh.transport.zenoh_settings import ZenohSettings

pytestmark = pytest.mark.process
STEPS = 2
FRAMES = 6_000
QUESTIONS = 400
TOPICS = ("consensus", "transactions", "nonsense", BLOB_TOPIC)
GROWTH_BYTES_MAX = 64 << 20
"""A flood of some 100 MB is sent at every node."""


class Attacker:
    """Holds the worker's certificate and key, and none of our machines."""

    def __init__(self, scenario: Scenario) -> None:
        files = read_node(scenario.members[-1].directory)
        self.network = network_id(files.genesis)
        self.me = files.key.peer_id
        self.victims = tuple(PeerId(bytes.fromhex(peer.peer)) for peer in files.settings.peers)
        settings = ZenohSettings(
            listen=(files.settings.listen,),
            connect=tuple(peer.endpoint for peer in files.settings.peers),
            credentials=files.credentials,
            members=(*self.victims, self.me),
        )
        self.links = ZenohLinks(settings, self.network, self.me)
        self.sealer = Sealer(files.key, self.network, 5)
        stranger = Sealer(KeyPair(bytes(32)), self.network, 5)
        elsewhere = Sealer(files.key, NetworkId(Digest(bytes(32))), 5)
        stale = Sealer(files.key, self.network, 4)
        self._sealers = [self.sealer] * 6 + [stranger, elsewhere, stale]
        self._random = Random(1)
        self._heard: list[bytes] = []
        self._linked = asyncio.Event()
        self._last: Frame = (b"", b"")

    # What the links call.

    def on_frames(self, frames: list[Frame]) -> None:
        self._heard += [payload for _, payload in frames][: 500 - len(self._heard)]

    async def on_request(self, _header: bytes, _payload: bytes) -> bytes:
        return b"not what was asked for" * 1_000

    def on_peers(self, peers: frozenset[PeerId]) -> None:
        if peers >= set(self.victims):
            self._linked.set()

    def on_drop(self, reason: str, count: int) -> None:
        pass

    # What it does.

    async def join(self) -> None:
        await self.links.open(self)
        await asyncio.wait_for(self._linked.wait(), WAIT_S)

    async def flood(self) -> None:
        for number in range(FRAMES):
            frame = self._last = self._spoil(self._choose_payload())
            if self._random.random() < 0.3:
                self.links.broadcast(frame)
            else:
                self.links.send(self._random.choice(self.victims), frame)
            if number % 50 == 0:
                await asyncio.sleep(0)

    def _choose_payload(self) -> bytes:
        rng = self._random
        choices: list[Any] = [
            lambda: rng.randbytes(rng.choice([0, 1, 10, 1_000, 100_000])),
            lambda: encode(Transactions(tuple([rng.randbytes(100)] * rng.choice([1, 257, 2_000])))),
            lambda: encode(consensus.Advert((1 << 32) - 1, 0, (1 << 63) - 1)),
            lambda: encode(consensus.Advert(0, (1 << 32) - 1, 0)),
            lambda: encode(consensus.RoundsRequest(rng.choice([0, (1 << 32) - 1]))),
            lambda: encode(consensus.OwnRoundRequest(1)),
            lambda: encode(consensus.OwnRoundAnswer(7, rng.randbytes(rng.choice([0, 50])))),
            lambda: encode(consensus.Blocks((rng.randbytes(300),) * rng.choice([1, 1_000]))),
            lambda: b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1 values
            lambda: b"\x91" * 100_000,
        ]
        if self._heard:
            choices += [lambda: rng.choice(self._heard), lambda: self._flip(rng.choice(self._heard))]
        return bytes(rng.choice(choices)())

    def _spoil(self, payload: bytes) -> Frame:
        rng = self._random
        recipient = rng.choice([EVERYONE, rng.choice(self.victims)])
        header = rng.choice(self._sealers).seal(rng.choice(TOPICS), payload, recipient)
        match rng.randrange(9):
            case 0:
                return header[:-1], payload
            case 1:
                return self._flip(header), payload
            case 2:
                return header, payload + b"x"
            case 3:
                return rng.randbytes(rng.choice([0, 10, 250, 5_000])), payload
            case 4:
                return self._last
        return header, payload

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data or b"x")
        changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    async def ask(self, victim: PeerId, question: bytes) -> bytes:
        try:
            header = self.sealer.seal(BLOB_TOPIC, question, victim)
            return await self.links.request(victim, (header, question), 5_000)
        except MeshError:
            return b""

    async def ask_nonsense(self) -> list[bytes]:
        rng = self._random
        questions = [
            encode(WantChunk(Digest(rng.randbytes(32)), 0)),
            encode(WantManifest(Digest(rng.randbytes(31)))),
            encode(WantChunk(Digest(rng.randbytes(32)), 1 << 62)),
            rng.randbytes(40),
            b"x" * 900_000,
        ]
        asks = [self.ask(rng.choice(self.victims), rng.choice(questions)) for _ in range(QUESTIONS)]
        return list(await asyncio.gather(*asks))


async def attack(scenario: Scenario, nodes: dict[str, NodeUnderAttack]) -> list[bytes]:
    """Flood while the job runs and node C dies and comes back; return what was answered to nonsense."""
    attacker = Attacker(scenario)
    await attacker.join()
    await attacker.flood()
    answers = await attacker.ask_nonsense()
    await asyncio.to_thread(nodes["node C"].wait_for, lambda line: line["kind"] == "job" and line["phase"] == "work")
    nodes["node C"].kill()
    await attacker.flood()
    nodes["node C"].start()
    await attacker.flood()
    attacker.links.broadcast((b"h" * 200, bytes(20 << 20)))
    await attacker.links.close()
    return answers


Aftermath = tuple[list[bytes], dict[str, NodeUnderAttack], int, list[int]]
"""Answers to nonsense, the nodes, by how many bytes the largest grew, exit statuses."""


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    scenario = write_scenario(tmp_path_factory.mktemp("attack") / "nodes", 7, STEPS, NodeClock().now_ms())
    with running(scenario) as nodes:
        for node in nodes.values():
            node.wait_for_kind("up")
        before = max(node.resident_bytes for node in nodes.values())
        answers = asyncio.run(attack(scenario, nodes))
        for node in nodes.values():
            node.wait_for(over)
        after = max(node.resident_bytes for node in nodes.values())
        statuses = [node.stop() for node in nodes.values()]
        return answers, nodes, after - before, statuses


def summaries(nodes: dict[str, NodeUnderAttack]) -> list[dict[str, Any]]:
    return [node.lines[-1] for node in nodes.values()]


def test_honest_nodes_stay_up_and_end_in_order(aftermath: Aftermath) -> None:
    _, nodes, _, statuses = aftermath
    assert statuses == [0] * len(nodes)
    assert [node.stderr() for node in nodes.values()] == [""] * len(nodes)


def test_the_job_finishes_with_equal_roots_and_the_whole_supply(aftermath: Aftermath) -> None:
    found = summaries(aftermath[1])
    jobs = [summary["jobs"][0] for summary in found]
    assert {job["status"] for job in jobs} == {"finished"}
    assert {job["steps"] for job in jobs} == {STEPS}
    assert len({job["root"] for job in jobs}) == 1
    assert len({summary["supply"] for summary in found}) == 1


def test_nobody_equivocated_and_no_commit_forked(aftermath: Aftermath) -> None:
    roots: dict[int, set[str]] = {}
    for node in aftermath[1].values():
        assert not [line for line in node.lines if line["kind"] == "equivocation"]
        for line in node.lines:
            if line["kind"] == "commit":
                roots.setdefault(line["index"], set()).add(line["state_root"])
    assert max(map(len, roots.values())) == 1


def test_the_killed_node_came_back_from_its_log(aftermath: Aftermath) -> None:
    lines = aftermath[1]["node C"].lines
    assert [line["kind"] for line in lines].count("up") == 2
    assert any("replayed" in line.get("text", "") for line in lines)


def test_what_was_dropped_is_counted_but_does_not_fill_the_journal(aftermath: Aftermath) -> None:
    for name in ("node A", "node B", "node D"):  # counts begin anew with a process
        lines = aftermath[1][name].lines
        summary = lines[-1]
        assert {"malformed", "network", "stranger", "signature", "payload", "replayed"} <= summary["drops"].keys()
        assert summary["messages_dropped"] > 100
        assert sum(line["kind"] == "dropped" for line in lines) == 100


def test_memory_stays_bounded(aftermath: Aftermath) -> None:
    assert aftermath[2] < GROWTH_BYTES_MAX


def test_nonsense_about_blobs_is_answered_with_nothing(aftermath: Aftermath) -> None:
    assert len(aftermath[0]) == QUESTIONS
    assert set(aftermath[0]) == {b""}
