"""Nodes whose backend is native, in one network with one that knows only WebAssembly: they audit each other's updates
and agree on every root, while machine code runs in worker processes, dies, and is replaced.
"""

import asyncio
import os
import re
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from synaptic_mesh.base.ids import Digest
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import Credentials
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.amounts import UNITS_PER_RUV
from synaptic_mesh.ledger.events import Slashed
from synaptic_mesh.ledger.genesis import Genesis, GenesisAccount, GenesisValidator, genesis_of, network_id
from synaptic_mesh.ledger.jobs import JobStatus
from synaptic_mesh.ledger.manifest import Manifest, Timing
from synaptic_mesh.ledger.transactions import SubmitJob
from synaptic_mesh.node.backends import open_backend
from synaptic_mesh.node.directory import NodeFiles
from synaptic_mesh.node.messages import Effect, JobNote, LedgerNote, Notice, Submit
from synaptic_mesh.node.open import OpenNode, assemble
from synaptic_mesh.node.settings import NodeSettings, PeerSettings, lan
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.hyperparameters import Hyperparameters
from synaptic_mesh.training.job import JobTerms, PreparedJob, prepare_job
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork
from synaptic_mesh.workers.confinement import is_supported

pytest.importorskip("llvmlite")
pytestmark = [pytest.mark.process, pytest.mark.skipif(not is_supported(), reason="worker processes need Linux")]
BACKENDS = ("native", "native", "wasm")
KEYS = [KeyPair(bytes([number + 1]) * 32) for number in range(len(BACKENDS))]
STAKE = 100 * UNITS_PER_RUV
PATIENT = Timing(60_000, 60_000, 500, 60_000, 60_000, 60_000, 10, 0, 0)
MORE_STEPS = 1
WAIT_S = 240.0


def job() -> PreparedJob:
    """Long enough that nobody comes to its end: the test stops when it has seen what it wants."""
    terms = JobTerms(shards=3, workers_min=3, workers_max=3, timing=PATIENT)
    hyperparameters = Hyperparameters(batch=32, inner_steps=64, outer_steps=2_000, learning_rate=0.1)
    return prepare_job(load_digits(), "mlp:64", terms, seed=3, hyperparameters=hyperparameters)


def genesis() -> Genesis:
    validators = [GenesisValidator(key.peer_id, STAKE) for key in KEYS]
    accounts = [GenesisAccount(key.peer_id, 1_000_000 * UNITS_PER_RUV, STAKE) for key in KEYS]
    return genesis_of(Digest(semantics_id()), "native nodes", validators, accounts)


class Mesh:
    """Three nodes in this process, what they said, and where they are."""

    def __init__(self, directory: Path) -> None:
        self.prepared = job()
        self.manifest, state = with_initial_state(self.prepared.manifest)
        store = BlobStore(directory / "0" / "blobs")
        for data in (*self.prepared.blobs.values(), state):
            store.put(data)
        self.said: dict[int, list[str]] = defaultdict(list)
        self.roots: dict[int, set[bytes]] = defaultdict(set)
        self.slashed: list[Slashed] = []
        self.steps = [0] * len(BACKENDS)
        self.is_over = False
        open_backend("wasm", directory / "0" / "cache", on_demand=False)  # compiles the golden vectors once for all
        for at in range(1, len(BACKENDS)):
            shutil.copytree(directory / "0" / "cache", directory / str(at) / "cache")
        hub, written = MemoryHub(), genesis()
        self.opened = [self.open(directory / str(at), hub, written, at) for at in range(len(BACKENDS))]
        self.changed = asyncio.Event()

    def open(self, directory: Path, hub: MemoryHub, written: Genesis, at: int) -> OpenNode:
        directory.mkdir(exist_ok=True)
        settings = NodeSettings(
            "memory",
            tuple(PeerSettings(key.peer_id.hex(), "memory") for key in KEYS if key is not KEYS[at]),
            backend=BACKENDS[at],
            native_after_ms=10,  # an outer step of inner steps: the graphs that run once in each stay where they are
            signature_processes=0,
            pacing=lan(),
        )
        sponsored: Manifest | None = self.manifest if at == 0 else None
        files = NodeFiles(settings, KEYS[at], written, Credentials(b"", b"", b""), sponsored)
        network = MeshNetwork(hub.attach(KEYS[at].peer_id), KEYS[at], network_id(written), incarnation=1)
        return assemble(directory, files, network, 1, lambda effect: self.observe(at, effect))

    def observe(self, at: int, effect: Effect) -> None:
        if isinstance(effect, Notice):
            self.said[at].append(effect.text)
        elif isinstance(effect, JobNote):
            self.steps[at] = effect.state.step
            self.roots[effect.state.step].add(effect.state.root)
            self.is_over |= effect.state.status in {JobStatus.ABORTED, JobStatus.FINISHED}
        elif isinstance(effect, LedgerNote) and isinstance(effect.event, Slashed):
            self.slashed.append(effect.event)
        else:
            return
        self.changed.set()

    def moved(self, at: int) -> list[int]:
        """The processes in which graphs of a node went on."""
        found = [re.search(r"goes on as machine code in process (\d+)", text) for text in self.said[at]]
        return [int(match[1]) for match in found if match is not None]

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.changed.clear()
            assert not self.is_over, "the job ended before the test"
            await asyncio.wait_for(self.changed.wait(), WAIT_S)

    async def kill_a_worker_of(self, at: int) -> int:
        """Kill the process of the graph that moved last; return its number. On a busy machine a graph may just have
        gone back, and then moves again."""
        while True:
            victim = self.moved(at)[-1]
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                await self.until(lambda gone=victim: self.moved(at)[-1] != gone)
            else:
                return victim

    async def further(self) -> None:
        """Wait until every node has seen more outer steps committed."""
        goals = [step + MORE_STEPS for step in self.steps]
        await self.until(lambda: all(step >= goal for step, goal in zip(self.steps, goals, strict=True)))


def test_native_nodes_agree_with_the_others_and_survive_their_workers(tmp_path: Path) -> None:
    async def play() -> Mesh:
        mesh = Mesh(tmp_path)
        first = mesh.opened[0].node
        runs = [asyncio.create_task(first.run(lambda: first.submit(Submit(SubmitJob(mesh.manifest)))))]
        runs += [asyncio.create_task(opened.node.run()) for opened in mesh.opened[1:]]
        try:
            await mesh.until(lambda: mesh.moved(0) and mesh.moved(1))
            await mesh.further()
            victim = await mesh.kill_a_worker_of(0)
            await mesh.until(lambda: any(f"worker process {victim} has ended" in text for text in mesh.said[0]))
            await mesh.further()
        finally:
            for opened in mesh.opened:
                opened.node.stop()
            await asyncio.gather(*runs)
        return mesh

    mesh = asyncio.run(play())
    assert not mesh.moved(2)
    assert not mesh.slashed
    assert all(len(roots) == 1 for roots in mesh.roots.values())
    assert len(mesh.roots) > 2 * MORE_STEPS
    (lost,) = [text for text in mesh.said[0] if "has ended" in text]
    assert re.search(r"runs in WebAssembly, for now \(1 of 2 chances\): .*\(signal 9, Killed\)", lost)
    for pid in (*mesh.moved(0), *mesh.moved(1)):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
