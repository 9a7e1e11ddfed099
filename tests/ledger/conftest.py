"""A ledger driven by hand-made transactions: one method per phase of an outer step, honest unless told otherwise.

Makes `checkpoint_net` importable too: pytest's importlib mode adds no paths.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.economics import Economics, no_fees
from synaptic_mesh.ledger.equivocation import Judge, no_judge
from synaptic_mesh.ledger.events import LedgerEvent, TransactionApplied
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.jobs import Assignment, JobState
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.manifest import (
    PPM,
    BlobRef,
    DataManifest,
    Economy,
    Manifest,
    OuterRule,
    Shard,
    TensorSpec,
    Timing,
    job_id,
)
from synaptic_mesh.ledger.signing import VerifiedTransaction, sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import (
    Action,
    AttestJob,
    CommitVerdicts,
    JoinJob,
    ReportAvailable,
    RevealVerdicts,
    RevealWitness,
    StepRef,
    SubmitJob,
    SubmitUpdate,
    Transaction,
    Verdict,
    VoteRoot,
    included_digest,
    verdict_commitment,
    witness_commitment,
)

sys.path.insert(0, str(Path(__file__).parent))

RUV = 10**9
SEMANTICS = hash_bytes("test/semantics")
STAKE, REWARD, FEE = 10 * RUV, 2 * RUV, RUV


def key(name: str) -> KeyPair:
    return KeyPair(hash_bytes("test/key", name.encode()))


def keys(prefix: str, count: int) -> list[KeyPair]:
    """Keys in the order of their ids, so that names in tests and the ledger's order agree."""
    return sorted((key(f"{prefix}{index}") for index in range(count)), key=lambda pair: pair.peer_id)


def blob(name: str, size: int = 100) -> BlobRef:
    return BlobRef(hash_bytes("test/blob", name.encode()), size)


def small_manifest(**changes: Any) -> Manifest:
    """Two workers, two outer steps; fields of `economy` and `timing` may be given directly."""
    economy = Economy(reward_per_update=REWARD, audit_fee_per_update=FEE, stake_per_update=STAKE)
    timing = Timing(
        enrol_ms=5_000,
        work_ms=10_000,
        grace_ms=500,
        available_ms=4_000,
        audit_ms=6_000,
        root_ms=4_000,
        attempts_max=3,
        challenge_steps=1,
        challenge_ms=1_000,
    )
    row = (TensorSpec("x", "f32", (4,)), TensorSpec("y", "i32", ()))
    shards = tuple(Shard(blob(f"shard{index}"), 5) for index in range(8))
    manifest = Manifest(
        version=1,
        semantics_id=SEMANTICS,
        model="mlp:4",
        task="classify",
        step_graph=blob("step"),
        predict_graph=blob("predict"),
        parameters=(TensorSpec("w", "f32", (4, 2)),),
        optimizer_state=(),
        optimizer_init=blob("nothing", 0),
        seed=7,
        initial_root=hash_bytes("test/root0"),
        initial_state=blob("state0"),
        data=DataManifest("toy", row, shards, Shard(blob("test"), 5), b""),
        batch=5,
        inner_steps=3,
        outer_steps=2,
        outer=OuterRule("diloco", 0x3F333333, 0x3F666666, "centered-clip", 0x3FC00000, 3),
        codec="f32",
        audit_rate_ppm=PPM,
        workers_min=1,
        workers_max=2,
        economy=replace(economy, **{name: changes.pop(name) for name in list(changes) if hasattr(economy, name)}),
        timing=replace(timing, **{name: changes.pop(name) for name in list(changes) if hasattr(timing, name)}),
    )
    return replace(manifest, **changes)


class Mesh:
    """`validators` V0.. (stake 100 rUv each unless given), `workers` W0.. (stake 50 rUv each), one rich sponsor.

    Validators and workers hold the money their genesis gives them; a validator may be named among `workers` calls too:
    it has 50 rUv of free stake beside its voting stake. Everything is free unless `economics` says otherwise.
    """

    def __init__(
        self,
        validators: int = 4,
        workers: int = 2,
        stakes: Sequence[int] | None = None,
        economics: Economics | None = None,
        judge: Judge = no_judge,
    ) -> None:
        self.validators = keys("v", validators)
        self.workers = keys("w", workers)
        self.sponsor = key("sponsor")
        stakes = stakes or [100 * RUV] * validators
        self.genesis = genesis_of(
            SEMANTICS,
            "test",
            [GenesisValidator(pair.peer_id, stake) for pair, stake in zip(self.validators, stakes, strict=True)],
            [
                GenesisAccount(self.sponsor.peer_id, 1_000 * RUV),
                *(GenesisAccount(pair.peer_id, 5 * RUV, 50 * RUV) for pair in self.workers),
                *(GenesisAccount(pair.peer_id, RUV, 50 * RUV) for pair in self.validators),
            ],
            economics=economics or no_fees(),
        )
        self.ledger = Ledger(self.genesis, judge)
        self.timestamp_ms = 1_000_000
        self.job_id = b""
        self.events: list[LedgerEvent] = []
        self._queue: list[VerifiedTransaction] = []
        self._nonces: dict[PeerId, int] = {}
        self.commit(0)  # the first commit sets the clock

    # Transactions and commits.

    def send(self, sender: KeyPair, *actions: Action) -> None:
        for action in actions:
            nonce = self._nonces.get(sender.peer_id, 0)
            self._nonces[sender.peer_id] = nonce + 1
            self._queue.append(self.signed(sender, nonce, action))

    def signed(self, sender: KeyPair, nonce: int, action: Any) -> VerifiedTransaction:
        transaction = Transaction(self.ledger.network, 0, sender.peer_id, nonce, action)
        return verify_transaction_untrusted(sign_transaction(sender, transaction), self.ledger.network, 0)

    def commit(self, elapsed_ms: int = 10) -> list[LedgerEvent]:
        """Apply what was sent; every commit checks supply and root against their definitions."""
        self.timestamp_ms += elapsed_ms
        queue, self._queue = tuple(self._queue), []
        authors = tuple(pair.peer_id for pair in self.validators)
        events = self.ledger.apply(OrderedCommit(self.ledger.commit_index + 1, self.timestamp_ms, queue, authors))
        assert self.ledger.recounted_supply() == self.ledger.supply()
        assert self.ledger.state_root() == self.ledger.recomputed_state_root()
        self.events += events
        return events

    def do(self, sender: KeyPair, action: Action) -> str:
        """Send, commit; return the reason why it was refused, or ""."""
        self.send(sender, action)
        applied = [event for event in self.commit() if isinstance(event, TransactionApplied)]
        return applied[0].reason

    def wait(self, duration_ms: int) -> list[LedgerEvent]:
        """Let progress time pass in empty commits of at most a second."""
        events = []
        while duration_ms > 0:
            events += self.commit(min(duration_ms, 1_000))
            duration_ms -= 1_000
        return events

    def seen(self, kind: type) -> list[Any]:
        """Events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    # The job's life.

    @property
    def job(self) -> JobState:
        state = self.ledger.job(self.job_id)
        assert state is not None
        return state

    @property
    def ref(self) -> StepRef:
        return StepRef(self.job.job, self.job.step, self.job.attempt, self.job.root)

    def submit(self, **changes: Any) -> str:
        manifest = small_manifest(**changes)
        self.job_id = job_id(manifest)
        return self.do(self.sponsor, SubmitJob(manifest))

    def enrol(self, workers: Iterable[KeyPair] | None = None) -> None:
        for pair in self.validators:
            self.send(pair, AttestJob(self.job_id))
        for pair in self.workers if workers is None else workers:
            self.send(pair, JoinJob(self.job_id))
        self.commit()

    def start(self, **changes: Any) -> None:
        assert self.submit(**changes) == ""
        self.enrol()

    def update(self, pair: KeyPair, lie: str = "") -> SubmitUpdate:
        """The worker's update; `lie` names the part that is false: "delta", "trace" or "witness"."""
        true = self.truth(pair.peer_id)
        delta = blob("lie").digest if lie == "delta" else true.delta
        trace = blob("lie").digest if lie == "trace" else true.trace_root
        witness = blob("lie").digest if lie == "witness" else true.witness
        return SubmitUpdate(self.ref, BlobRef(delta, 64), trace, witness_commitment(self.salt(pair), witness))

    def truth(self, worker: bytes) -> Verdict:
        """What executing the worker's current assignment gives."""
        seed = next(each.order_seed for each in self.job.assignments if each.worker == worker)
        return Verdict(
            worker, hash_bytes("test/delta", seed), hash_bytes("test/trace", seed), hash_bytes("test/x", seed)
        )

    def salt(self, pair: KeyPair) -> bytes:
        return hash_bytes("test/salt", pair.peer_id)

    def work(self, lies: dict[int, str] | None = None, absent: Iterable[int] = ()) -> None:
        """Workers by position in `self.workers` submit; phase WORK must be on."""
        for index, pair in enumerate(self.workers):
            if index not in set(absent) and self.assignment(pair) is not None:
                self.send(pair, self.update(pair, (lies or {}).get(index, "")))
        self.commit()

    def assignment(self, pair: KeyPair) -> Assignment | None:
        return next((each for each in self.job.assignments if each.worker == pair.peer_id), None)

    def report(self, absent: Iterable[int] = (), without: Iterable[KeyPair] = ()) -> None:
        hidden = {pair.peer_id for pair in without}
        held = tuple(update.worker for update in self.job.updates if update.worker not in hidden)
        for index, pair in enumerate(self.validators):
            if index not in set(absent) and held:
                self.send(pair, ReportAvailable(self.ref, held))
        self.commit()

    def verdicts(self, auditor: KeyPair, wrong: Iterable[int] = ()) -> RevealVerdicts:
        truths = tuple(self.truth(update.worker) for update in self.job.updates)
        if self.validators.index(auditor) in set(wrong):
            truths = tuple(replace(each, witness=hash_bytes("guess", auditor.peer_id)) for each in truths)
        return RevealVerdicts(self.ref, hash_bytes("test/nonce", auditor.peer_id), truths)

    def known(self, worker: bytes) -> bool:
        """Answer whether the worker has an assignment in this attempt."""
        return any(each.worker == worker for each in self.job.assignments)

    def commitment(self, auditor: KeyPair) -> CommitVerdicts:
        reveal = self.verdicts(auditor)
        return CommitVerdicts(self.ref, verdict_commitment(auditor.peer_id, reveal.nonce, reveal.verdicts))

    def audit(self, absent: Iterable[int] = (), wrong: Iterable[int] = ()) -> None:
        for index, pair in enumerate(self.validators):
            if index not in set(absent):
                reveal = self.verdicts(pair, wrong)
                commitment = verdict_commitment(pair.peer_id, reveal.nonce, reveal.verdicts)
                self.send(pair, CommitVerdicts(self.ref, commitment))
        self.commit()

    def reveal(
        self,
        lies: dict[int, str] | None = None,
        absent: Iterable[int] = (),
        wrong: Iterable[int] = (),
        silent: Iterable[int] = (),
    ) -> None:
        """Auditors that committed open their verdicts, workers their witnesses."""
        for index, pair in enumerate(self.validators):
            if index not in set(absent):
                self.send(pair, self.verdicts(pair, wrong))
        submitted = {update.worker for update in self.job.updates}
        for index, pair in enumerate(self.workers):
            if pair.peer_id in submitted and index not in set(silent):
                lie = (lies or {}).get(index) == "witness"
                witness = blob("lie").digest if lie else self.truth(pair.peer_id).witness
                self.send(pair, RevealWitness(self.ref, self.salt(pair), witness))
        self.commit()

    def vote(self, other: str = "") -> VoteRoot:
        included = included_digest((each.worker, each.delta) for each in self.job.updates if each.accepted)
        root = hash_bytes("test/root", included, self.job.root, other.encode())
        return VoteRoot(self.ref, included, root, blob(root.hex()), (9, 10, 0x3E000000))

    def vote_all(self, absent: Iterable[int] = ()) -> None:
        for index, pair in enumerate(self.validators):
            if index not in set(absent):
                self.send(pair, self.vote())
        self.commit()

    def outer_step(self, lies: dict[int, str] | None = None) -> None:
        self.work(lies)
        self.report()
        self.audit()
        self.reveal(lies)
        self.vote_all()


@pytest.fixture(scope="session")
def make_mesh() -> Callable[..., Mesh]:
    return Mesh


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    return small_manifest
