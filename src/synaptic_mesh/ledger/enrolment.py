"""How a job comes to be: the sponsor submits, validators attest, workers join. Handlers of four actions.

A handler raises LedgerReject before it changes anything, or applies its action wholly.
"""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import short
from synaptic_mesh.ledger.admission import check_manifest, escrow_of
from synaptic_mesh.ledger.amounts import format_amount
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.job_record import Job
from synaptic_mesh.ledger.job_table import JOBS_OPEN_MAX, JOBS_OPEN_PER_ACCOUNT_MAX, JobTable
from synaptic_mesh.ledger.jobs import JobStatus
from synaptic_mesh.ledger.manifest import Manifest, job_id
from synaptic_mesh.ledger.pay import remove_worker
from synaptic_mesh.ledger.reject import LedgerReject
from synaptic_mesh.ledger.transactions import AttestJob, JoinJob, LeaveJob, SubmitJob


def submit_job(context: CommitContext, jobs: JobTable, sender: bytes, action: SubmitJob) -> Job:
    """Open the job in ENROLLING and move its whole possible pay from the sponsor's balance into escrow."""
    manifest = action.manifest
    try:
        check_manifest(manifest, context.semantics_id, context.committee.size)
    except LocalError as error:
        raise LedgerReject(str(error)) from None
    job = _new_job(context, sender, manifest)
    if job.id in jobs:
        raise LedgerReject(f"job {short(job.id)} exists already: change its seed to run it again")
    if jobs.open_count >= JOBS_OPEN_MAX:
        raise LedgerReject(f"{JOBS_OPEN_MAX} jobs are open: wait until one has finished")
    if jobs.open_count_of(sender) >= JOBS_OPEN_PER_ACCOUNT_MAX:
        raise LedgerReject(f"{short(sender)} has {JOBS_OPEN_PER_ACCOUNT_MAX} open jobs: wait until one has finished")
    check_funds(context.bank.balance(sender), manifest, context.economics.fee_open_job)
    context.bank.hold(sender, job.escrow)
    jobs.add(job)
    return job


def check_funds(balance: int, manifest: Manifest, fee: int) -> None:
    """Raise LedgerReject, naming the amounts, if a balance cannot pay for the job and the fee for opening it."""
    escrow = escrow_of(manifest)
    if balance < escrow + fee:
        price = f" and costs a fee of {format_amount(fee)} rUv" if fee else ""
        raise LedgerReject(
            f"the job can pay up to {format_amount(escrow)} rUv{price}, but its sponsor has a balance of "
            f"{format_amount(balance)} rUv: lower the rewards or the outer steps"
        )


def attest_job(context: CommitContext, job: Job, sender: bytes, action: AttestJob) -> None:
    """Count the validator's stake behind the job."""
    del action
    check_enrolling(job)
    check_validator(context, sender)
    if sender in job.attested:
        raise LedgerReject(f"validator {short(sender)} has attested job {short(job.id)} already")
    job.attested.add(sender)


def join_job(context: CommitContext, job: Job, sender: bytes, action: JoinJob) -> None:
    """Add the sender to the workers. Its stake is locked when it is assigned something."""
    del action
    check_enrolling(job)
    if sender in job.workers:
        raise LedgerReject(f"worker {short(sender)} has joined job {short(job.id)} already")
    if len(job.workers) >= job.manifest.workers_max:
        raise LedgerReject(f"job {short(job.id)} has its {job.manifest.workers_max} workers already")
    unlocked, needed = context.bank.get(sender).unlocked, job.manifest.economy.stake_per_update
    if unlocked < needed:
        raise LedgerReject(
            f"job {short(job.id)} needs {format_amount(needed)} rUv of unlocked stake, but {short(sender)} has "
            f"{format_amount(unlocked)} rUv"
        )
    job.workers.add(sender)


def leave_job(context: CommitContext, job: Job, sender: bytes, action: LeaveJob) -> None:
    """Take the sender off the workers. What it has submitted in this attempt is still judged; what it has not counts
    as missed.
    """
    del action
    if job.status not in (JobStatus.ENROLLING, JobStatus.RUNNING):
        raise LedgerReject(f"job {short(job.id)} is {job.status.value}: there is nothing to leave")
    if sender not in job.workers:
        raise LedgerReject(f"{short(sender)} is not a worker of job {short(job.id)}")
    remove_worker(context, job, sender, "left the job")


def check_enrolling(job: Job) -> None:
    """Raise LedgerReject unless the job is ENROLLING."""
    if job.status is not JobStatus.ENROLLING:
        raise LedgerReject(f"job {short(job.id)} is {job.status.value}, not enrolling")


def check_validator(context: CommitContext, sender: bytes) -> None:
    """Raise LedgerReject unless the sender votes in this epoch."""
    if sender not in context.committee:
        raise LedgerReject(f"{short(sender)} is not a validator of epoch {context.committee.epoch}")


def _new_job(context: CommitContext, sponsor: bytes, manifest: Manifest) -> Job:
    return Job(
        id=job_id(manifest),
        sponsor=sponsor,
        manifest=manifest,
        submitted_ms=context.progress_ms,
        escrow=escrow_of(manifest),
        root=manifest.initial_root,
        state=manifest.initial_state,
        phase_deadline_ms=context.progress_ms + manifest.timing.enrol_ms,
    )
