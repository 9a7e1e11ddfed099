"""The state machine of a job: when one phase ends and the next begins.

    ENROLLING --attested, enough workers--> RUNNING --last step committed--> VESTING --all vested--> FINISHED
        |                                      |
        +--twice enrol_ms--> ABORTED <---------+ attempts used up, or no worker left

    WORK --90 % of updates and grace, or deadline--> AVAILABLE --quorum holds all, or deadline--> AUDIT
    AUDIT --all, or quorum and grace, or deadline--> REVEAL --all, or quorum and grace, or deadline--> judged --> ROOT
    ROOT --quorum of equal votes--> next step, WORK;   any phase that cannot succeed --> WORK of the next attempt

`advance_job` runs at the start of a commit for jobs whose deadline has passed, and after the commit's transactions for
those that were touched, until nothing moves. It reads nothing but committed facts and progress time, so every replica
takes the same way. Safety never depends on time: a deadline only ever drops an update or an attempt.
"""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.ledger.amounts import format_amount
from synaptic_mesh.ledger.assignment import draw_assignments
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.events import AttemptFailed, AttemptOpened, StepCommitted, UpdateDropped
from synaptic_mesh.ledger.job_record import Attempt, Job
from synaptic_mesh.ledger.jobs import CommittedStep, JobStatus, Phase, RootVote
from synaptic_mesh.ledger.judging import Outcome, judge
from synaptic_mesh.ledger.pay import (
    charge_fee,
    close_job,
    lock_stake,
    record_pay,
    remove_worker,
    slash,
    unlock_stake,
    vest_pay,
)
from synaptic_mesh.ledger.step_actions import accepted_updates

CLOSE_NUMERATOR, CLOSE_DENOMINATOR = 9, 10
"""Share of the assigned updates after which the rest has only the grace period."""

PATIENT_ATTEMPT = 2
"""From this attempt on (the first is 0) auditors have the whole of their deadlines."""


def advance_job(context: CommitContext, job: Job) -> bool:
    """Make every transition that is due. Returns whether the job changed."""
    changed = False
    while vest_pay(context, job) or _advance_once(context, job):
        changed = True
    return changed


def _advance_once(context: CommitContext, job: Job) -> bool:
    match job.status:
        case JobStatus.ENROLLING:
            return _advance_enrolling(context, job)
        case JobStatus.RUNNING:
            return _PHASES[job.phase](context, job)
        case JobStatus.VESTING if not job.pending:
            close_job(context, job, JobStatus.FINISHED, "")
            return True
        case _:
            return False


def _advance_enrolling(context: CommitContext, job: Job) -> bool:
    enrol_ms, waited_ms = job.manifest.timing.enrol_ms, context.progress_ms - job.submitted_ms
    attested, needed = _stake(context, job.attested), context.committee.validity
    enough = len(job.workers) >= job.manifest.workers_min and waited_ms >= enrol_ms
    full = len(job.workers) == job.manifest.workers_max
    if attested >= needed and (full or enough):
        job.status = JobStatus.RUNNING
        open_attempt(context, job)
        return True
    if waited_ms >= 2 * enrol_ms:
        reason = (
            f"{len(job.workers)} of at least {job.manifest.workers_min} workers joined and "
            f"{format_amount(attested)} of {format_amount(needed)} rUv of stake attested within {2 * enrol_ms} ms"
        )
        _abort(context, job, reason)
        return True
    if waited_ms >= enrol_ms and job.phase_deadline_ms != job.submitted_ms + 2 * enrol_ms:
        job.phase_deadline_ms = job.submitted_ms + 2 * enrol_ms
        return True
    return False


def open_attempt(context: CommitContext, job: Job) -> None:
    """Assign the workers whose stake can be locked and begin WORK; abort if there is none."""
    job.now = Attempt()
    for worker in sorted(job.workers):
        if not lock_stake(context, job, worker):
            needed = format_amount(job.manifest.economy.stake_per_update)
            remove_worker(context, job, worker, f"less than {needed} rUv of its stake is unlocked")
    if not job.workers:
        _abort(context, job, f"no worker is left for outer step {job.step}")
        return
    workers, shard_count = sorted(job.workers), len(job.manifest.data.shards)
    job.now.assignments = draw_assignments(job.id, job.step, job.attempt, job.root, workers, shard_count)
    context.events.append(AttemptOpened(job.id, job.step, job.attempt, tuple(workers)))
    _enter(context, job, Phase.WORK, job.manifest.timing.work_ms)


def _advance_work(context: CommitContext, job: Job) -> bool:
    now = job.now
    waiting = [each.worker for each in now.assignments if each.worker not in now.updates and each.worker in job.workers]
    if not waiting or _expired(context, job):
        _close_work(context, job)
        return True
    if CLOSE_DENOMINATOR * len(now.updates) >= CLOSE_NUMERATOR * len(now.assignments):
        return _hurry(context, job)
    return False


def _close_work(context: CommitContext, job: Job) -> None:
    for assignment in job.now.assignments:
        if assignment.worker not in job.now.updates:
            _miss(context, job, assignment.worker, "submitted no update")
            unlock_stake(context, job, assignment.worker)
    if job.now.updates:
        _enter(context, job, Phase.AVAILABLE, job.manifest.timing.available_ms)
    else:
        _fail_attempt(context, job, "no worker submitted an update")


def _advance_available(context: CommitContext, job: Job) -> bool:
    """A quorum that holds everything ends the phase: q >= v, so then every update is available as well."""
    complete = set(context.committee.peers)
    for update in job.now.updates.values():
        complete.intersection_update(map(PeerId, update.holders))
    if not context.committee.is_quorum(_stake(context, complete)) and not _expired(context, job):
        return False
    for worker in sorted(job.now.updates):
        if not context.committee.is_valid(_stake(context, job.now.updates[worker].holders)):
            _drop_unavailable(context, job, worker)
    if not job.now.updates:
        _fail_attempt(context, job, "no update became available")
    elif job.manifest.audit_rate_ppm:
        _enter(context, job, Phase.AUDIT, job.manifest.timing.audit_ms)
    else:
        _accept_unaudited(context, job)
    return True


def _drop_unavailable(context: CommitContext, job: Job, worker: bytes) -> None:
    reason = "the delta was committed to but never available"
    del job.now.updates[worker]
    context.events.append(UpdateDropped(job.id, job.step, job.attempt, worker, reason))
    charge_fee(context, job, worker, reason)
    _miss(context, job, worker, reason)


def _accept_unaudited(context: CommitContext, job: Job) -> None:
    """The one validator of the network does not check itself, and the manifest says so."""
    for worker in sorted(job.now.updates):
        _accept(context, job, worker, ())
    _enter(context, job, Phase.ROOT, job.manifest.timing.root_ms)


def _advance_audit(context: CommitContext, job: Job) -> bool:
    quorum = context.committee.is_quorum(_stake(context, job.now.commitments))
    if len(job.now.commitments) == context.committee.size or (quorum and _expired(context, job)):
        _enter(context, job, Phase.REVEAL, job.manifest.timing.audit_ms)
        return True
    if _expired(context, job):
        _fail_attempt(context, job, "no quorum of validators committed verdicts")
        return True
    return quorum and _hurry_auditors(context, job)


def _advance_reveal(context: CommitContext, job: Job) -> bool:
    now = job.now
    complete = len(now.reveals) == len(now.commitments) and all(update.witness for update in now.updates.values())
    if complete or _expired(context, job):
        _judge_updates(context, job)
        return True
    return context.committee.is_quorum(_stake(context, now.reveals)) and _hurry_auditors(context, job)


def _judge_updates(context: CommitContext, job: Job) -> None:
    for position, worker in enumerate(sorted(job.now.updates)):
        verdicts = {auditor: job.now.reveals[auditor][position] for auditor in sorted(job.now.reveals)}
        judgement = judge(job.now.updates[worker], verdicts, context.committee)
        if judgement.outcome is Outcome.ACCEPTED:
            _accept(context, job, worker, judgement.auditors)
        else:
            _refuse(context, job, worker, judgement.outcome, judgement.auditors, judgement.reason)
    if accepted_updates(job):
        _enter(context, job, Phase.ROOT, job.manifest.timing.root_ms)
    else:
        _fail_attempt(context, job, "no update was accepted")


def _accept(context: CommitContext, job: Job, worker: bytes, auditors: tuple[bytes, ...]) -> None:
    job.now.updates[worker] = replace(job.now.updates[worker], accepted=True)
    job.now.proofs[worker] = auditors
    job.misses.pop(worker, None)
    unlock_stake(context, job, worker)


def _refuse(
    context: CommitContext, job: Job, worker: bytes, outcome: Outcome, auditors: tuple[bytes, ...], reason: str
) -> None:
    job.now.updates[worker] = replace(job.now.updates[worker], accepted=False)
    if outcome is Outcome.FALSE:
        slash(context, job, worker, auditors, reason)
        remove_worker(context, job, worker, "submitted a false update")
        return
    context.events.append(UpdateDropped(job.id, job.step, job.attempt, worker, reason))
    if outcome is Outcome.SILENT:
        charge_fee(context, job, worker, reason)
        _miss(context, job, worker, reason)
    unlock_stake(context, job, worker)


def _advance_root(context: CommitContext, job: Job) -> bool:
    groups: dict[RootVote, list[bytes]] = {}
    for validator in sorted(job.now.votes):
        value = replace(job.now.votes[validator], validator=b"")
        groups.setdefault(value, []).append(validator)
    stakes = {value: _stake(context, voters) for value, voters in groups.items()}
    for value, voters in groups.items():
        if context.committee.is_quorum(stakes[value]):
            _commit_step(context, job, value, tuple(voters))
            return True
    silent_stake = context.committee.total_stake - sum(stakes.values())
    reachable = context.committee.is_quorum(max(stakes.values(), default=0) + silent_stake)
    if not reachable or _expired(context, job):
        _fail_attempt(context, job, "no quorum of validators voted for one root")
        return True
    return False


def _commit_step(context: CommitContext, job: Job, value: RootVote, voters: tuple[bytes, ...]) -> None:
    committed = CommittedStep(
        step=job.step,
        attempt=job.attempt,
        root_before=job.root,
        root=value.root,
        state=value.state,
        assignments=job.now.assignments,
        included=accepted_updates(job),
        voters=voters,
        metrics=value.metrics,
        progress_ms=context.progress_ms,
    )
    record_pay(context, job)
    job.add_step(committed)
    context.events.append(StepCommitted(job.id, committed))
    _end_attempt(context, job)
    job.root, job.state = value.root, value.state
    job.step, job.attempt = job.step + 1, 0
    if job.step == job.manifest.outer_steps:
        job.status = JobStatus.VESTING
    else:
        open_attempt(context, job)


def _fail_attempt(context: CommitContext, job: Job, reason: str) -> None:
    """Stay on the root; try again with the workers that remain, or abort when the attempts are used up."""
    context.events.append(AttemptFailed(job.id, job.step, job.attempt, reason))
    _end_attempt(context, job)
    if job.attempt + 1 >= job.manifest.timing.attempts_max:
        _abort(context, job, f"outer step {job.step} failed {job.attempt + 1} times, the last time because {reason}")
        return
    job.attempt += 1
    open_attempt(context, job)


def _abort(context: CommitContext, job: Job, reason: str) -> None:
    """Refund what is not owed. Pay for committed steps stays owed and vests."""
    _end_attempt(context, job)
    job.abort_reason = reason
    close_job(context, job, JobStatus.ABORTED, reason)


def _end_attempt(context: CommitContext, job: Job) -> None:
    for worker in sorted(job.now.locked):
        unlock_stake(context, job, worker)
    invariant(not job.now.locked, "an attempt ended with locked stake")
    job.now = Attempt()


def _miss(context: CommitContext, job: Job, worker: bytes, reason: str) -> None:
    """Count a missed assignment; the worker leaves after too many in a row, and pays the fee if it has not yet."""
    misses = job.misses.get(worker, 0) + 1
    if worker not in job.workers:
        return
    job.misses[worker] = misses
    if misses < context.constants.missed_steps_max:
        return
    if worker in job.now.locked:
        charge_fee(context, job, worker, f"{misses} assignments missed in a row")
    remove_worker(context, job, worker, f"{misses} assignments missed in a row, the last one: {reason}")


def _enter(context: CommitContext, job: Job, phase: Phase, duration_ms: int) -> None:
    job.phase = phase
    job.phase_deadline_ms = context.progress_ms + duration_ms
    job.now.hurried = False


def _hurry(context: CommitContext, job: Job) -> bool:
    """Give the rest the grace period, once. Returns whether the deadline moved."""
    if job.now.hurried:
        return False
    job.now.hurried = True
    job.phase_deadline_ms = min(job.phase_deadline_ms, context.progress_ms + job.manifest.timing.grace_ms)
    return True


def _hurry_auditors(context: CommitContext, job: Job) -> bool:
    """As `_hurry`, but not in the third attempt and later, nor in the last. A quorum that has spoken may hold f stake
    of liars with invented verdicts; were it always enough, they and one slow honest validator could fail every attempt.
    """
    patient_attempt = min(PATIENT_ATTEMPT, job.manifest.timing.attempts_max - 1)
    return job.attempt < patient_attempt and _hurry(context, job)


def _expired(context: CommitContext, job: Job) -> bool:
    return context.progress_ms >= job.phase_deadline_ms


def _stake(context: CommitContext, validators: Iterable[bytes]) -> int:
    return sum(context.committee.stake_of(PeerId(validator)) for validator in validators)


_PHASES: dict[Phase, Callable[[CommitContext, Job], bool]] = {
    Phase.WORK: _advance_work,
    Phase.AVAILABLE: _advance_available,
    Phase.AUDIT: _advance_audit,
    Phase.REVEAL: _advance_reveal,
    Phase.ROOT: _advance_root,
}
