"""A tiny job and a whole mesh in memory: N participants, N ledgers and blob stores, driven commit by commit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.base.ids import short
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.collab.admission import check_job
from synaptic_mesh.collab.messages import (
    BlobFetched,
    BlobMissing,
    CancelCompute,
    Compute,
    Event,
    ExecuteUpdate,
    FetchBlob,
    JobChanged,
    PublishBlob,
    Refusal,
    SubmitAction,
)
from synaptic_mesh.collab.participant import Participant
from synaptic_mesh.collab.record import RunRecord, RunRecorder
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.collab.strategy import Strategy
from synaptic_mesh.collab.update import UpdateResult
from synaptic_mesh.engine.optimizers import Momentum
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.economics import no_fees
from synaptic_mesh.ledger.events import LedgerEvent, TransactionApplied
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of, save_genesis
from synaptic_mesh.ledger.jobs import JobState, JobStatus
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.manifest import BlobRef, Economy, Manifest, OuterRule, Timing
from synaptic_mesh.ledger.signing import sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import Action, SubmitJob, Transaction
from synaptic_mesh.models.graphs import build_job_graphs
from synaptic_mesh.models.mlp import Mlp
from synaptic_mesh.training.dataset import Dataset, pack_dataset
from synaptic_mesh.training.job import assemble_manifest
from synaptic_mesh.training.prepared import ClassTarget, NumberTarget, NumericColumn, Prepared
from synaptic_mesh.workers.compute import ComputeShell

COMMIT_MS = 100
WIDTH, CLASSES = 3, 2
ONE = 0x3F800000


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def outer_rule(aggregation: str = "centered-clip", iterations: int = 3) -> OuterRule:
    return OuterRule("diloco", bits(0.7), bits(0.9), aggregation, bits(1.5), iterations)


def tiny_dataset(task: str = "classify", rows: int = 40, seed: int = 1) -> Dataset:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, WIDTH)).astype(np.float32)
    columns = tuple(NumericColumn(f"c{i}") for i in range(WIDTH))
    if task == "classify":
        prepared = Prepared(columns, ClassTarget("label", ("no", "yes")))
        y: Any = (x[:, 0] + x[:, 1] > 0).astype(np.int32)
    else:
        prepared = Prepared(columns, NumberTarget(("value",), (0,), (ONE,), (ONE,)))
        y = x[:, :1] * np.float32(0.5)
    split = rows - rows // 4
    return Dataset("tiny", prepared, x[:split], y[:split], x[split:], y[split:])


def tiny_job(
    *, workers: int = 4, outer_steps: int = 2, seed: int = 7, task: str = "classify", **changes: Any
) -> tuple[Manifest, dict[bytes, bytes]]:
    """A job over an MLP 3-4-2 and its blobs by digest. `changes` replace fields of the terms."""
    learning_rate = changes.pop("learning_rate", 0.1)
    data, blobs = pack_dataset(tiny_dataset(task), workers)
    outputs = CLASSES if task == "classify" else 1
    graphs = build_job_graphs(
        Mlp((4,)), task, width=WIDTH, outputs=outputs, batch=8, optimizer=Momentum(learning_rate, 0.9)
    )
    terms = {
        "model": "mlp:4",
        "task": task,
        "seed": seed,
        "batch": 8,
        "inner_steps": 3,
        "outer_steps": outer_steps,
        "outer": outer_rule(),
        "audit_rate_ppm": 1_000_000,
        "workers_min": workers,
        "workers_max": workers,
        "economy": Economy(1_000, 200, 5_000),
        "timing": Timing(2_000, 3_000, 500, 2_000, 3_000, 3_000, 3, 1, 500),
    }
    draft, more = assemble_manifest(graphs, data, **(terms | changes))
    check_job(draft, graphs.step, graphs.predict)
    manifest, state = with_initial_state(draft)
    return manifest, {**blobs, **more, manifest.initial_state.digest: state}


@dataclass
class Peer:
    """One node: ledger, blobs, compute and participant. `down` ones hear and say nothing."""

    key: KeyPair
    participant: Participant
    shell: ComputeShell
    ledger: Ledger
    blobs: dict[bytes, bytes]
    published: set[bytes] = field(default_factory=set)
    pending: list[Action] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    down: bool = False


class Mesh:
    """Drives peers: each `commit()` orders what they submitted and lets everybody settle."""

    def __init__(
        self,
        job: tuple[Manifest, dict[bytes, bytes]],
        *,
        validators: int = 4,
        workers: int = 0,
        strategies: dict[int, Strategy] | None = None,
        withheld: set[bytes] | None = None,
    ) -> None:
        self.manifest, self.job_blobs = job
        self.validator_count = validators
        keys = sorted((KeyPair(derive_bytes(5, "peer", i)) for i in range(validators)), key=lambda k: k.peer_id)
        keys += sorted((KeyPair(derive_bytes(5, "worker", i)) for i in range(workers)), key=lambda k: k.peer_id)
        self.sponsor = KeyPair(derive_bytes(5, "sponsor"))
        accounts = [GenesisAccount(key.peer_id, 1_000, 1_000_000) for key in keys]
        accounts.append(GenesisAccount(self.sponsor.peer_id, 10_000_000))
        self.genesis = genesis_of(
            self.manifest.semantics_id,
            "test",
            [GenesisValidator(key.peer_id, 100) for key in keys[:validators]],
            accounts,
            economics=no_fees(),
        )
        self.strategies = strategies or {}
        self.job = b""
        self.index = 0
        self.now_ms = 0
        self.events: list[LedgerEvent] = []
        self.nonces: dict[bytes, int] = {}
        self.withheld = withheld or set()
        self.submitted: list[Action] = []
        self.peers = [self.start(i, key, {}) for i, key in enumerate(keys)]
        self.order([(self.sponsor, SubmitJob(self.manifest))])
        self.job = self.peers[0].ledger.jobs()[0].job
        self.recorder = RunRecorder(save_genesis(self.genesis), self.job)
        self.tell()

    def start(self, index: int, key: KeyPair, blobs: dict[bytes, bytes]) -> Peer:
        def get(digest: bytes) -> bytes:
            if digest not in blobs:
                raise ResourceError(f"no blob {short(digest)}")
            return blobs[digest]

        def put(data: bytes) -> bytes:
            digest = blob_digest(data)
            blobs[digest] = data
            return digest

        shell = ComputeShell(ReferenceBackend(), get, put, self.manifest.semantics_id, self.strategies.get(index))
        is_validator = index < self.validator_count
        participant = Participant(key.peer_id, derive_bytes(9, key.seed), validator=is_validator, worker=True)
        return Peer(key, participant, shell, Ledger(self.genesis), blobs)

    def restart(self, index: int) -> None:
        """A new process on the old disk: blobs and ledger stay, everything in memory is gone."""
        old = self.peers[index]
        new = self.start(index, old.key, old.blobs)
        new.ledger = old.ledger
        new.refusals = old.refusals
        self.peers[index] = new
        self.feed(index, JobChanged(self.state(), 0))

    def state(self) -> JobState:
        state = self.peers[0].ledger.job(self.job)
        assert state is not None
        return state

    def order(self, actions: list[tuple[KeyPair, Action]]) -> None:
        self.index += 1
        self.now_ms += COMMIT_MS
        self.submitted += [action for _, action in actions]
        ledger = self.peers[0].ledger
        signed = []
        for key, action in actions:
            nonce = self.nonces.get(key.peer_id, 0)
            self.nonces[key.peer_id] = nonce + 1
            signed.append(sign_transaction(key, Transaction(ledger.network, 0, key.peer_id, nonce, action)))  # type: ignore[arg-type]
        verified = tuple(verify_transaction_untrusted(data, ledger.network, 0) for data in signed)
        commit = OrderedCommit(self.index, self.now_ms, verified)
        for peer in self.peers:
            events = peer.ledger.apply(commit)
        self.events += events
        applied = [event for event in events if isinstance(event, TransactionApplied)]
        if self.job:
            for event, data, one in zip(applied, signed, verified, strict=True):
                if event.accepted:
                    self.recorder.note_transaction(one.transaction, data)

    def tell(self) -> None:
        for index in range(len(self.peers)):
            self.feed(index, JobChanged(self.state(), self.peers[0].ledger.progress_ms))

    def feed(self, index: int, event: Event) -> None:
        """Hand an event to a peer, carry out the effects, and go on until it is quiet."""
        peer = self.peers[index]
        waiting = [event]
        while waiting and not peer.down:
            current = waiting.pop(0)
            peer.events.append(current)
            for effect in peer.participant.handle(current, self.now_ms):
                answer = self.carry_out(peer, effect)
                if answer is not None:
                    waiting.append(answer)

    def carry_out(self, peer: Peer, effect: object) -> Event | None:
        match effect:
            case SubmitAction(action):
                peer.pending.append(action)
            case FetchBlob(blob, holders):
                data = peer.blobs.get(blob.digest)
                for holder in holders:
                    data = data or self.served(holder, blob.digest)
                if data is None:
                    return BlobMissing(blob.digest)
                peer.blobs[blob.digest] = data
                return BlobFetched(blob.digest)
            case Compute(key, task):
                peer.executed.append(type(task).__name__)
                return peer.shell.execute(key, task)
            case PublishBlob(digest):
                assert digest in peer.blobs, "published a blob that is not here"
                peer.published.add(digest)
            case Refusal(_, reason):
                peer.refusals.append(reason)
            case CancelCompute():
                pass
        return None

    def served(self, holder: bytes, digest: bytes) -> bytes | None:
        if digest in self.withheld:
            return None
        if holder == self.sponsor.peer_id:
            return self.job_blobs.get(digest)
        for peer in self.peers:
            if peer.key.peer_id == holder and not peer.down and digest in peer.published:
                return peer.blobs.get(digest)
        return None

    def commit(self, only: int | None = None) -> None:
        """Order what is pending (of one peer, if given), and let everybody look at the result."""
        chosen = [peer for i, peer in enumerate(self.peers) if not peer.down and only in (None, i)]
        actions = [(peer.key, action) for peer in chosen for action in peer.pending]
        for peer in chosen:
            peer.pending.clear()
        self.order(actions)
        self.tell()
        for index, peer in enumerate(self.peers):  # what could not be fetched yet is asked for again
            deadline_ms = peer.participant.deadline_ms()
            if not peer.down and deadline_ms is not None and deadline_ms <= self.now_ms:
                for effect in peer.participant.handle_deadline(self.now_ms):
                    answer = self.carry_out(peer, effect)
                    if answer is not None:
                        self.feed(index, answer)

    def run(self, until: Callable[[JobState], bool] | None = None, commits_max: int = 400) -> JobState:
        """Commit until the condition holds (default: the job is over)."""
        over = until or (lambda state: state.status in (JobStatus.FINISHED, JobStatus.ABORTED))
        for _ in range(commits_max):
            if over(self.state()):
                return self.state()
            self.commit()
        raise AssertionError(f"still {self.state().status} {self.state().phase} after {commits_max} commits")

    def all_blobs(self) -> dict[bytes, bytes]:
        """Everything that anybody holds."""
        found = dict(self.job_blobs)
        for peer in self.peers:
            found.update(peer.blobs)
        return found


@pytest.fixture
def make_job() -> Callable[..., tuple[Manifest, dict[bytes, bytes]]]:
    return tiny_job


@pytest.fixture
def make_mesh() -> Callable[..., Mesh]:
    def make(**options: Any) -> Mesh:
        job = options.pop("job", None) or tiny_job(
            workers=options.get("validators", 4) + options.get("workers", 0), **options.pop("terms", {})
        )
        return Mesh(job, **options)

    return make


@pytest.fixture(scope="session")
def finished_run() -> tuple[RunRecord, dict[bytes, bytes]]:
    """The record and all blobs of a run of two outer steps, with a fifth worker that lied in the first."""
    mesh = Mesh(tiny_job(workers=5), workers=1, strategies={4: Doubled()})
    state = mesh.run()
    return mesh.recorder.record(state), mesh.all_blobs()


class Doubled:
    """Submits twice its delta under an honest trace."""

    def choose_submission(self, _task: ExecuteUpdate, result: UpdateResult, delta: bytes) -> tuple[UpdateResult, bytes]:
        blob = (np.frombuffer(delta, "<f4") * np.float32(2)).tobytes()
        return replace(result, delta=BlobRef(blob_digest(blob), len(blob))), blob
