"""The state of a job as every node holds it, and what participants read of it.

Participants act level-triggered: after each commit they look at the JobState and do what it asks for and they have
not yet done. So a restart needs no memory of past events.
"""

import enum

import msgspec

from synaptic_mesh.base.codec import Record
from synaptic_mesh.ledger.manifest import BlobRef, Manifest


class JobStatus(enum.Enum):
    """Where a job stands. ENROLLING -> RUNNING -> VESTING -> FINISHED; ABORTED from the first two."""

    ENROLLING = "enrolling"
    RUNNING = "running"
    VESTING = "vesting"
    FINISHED = "finished"
    ABORTED = "aborted"


class Phase(enum.Enum):
    """Where the current outer step stands: docs/protocol/learning.md, steps 2 to 6."""

    WORK = "work"
    AVAILABLE = "available"
    AUDIT = "audit"
    REVEAL = "reveal"
    ROOT = "root"


class Assignment(Record):
    """One worker's work in one attempt: which shard, and the seed of its batch order."""

    worker: bytes
    shard: int
    order_seed: bytes


class UpdateState(Record):
    """What is known of one worker's update in the current attempt."""

    worker: bytes
    delta: BlobRef
    trace_root: bytes
    witness_commitment: bytes
    holders: tuple[bytes, ...]
    """Validators that reported to hold the delta, ascending."""
    witness: bytes
    """Opened by the worker; empty until then."""
    accepted: bool | None
    """None until judged."""


class Caught(Record):
    """A false update: what was claimed, who proved it, what it cost."""

    worker: bytes
    step: int
    attempt: int
    caught_by: tuple[bytes, ...]
    slashed: int


class RootVote(Record):
    """One validator's vote in phase ROOT."""

    validator: bytes
    included: bytes
    root: bytes
    state: BlobRef
    metrics: tuple[int, ...]


class CommittedStep(Record):
    """An outer step that a quorum agreed on. `included` are the accepted updates, ascending by worker."""

    step: int
    attempt: int
    root_before: bytes
    root: bytes
    state: BlobRef
    assignments: tuple[Assignment, ...]
    included: tuple[tuple[bytes, BlobRef], ...]
    voters: tuple[bytes, ...]
    metrics: tuple[int, ...]
    progress_ms: int


class JobState(msgspec.Struct, frozen=True):
    """A snapshot of one job. `step` is the outer step being worked on, 0-based; `root`/`state` are those it
    starts from.
    """

    job: bytes
    sponsor: bytes
    manifest: Manifest
    status: JobStatus
    attested: tuple[bytes, ...]
    workers: tuple[bytes, ...]
    """Enrolled and not removed, ascending."""
    step: int
    attempt: int
    root: bytes
    state: BlobRef
    phase: Phase
    phase_deadline_ms: int
    """In progress time."""
    assignments: tuple[Assignment, ...]
    updates: tuple[UpdateState, ...]
    """Ascending by worker. From phase AUDIT on only the available ones; in phase ROOT all are judged."""
    audit_commitments: tuple[tuple[bytes, bytes], ...]
    """(auditor, commitment), ascending."""
    audit_reveals: tuple[bytes, ...]
    """Auditors whose verdicts are open, ascending."""
    root_votes: tuple[RootVote, ...]
    steps: tuple[CommittedStep, ...]
    caught: tuple[Caught, ...]
    escrow: int
    """Held for the job and owed to nobody yet."""
    paid: tuple[tuple[bytes, int], ...]
    """Vested so far by account, ascending."""
    pending_pay: int
    """Owed for committed steps, not vested yet: beside `escrow`, not part of it."""
    abort_reason: str
