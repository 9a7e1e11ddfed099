"""An in-process mesh of one: the same job code, ledger and log, with nobody to audit. What `synaptic train` runs."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import Credentials
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.amounts import UNITS_PER_RUV
from synaptic_mesh.ledger.events import TransactionApplied
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of, network_id
from synaptic_mesh.ledger.jobs import JobState, JobStatus
from synaptic_mesh.ledger.manifest import Manifest, Timing, job_id
from synaptic_mesh.ledger.transactions import SubmitJob
from synaptic_mesh.node.assembly import is_over
from synaptic_mesh.node.directory import NodeFiles
from synaptic_mesh.node.messages import Effect, JobNote, LedgerNote, Notice, Submit
from synaptic_mesh.node.open import OpenNode, assemble
from synaptic_mesh.node.recorder import JobRecorder
from synaptic_mesh.node.settings import NodeSettings, single
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.training.job import PreparedJob
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork

LOCAL_TIMING = Timing(
    enrol_ms=1_000,
    work_ms=3_600_000,
    grace_ms=1,
    available_ms=60_000,
    audit_ms=3_600_000,
    root_ms=3_600_000,
    attempts_max=2,
    challenge_steps=0,
    challenge_ms=0,
)
"""Nobody else can be late or lie, so only the machine's own speed counts."""

SUPPLY = 1_000_000_000 * UNITS_PER_RUV
"""Enough for any job's escrow: in a mesh of one the money only moves from one pocket to another."""

OnState = Callable[[JobState], None]


class LocalRun(msgspec.Struct, frozen=True):
    """A finished run: the job's last state and where the model lies."""

    state: JobState
    model: Path


def run_local_job(job: PreparedJob, directory: Path, backend: str, on_state: OnState) -> LocalRun:
    """Run the job in a mesh of one and write the run into `directory`. `on_state` sees every change of the job.

    The key derives from the job's seed, and with it the assignment: the same job gives the same bits on every machine.
    Raises LocalError when the ledger refuses the job or it aborts.
    """
    manifest, state = with_initial_state(job.manifest)
    place = directory / "node"
    place.mkdir(parents=True, exist_ok=True)
    store = BlobStore(place / "blobs")
    for data in (*job.blobs.values(), state):
        store.put(data)
    run = _LocalRun(manifest, place, backend, on_state)
    asyncio.run(run.play())
    final = run.state
    if final is None or final.status is not JobStatus.FINISHED:
        reason = (final.abort_reason if final is not None else "") or run.refusal
        raise LocalError(f"the job did not finish: {reason or 'the ledger never heard of it'}")
    model = run.recorder.write(final.job, directory, run.opened.get_blob)
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise ResourceError(f"cannot remove {place}: {error.strerror}") from None
    return LocalRun(final, model)


class _LocalRun:
    def __init__(self, manifest: Manifest, place: Path, backend: str, on_state: OnState) -> None:
        key = KeyPair(derive_bytes(manifest.seed, "SM/local"))
        genesis = genesis_of(
            Digest(semantics_id()),
            "mesh of one",
            [GenesisValidator(key.peer_id, UNITS_PER_RUV)],
            [GenesisAccount(key.peer_id, SUPPLY, SUPPLY)],
        )
        settings = NodeSettings(listen="", backend=backend, pacing=single())
        files = NodeFiles(settings, key, genesis, Credentials(b"", b"", b""), manifest)
        links = MemoryHub().attach(key.peer_id)
        network = MeshNetwork(links, key, network_id(genesis), incarnation=1)
        self.opened: OpenNode = assemble(place, files, network, 1, self._observe)
        self.recorder = JobRecorder(genesis)
        self.state: JobState | None = None
        self.refusal = ""
        self._job = job_id(manifest)
        self._manifest = manifest
        self._on_state = on_state

    async def play(self) -> None:
        node = self.opened.node
        await node.run(lambda: node.submit(Submit(SubmitJob(self._manifest))))

    def _observe(self, effect: Effect) -> None:
        self.recorder.observe(effect)
        if isinstance(effect, JobNote) and effect.state.job == self._job:
            self.state = effect.state
            self._on_state(effect.state)
            if is_over(effect.state):
                self.opened.node.stop()
        elif isinstance(effect, Notice):
            self._give_up(effect.text)
        elif self.state is None and isinstance(effect, LedgerNote):
            event = effect.event
            if isinstance(event, TransactionApplied) and not event.accepted:
                self._give_up(event.reason)

    def _give_up(self, reason: str) -> None:
        """Nobody else will step in: a job that cannot go on ends at once, with the reason."""
        self.refusal = reason
        self.opened.node.stop()
