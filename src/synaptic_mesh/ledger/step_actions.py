"""What participants may do in an attempt at an outer step. Handlers of six actions, one per role and phase.

A handler raises LedgerReject before it changes anything, or applies its action wholly. Whether the phase is then over
is decided in phases.py.
"""

from itertools import pairwise

from msgspec.structs import replace

from synaptic_mesh.base.ids import DIGEST_BYTES, PeerId, short
from synaptic_mesh.ledger.admission import BLOB_BYTES_MAX
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.enrolment import check_validator
from synaptic_mesh.ledger.job_record import Job
from synaptic_mesh.ledger.jobs import JobStatus, Phase, RootVote, UpdateState
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.reject import LedgerReject
from synaptic_mesh.ledger.transactions import (
    CommitVerdicts,
    ReportAvailable,
    RevealVerdicts,
    RevealWitness,
    StepRef,
    SubmitUpdate,
    VoteRoot,
    included_digest,
    verdict_commitment,
    witness_commitment,
)

METRICS_MAX = 8
"""Integers in a root vote."""


def submit_update(context: CommitContext, job: Job, sender: bytes, action: SubmitUpdate) -> None:
    """WORK: an assigned worker commits to its delta, once."""
    del context
    check_ref(job, action.ref, Phase.WORK)
    if sender not in job.workers or not job.now.assigned(sender):
        raise LedgerReject(f"{short(sender)} has no assignment in outer step {job.step}, attempt {job.attempt}")
    if sender in job.now.updates:
        raise LedgerReject(f"worker {short(sender)} has submitted its update of outer step {job.step} already")
    _check_blob(action.delta, "delta")
    _check_digest(action.trace_root, "trace_root")
    _check_digest(action.witness_commitment, "witness_commitment")
    job.now.updates[sender] = UpdateState(
        worker=sender,
        delta=action.delta,
        trace_root=action.trace_root,
        witness_commitment=action.witness_commitment,
        holders=(),
        witness=b"",
        accepted=None,
    )


def report_available(context: CommitContext, job: Job, sender: bytes, action: ReportAvailable) -> None:
    """AVAILABLE: a validator holds these deltas. It may report again when it holds more."""
    check_ref(job, action.ref, Phase.AVAILABLE)
    check_validator(context, sender)
    _check_ascending(action.workers)
    for worker in action.workers:
        if worker not in job.now.updates:
            raise LedgerReject(f"{short(worker)} has no update in outer step {job.step}, attempt {job.attempt}")
    news = [worker for worker in action.workers if sender not in job.now.updates[worker].holders]
    if not news:
        raise LedgerReject(f"validator {short(sender)} reports nothing new for outer step {job.step}")
    for worker in news:
        update = job.now.updates[worker]
        job.now.updates[worker] = replace(update, holders=tuple(sorted((*update.holders, sender))))


def commit_verdicts(context: CommitContext, job: Job, sender: bytes, action: CommitVerdicts) -> None:
    """AUDIT: a validator commits to what it obtained, once."""
    check_ref(job, action.ref, Phase.AUDIT)
    check_validator(context, sender)
    _check_digest(action.commitment, "commitment")
    if sender in job.now.commitments:
        raise LedgerReject(f"validator {short(sender)} has committed its verdicts on outer step {job.step} already")
    job.now.commitments[sender] = action.commitment


def reveal_verdicts(context: CommitContext, job: Job, sender: bytes, action: RevealVerdicts) -> None:
    """REVEAL: an auditor opens its commitment. The verdicts cover the available updates, each once, ascending."""
    del context
    check_ref(job, action.ref, Phase.REVEAL)
    commitment = job.now.commitments.get(sender)
    if commitment is None:
        raise LedgerReject(f"{short(sender)} has not committed to verdicts on outer step {job.step}")
    if sender in job.now.reveals:
        raise LedgerReject(f"auditor {short(sender)} has opened its verdicts on outer step {job.step} already")
    if [verdict.worker for verdict in action.verdicts] != sorted(job.now.updates):
        raise LedgerReject(
            f"{len(action.verdicts)} verdicts do not cover the {len(job.now.updates)} available updates, ascending"
        )
    for verdict in action.verdicts:
        _check_digest(verdict.delta, "delta of a verdict")
        _check_digest(verdict.trace_root, "trace_root of a verdict")
        _check_digest(verdict.witness, "witness of a verdict")
    _check_digest(action.nonce, "nonce")
    if verdict_commitment(PeerId(sender), action.nonce, action.verdicts) != commitment:
        raise LedgerReject(f"the verdicts of {short(sender)} do not open its commitment {short(commitment)}")
    job.now.reveals[sender] = action.verdicts


def reveal_witness(context: CommitContext, job: Job, sender: bytes, action: RevealWitness) -> None:
    """REVEAL: a worker opens the witness of its available update."""
    del context
    check_ref(job, action.ref, Phase.REVEAL)
    update = job.now.updates.get(sender)
    if update is None:
        raise LedgerReject(f"{short(sender)} has no available update in outer step {job.step}, attempt {job.attempt}")
    if update.witness:
        raise LedgerReject(f"worker {short(sender)} has opened its witness for outer step {job.step} already")
    _check_digest(action.salt, "salt")
    _check_digest(action.witness, "witness")
    if witness_commitment(action.salt, action.witness) != update.witness_commitment:
        raise LedgerReject(
            f"the witness of {short(sender)} does not open its commitment {short(update.witness_commitment)}"
        )
    job.now.updates[sender] = replace(update, witness=action.witness)


def vote_root(context: CommitContext, job: Job, sender: bytes, action: VoteRoot) -> None:
    """ROOT: a validator votes, once, for what the accepted updates lead to."""
    check_ref(job, action.ref, Phase.ROOT)
    check_validator(context, sender)
    if sender in job.now.votes:
        raise LedgerReject(f"validator {short(sender)} has voted on the root of outer step {job.step} already")
    expected = included_digest(accepted_updates(job))
    if action.included != expected:
        raise LedgerReject(f"the vote is over updates {short(action.included)}, accepted are {short(expected)}")
    _check_digest(action.root, "root")
    _check_blob(action.state, "state")
    if len(action.metrics) > METRICS_MAX or not all(0 <= metric < 1 << 63 for metric in action.metrics):
        raise LedgerReject(f"metrics are at most {METRICS_MAX} integers between 0 and 2^63 - 1")
    job.now.votes[sender] = RootVote(sender, action.included, action.root, action.state, action.metrics)


def accepted_updates(job: Job) -> tuple[tuple[bytes, BlobRef], ...]:
    """Return (worker, delta) of the accepted updates, ascending."""
    updates = job.now.updates
    return tuple((worker, updates[worker].delta) for worker in sorted(updates) if updates[worker].accepted)


def check_ref(job: Job, ref: StepRef, phase: Phase) -> None:
    """Raise LedgerReject unless the job is in this phase of exactly this attempt."""
    if job.status is not JobStatus.RUNNING:
        raise LedgerReject(f"job {short(job.id)} is {job.status.value}, not running")
    if (ref.step, ref.attempt, ref.root) != (job.step, job.attempt, job.root):
        raise LedgerReject(
            f"it is for outer step {ref.step}, attempt {ref.attempt} on root {short(ref.root)}; the job is at step "
            f"{job.step}, attempt {job.attempt} on root {short(job.root)}"
        )
    if job.phase is not phase:
        raise LedgerReject(f"outer step {job.step} is in phase {job.phase.value}, this belongs to {phase.value}")


def _check_ascending(workers: tuple[bytes, ...]) -> None:
    if any(left >= right for left, right in pairwise(workers)):
        raise LedgerReject("workers must be named once each, in ascending order")


def _check_digest(value: bytes, what: str) -> None:
    if len(value) != DIGEST_BYTES:
        raise LedgerReject(f"{what} has {len(value)} bytes, it needs {DIGEST_BYTES}")


def _check_blob(blob: BlobRef, what: str) -> None:
    _check_digest(blob.digest, f"digest of {what}")
    if not 1 <= blob.size <= BLOB_BYTES_MAX:
        raise LedgerReject(f"{what} has {blob.size} bytes, it needs 1 to {BLOB_BYTES_MAX}")
