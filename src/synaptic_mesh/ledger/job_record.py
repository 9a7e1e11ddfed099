"""A job as the ledger works on it. Participants see the frozen `JobState` that `snapshot` makes of it.

Handlers and transitions change it in place; whoever changes it reports it as touched, so that the snapshot and the
job's leaf in the state root are made again once per commit.
"""

from typing import Any, TypeVar

import msgspec

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import EMPTY_ROOT, hash_bytes
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.ledger.jobs import (
    Assignment,
    Caught,
    CommittedStep,
    JobState,
    JobStatus,
    Phase,
    RootVote,
    UpdateState,
)
from synaptic_mesh.ledger.manifest import BlobRef, Manifest
from synaptic_mesh.ledger.transactions import Verdict

V = TypeVar("V")


class PendingPay(msgspec.Struct, frozen=True):
    """What one committed outer step earned, by account ascending, waiting for its challenge window to pass."""

    step: int
    progress_ms: int
    entries: tuple[tuple[bytes, int], ...]

    @property
    def total(self) -> int:
        """Sum of the entries."""
        return sum(amount for _, amount in self.entries)


class Attempt(msgspec.Struct):
    """Everything that is forgotten when an attempt at an outer step ends. Dicts are keyed by peer id."""

    assignments: tuple[Assignment, ...] = ()
    locked: set[bytes] = msgspec.field(default_factory=set)
    """Workers whose stake_per_update is locked for this attempt."""
    updates: dict[bytes, UpdateState] = msgspec.field(default_factory=dict)
    commitments: dict[bytes, bytes] = msgspec.field(default_factory=dict)
    reveals: dict[bytes, tuple[Verdict, ...]] = msgspec.field(default_factory=dict)
    proofs: dict[bytes, tuple[bytes, ...]] = msgspec.field(default_factory=dict)
    """Accepted worker -> auditors whose equal results made the quorum, ascending."""
    votes: dict[bytes, RootVote] = msgspec.field(default_factory=dict)
    hurried: bool = False
    """The phase's deadline was already pulled forward to the grace period."""

    def assigned(self, worker: bytes) -> bool:
        """Answer whether the worker has an assignment in this attempt."""
        return any(assignment.worker == worker for assignment in self.assignments)


class Job(msgspec.Struct):
    """See the module's docstring. Fields that JobState has too mean the same."""

    id: Digest
    sponsor: bytes
    manifest: Manifest
    submitted_ms: int
    escrow: int
    root: bytes
    state: BlobRef
    phase_deadline_ms: int
    status: JobStatus = JobStatus.ENROLLING
    phase: Phase = Phase.WORK
    attested: set[bytes] = msgspec.field(default_factory=set)
    workers: set[bytes] = msgspec.field(default_factory=set)
    step: int = 0
    attempt: int = 0
    now: Attempt = msgspec.field(default_factory=Attempt)
    misses: dict[bytes, int] = msgspec.field(default_factory=dict)
    """Assignments that a worker missed in a row."""
    steps: tuple[CommittedStep, ...] = ()
    history: Digest = EMPTY_ROOT
    """Hash chain over `steps`, so that the job's leaf does not hash all of them again at each commit."""
    caught: tuple[Caught, ...] = ()
    pending: list[PendingPay] = msgspec.field(default_factory=list)
    pending_pay: int = 0
    paid: dict[bytes, int] = msgspec.field(default_factory=dict)
    abort_reason: str = ""

    @property
    def is_open(self) -> bool:
        """It still runs or still owes money."""
        return self.status not in (JobStatus.FINISHED, JobStatus.ABORTED) or bool(self.pending)

    def add_step(self, committed: CommittedStep) -> None:
        """Append to the history."""
        self.steps = (*self.steps, committed)
        self.history = hash_bytes("SM/job/history/v1", self.history, encode(committed))


def snapshot(job: Job) -> JobState:
    """Return what participants see of the job now."""
    now = job.now
    return JobState(
        job=job.id,
        sponsor=job.sponsor,
        manifest=job.manifest,
        status=job.status,
        attested=tuple(sorted(job.attested)),
        workers=tuple(sorted(job.workers)),
        step=job.step,
        attempt=job.attempt,
        root=job.root,
        state=job.state,
        phase=job.phase,
        phase_deadline_ms=job.phase_deadline_ms,
        assignments=now.assignments,
        updates=tuple(now.updates[worker] for worker in sorted(now.updates)),
        audit_commitments=ascending(now.commitments),
        audit_reveals=tuple(sorted(now.reveals)),
        root_votes=tuple(now.votes[validator] for validator in sorted(now.votes)),
        steps=job.steps,
        caught=job.caught,
        escrow=job.escrow,
        paid=ascending(job.paid),
        pending_pay=job.pending_pay,
        abort_reason=job.abort_reason,
    )


def job_leaf(job: Job) -> Digest:
    """Return the leaf that stands for the job in the state root: every field, the history by its hash chain."""
    now = job.now
    attempt: tuple[Any, ...] = (
        now.assignments,
        sorted(now.locked),
        ascending(now.updates),
        ascending(now.commitments),
        ascending(now.reveals),
        ascending(now.proofs),
        ascending(now.votes),
        now.hurried,
    )
    fields: tuple[Any, ...] = (
        (job.id, job.sponsor, job.submitted_ms, job.escrow, job.root, job.state, job.phase_deadline_ms),
        (job.status, job.phase, sorted(job.attested), sorted(job.workers), job.step, job.attempt),
        attempt,
        (ascending(job.misses), len(job.steps), job.history, job.caught),
        ([(pay.step, pay.progress_ms, pay.entries) for pay in job.pending], job.pending_pay, ascending(job.paid)),
        job.abort_reason,
    )
    return hash_bytes("SM/job-state/v1", encode(fields))


def ascending(table: dict[bytes, V]) -> tuple[tuple[bytes, V], ...]:
    """Return a table's items by key: the order of a dict never leaves the ledger."""
    return tuple((key, table[key]) for key in sorted(table))
