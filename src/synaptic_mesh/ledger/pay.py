"""Money of a job: what silence costs, what a false update costs, what a committed step earns and when it vests.

Pay comes only from the job's escrow. An accepted update of a committed step earns its worker the reward, and the
auditors whose equal results decided it the audit fee in equal parts; what does not divide stays in escrow and goes back
to the sponsor. A false update earns nobody anything from escrow: its auditors share in the slash.
"""

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.events import FeeCharged, JobFinished, Paid, Slashed, WorkerRemoved
from synaptic_mesh.ledger.job_record import Job, PendingPay, ascending
from synaptic_mesh.ledger.jobs import Caught, JobStatus


def lock_stake(context: CommitContext, job: Job, worker: bytes) -> bool:
    """Lock the worker's stake for this attempt; False, and nothing changed, if too little of it is free."""
    amount = job.manifest.economy.stake_per_update
    if context.bank.get(worker).unlocked < amount:
        return False
    context.bank.lock(worker, amount)
    job.now.locked.add(worker)
    return True


def unlock_stake(context: CommitContext, job: Job, worker: bytes) -> None:
    """Unlock what is still locked of the worker's stake for this attempt, if anything."""
    if worker in job.now.locked:
        job.now.locked.remove(worker)
        context.bank.unlock(worker, job.manifest.economy.stake_per_update)


def charge_fee(context: CommitContext, job: Job, worker: bytes, reason: str) -> None:
    """Take the fee for silence from the worker's locked stake and unlock the rest of it."""
    stake = job.manifest.economy.stake_per_update
    fee = stake // context.constants.silence_fee_divisor
    invariant(worker in job.now.locked, "a fee for a worker without locked stake")
    context.bank.seize(worker, fee)
    context.bank.unlock(worker, stake - fee)
    job.now.locked.remove(worker)
    if fee:
        context.events.append(FeeCharged(job.id, worker, fee, reason))


def slash(context: CommitContext, job: Job, worker: bytes, auditors: tuple[bytes, ...], reason: str) -> None:
    """Take the worker's whole locked stake. The auditors (never the worker itself) share their part of it; the rest
    stays in the treasury.
    """
    amount = job.manifest.economy.stake_per_update
    invariant(worker in job.now.locked, "a slash for a worker without locked stake")
    job.now.locked.remove(worker)
    context.bank.seize(worker, amount)
    provers = tuple(auditor for auditor in auditors if auditor != worker)
    share = amount // context.constants.slash_share_divisor // len(provers) if provers else 0
    if share:
        for auditor in provers:
            context.bank.grant(auditor, share)
    caught = Caught(worker, job.step, job.attempt, provers, amount)
    job.caught = (*job.caught, caught)
    context.events.append(Slashed(job.id, caught, share, reason))


def remove_worker(context: CommitContext, job: Job, worker: bytes, reason: str) -> None:
    """The worker gets no further assignment. Its open one, and what is locked for it, go their way."""
    if worker in job.workers:
        job.workers.remove(worker)
        job.misses.pop(worker, None)
        context.events.append(WorkerRemoved(job.id, worker, reason))


def record_pay(context: CommitContext, job: Job) -> None:
    """Move the pay for the step that has just committed from escrow to pending."""
    economy = job.manifest.economy
    entries: dict[bytes, int] = {}
    for worker in sorted(job.now.updates):
        if not job.now.updates[worker].accepted:
            continue
        auditors = job.now.proofs.get(worker, ())
        earned = [(worker, economy.reward_per_update)]
        earned += [(auditor, economy.audit_fee_per_update // len(auditors)) for auditor in auditors]
        for account, amount in earned:
            entries[account] = entries.get(account, 0) + amount
    pay = PendingPay(job.step, context.progress_ms, ascending(entries))
    invariant(pay.total <= job.escrow, f"step {job.step} earned {pay.total} of {job.escrow} in escrow")
    job.escrow -= pay.total
    job.pending_pay += pay.total
    job.pending.append(pay)


def vest_pay(context: CommitContext, job: Job) -> bool:
    """Pay what has passed its challenge window, oldest first. Returns whether anything vested."""
    vested = False
    while (at_ms := vest_ms(job)) is not None and at_ms <= context.progress_ms:
        pay = job.pending.pop(0)
        job.pending_pay -= pay.total
        for account, amount in pay.entries:
            context.bank.pay_out(account, amount)
            job.paid[account] = job.paid.get(account, 0) + amount
            if amount:
                context.events.append(Paid(job.id, pay.step, account, amount))
        vested = True
    return vested


def close_job(context: CommitContext, job: Job, status: JobStatus, reason: str) -> None:
    """Give the job its last status and refund what it owes nobody."""
    refunded = job.escrow
    job.escrow = 0
    job.status = status
    context.bank.pay_out(job.sponsor, refunded)
    context.events.append(JobFinished(job.id, status, reason, refunded))


def vest_ms(job: Job) -> int | None:
    """Return when, in progress time, the oldest pending pay may vest, or None if it first needs more steps."""
    if not job.pending:
        return None
    pay = job.pending[0]
    steps_after = job.step - pay.step - 1
    has_steps_to_come = job.status is JobStatus.RUNNING
    if has_steps_to_come and steps_after < job.manifest.timing.challenge_steps:
        return None
    return pay.progress_ms + job.manifest.timing.challenge_ms
