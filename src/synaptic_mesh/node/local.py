"""An in-process mesh of one: the same job code, ledger and log, with nobody to audit. What `synaptic train` runs."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import Credentials
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.amounts import UNITS_PER_RUV
from synaptic_mesh.ledger.events import TransactionApplied
from synaptic_mesh.ledger.genesis import Genesis, GenesisAccount, GenesisValidator, genesis_of, network_id
from synaptic_mesh.ledger.jobs import JobState, JobStatus
from synaptic_mesh.ledger.manifest import Economy, Timing, job_id
from synaptic_mesh.ledger.transactions import SubmitJob
from synaptic_mesh.node.assembly import is_over
from synaptic_mesh.node.directory import NodeFiles
from synaptic_mesh.node.messages import Effect, JobNote, LedgerNote, Notice, Submit
from synaptic_mesh.node.open import OpenNode, assemble, blob_getter
from synaptic_mesh.node.recorder import JobRecorder
from synaptic_mesh.node.settings import NodeSettings, single
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.storage.directory import disk_errors
from synaptic_mesh.training.job import JobTerms, PreparedJob
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork

LOCAL_TIMING = Timing(
    enrol_ms=600_000,
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

NO_PAY = Economy(reward_per_update=0, audit_fee_per_update=0, stake_per_update=0)

SUPPLY = 1_000_000_000 * UNITS_PER_RUV
"""Enough for any job's escrow: in a mesh of one the money only moves from one pocket to another."""

OnState = Callable[[JobState], None]


def solo_terms() -> JobTerms:
    """Return the terms of a job for a mesh of one: one worker, no pay, no audit, nothing to wait for."""
    return JobTerms(shards=1, workers_min=1, workers_max=1, economy=NO_PAY, timing=LOCAL_TIMING, audit_rate_ppm=0)


class LocalRun(msgspec.Struct, frozen=True):
    """A finished run: the job's last state and where the model lies."""

    state: JobState
    model: Path


class LocalMesh:
    """A mesh of one around one job. Make it, then `run` it once; `stop` may be called from any thread.

    The key derives from the job's seed, and with it the assignment: the same job gives the same bits on every machine.
    `on_state` sees every change of the job. Run and model are written into `directory`.
    """

    def __init__(self, job: PreparedJob, directory: Path, backend: str, on_state: OnState) -> None:
        manifest, state = with_initial_state(job.manifest)
        self._directory = directory
        self._place = directory / "node"
        with disk_errors(self._place):
            self._place.mkdir(parents=True)
        store = BlobStore(self._place / "blobs")
        for data in (*job.blobs.values(), state):
            store.put(data)
        self._manifest = manifest
        self._job = job_id(manifest)
        self._backend = backend
        self._on_state = on_state
        self._state: JobState | None = None
        self._refusal = ""
        self._recorder: JobRecorder | None = None
        self._opened: OpenNode | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False

    def run(self) -> LocalRun:
        """Run the job to its end. Raises LocalError, with the reason, when it does not finish."""
        key = KeyPair(derive_bytes(self._manifest.seed, "SM/local"))
        genesis = genesis_of(
            Digest(semantics_id()),
            "mesh of one",
            [GenesisValidator(key.peer_id, UNITS_PER_RUV)],
            [GenesisAccount(key.peer_id, SUPPLY, SUPPLY)],
        )
        recorder = self._recorder = JobRecorder(genesis)
        asyncio.run(self._play(key, genesis))
        final = self._state
        if final is None or final.status is not JobStatus.FINISHED:
            reason = (final.abort_reason if final is not None else "") or self._refusal
            raise LocalError(f"the job did not finish: {reason or 'it was stopped'}")
        model = recorder.write(final.job, self._directory, blob_getter(self._place / "blobs"))
        with disk_errors(self._place):
            shutil.rmtree(self._place)
        return LocalRun(final, model)

    def stop(self) -> None:
        """End the mesh before its job is over; harmless afterwards."""
        self._is_stopped = True
        if self._loop is not None and not self._loop.is_closed() and self._opened is not None:
            self._loop.call_soon_threadsafe(self._opened.node.stop)

    async def _play(self, key: KeyPair, genesis: Genesis) -> None:
        settings = NodeSettings(listen="", backend=self._backend, signature_processes=0, pacing=single())
        files = NodeFiles(settings, key, genesis, Credentials(b"", b"", b""), self._manifest)
        links = MemoryHub().attach(key.peer_id)
        network = MeshNetwork(links, key, network_id(genesis), incarnation=1)
        self._opened = assemble(self._place, files, network, 1, self._observe)
        self._loop = asyncio.get_running_loop()
        await self._opened.node.run(self._started)

    def _started(self) -> None:
        if self._opened is None:
            return
        if self._is_stopped:
            self._opened.node.stop()
        self._opened.node.submit(Submit(SubmitJob(self._manifest)))

    def _observe(self, effect: Effect) -> None:
        if self._recorder is not None:
            self._recorder.observe(effect)
        if isinstance(effect, JobNote) and effect.state.job == self._job:
            self._state = effect.state
            self._on_state(effect.state)
            if is_over(effect.state):
                self._end()
        elif isinstance(effect, Notice):
            self._give_up(effect.text)
        elif self._state is None and isinstance(effect, LedgerNote):
            event = effect.event
            if isinstance(event, TransactionApplied) and not event.accepted:
                self._give_up(event.reason)

    def _give_up(self, reason: str) -> None:
        """Nobody else will step in: a job that cannot go on ends at once, with the reason."""
        self._refusal = reason
        self._end()

    def _end(self) -> None:
        if self._opened is not None:
            self._opened.node.stop()


def run_local_job(job: PreparedJob, directory: Path, backend: str, on_state: OnState) -> LocalRun:
    """Run a job in a mesh of one, in this thread. See `LocalMesh`."""
    return LocalMesh(job, directory, backend, on_state).run()
