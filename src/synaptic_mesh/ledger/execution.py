"""The transactions of one commit, in order: who may run at all, what runs at once, and what each of them does.

A transaction whose network, epoch or nonce is wrong, or whose sender has no account, is refused and changes nothing.
Any other consumes its nonce and pays its fee (`fees.py`), or what its sender has of it, and then its action applies
wholly or, by LedgerReject, not at all.

Transfers gather in a run that is settled at once (`batch.py`). What the other actions read and write is known before
they run too: their sender's account and a job. So one that shares no account with the run goes ahead of it with the
same result, and only a conflict ends the run. Events stand in the order of the transactions in every case.
"""

from collections.abc import Callable, Sequence
from typing import Any

from synaptic_mesh.base.ids import NetworkId, short
from synaptic_mesh.ledger.amounts import format_amount
from synaptic_mesh.ledger.batch import settle_transfers
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.enrolment import attest_job, join_job, leave_job, submit_job
from synaptic_mesh.ledger.equivocation import Judge, report_equivocation
from synaptic_mesh.ledger.events import LedgerEvent, TransactionApplied
from synaptic_mesh.ledger.fees import fee_of
from synaptic_mesh.ledger.job_record import Job
from synaptic_mesh.ledger.job_table import JobTable
from synaptic_mesh.ledger.reject import LedgerReject
from synaptic_mesh.ledger.signing import VerifiedTransaction
from synaptic_mesh.ledger.step_actions import (
    commit_verdicts,
    report_available,
    reveal_verdicts,
    reveal_witness,
    submit_update,
    vote_root,
)
from synaptic_mesh.ledger.transactions import (
    ActionUnion,
    AttestJob,
    CommitVerdicts,
    JoinJob,
    LeaveJob,
    ReportAvailable,
    ReportEquivocation,
    RevealVerdicts,
    RevealWitness,
    Stake,
    SubmitJob,
    SubmitUpdate,
    Transaction,
    Transfer,
    TransferMany,
    Unstake,
    VoteRoot,
)
from synaptic_mesh.ledger.transfers import read_records, record_count

BATCH_RECORDS_MIN = 24
"""Transfers below which one after the other is faster than setting up the columns."""


class Executor:
    """Applies the transactions of commits. `touched` collects the jobs that changed.

    one_by_one: never settle transfers at once. The result is the same: for tests and measurements.
    """

    def __init__(self, network: NetworkId, epoch: int, jobs: JobTable, judge: Judge, *, one_by_one: bool) -> None:
        self._network = network
        self._epoch = epoch
        self._jobs = jobs
        self._judge = judge
        self._one_by_one = one_by_one

    def apply(self, context: CommitContext, transactions: Sequence[VerifiedTransaction], touched: set[bytes]) -> None:
        """Apply all transactions; `context.events` grows by what happened, in their order."""
        if self._one_by_one:
            for verified in transactions:
                self._apply_one(context, verified, touched)
            return
        produced: list[Sequence[LedgerEvent]] = [()] * len(transactions)
        run = Run()
        for position, verified in enumerate(transactions):
            if isinstance(verified.transaction.action, Transfer | TransferMany):
                run.add(position, verified)
                continue
            if run.conflicts(verified.transaction):
                self._settle(context, run, produced)
                run = Run()
            produced[position] = self._events_of(context, verified, touched)
        self._settle(context, run, produced)
        for events in produced:
            context.events.extend(events)

    def refusal(self, transaction: Transaction, nonce: int, *, has_account: bool) -> str:
        """Return why a transaction consumes nothing at all when its sender's next nonce is `nonce`, or ""."""
        sender = transaction.sender
        if transaction.network != self._network or transaction.epoch != self._epoch:
            return f"it is for epoch {transaction.epoch} of network {short(transaction.network)}"
        if transaction.nonce < nonce:
            return f"nonce {transaction.nonce} of {short(sender)} is used already, the next is {nonce}"
        if transaction.nonce > nonce:
            return f"nonce {transaction.nonce} of {short(sender)} leaves a gap, the next is {nonce}"
        if not has_account:
            return f"{short(sender)} has no account: it needs a transfer first"
        return ""

    def _settle(self, context: CommitContext, run: "Run", produced: list[Sequence[LedgerEvent]]) -> None:
        if run.records < BATCH_RECORDS_MIN or not self._settle_at_once(context, run, produced):
            for position, verified in zip(run.positions, run.transactions, strict=True):
                produced[position] = self._events_of(context, verified, set())

    def _settle_at_once(self, context: CommitContext, run: "Run", produced: list[Sequence[LedgerEvent]]) -> bool:
        """Nonces first, for they do not depend on what else happens; then everything that is in order at once."""
        bank, nonces, reasons = context.bank, dict[bytes, int](), list[str]()
        in_order: list[Transaction] = []
        for verified in run.transactions:
            transaction = verified.transaction
            sender = transaction.sender
            nonce = nonces.get(sender)
            if nonce is None:
                if sender not in bank:
                    return False  # a transfer of this run may open it
                nonce = bank.nonce(sender)
            reason = self.refusal(transaction, nonce, has_account=True)
            reasons.append(reason)
            if not reason:
                nonce += 1
                in_order.append(transaction)
            nonces[sender] = nonce
        fees = settle_transfers(bank, context.economics, in_order) if in_order else []
        if fees is None:
            return False
        fee = iter(fees)
        for position, verified, reason in zip(run.positions, run.transactions, reasons, strict=True):
            produced[position] = (applied(verified, reason, 0 if reason else next(fee)),)
        return True

    def _events_of(
        self, context: CommitContext, verified: VerifiedTransaction, touched: set[bytes]
    ) -> Sequence[LedgerEvent]:
        start = len(context.events)
        self._apply_one(context, verified, touched)
        events = context.events[start:]
        del context.events[start:]
        return events

    def _apply_one(self, context: CommitContext, verified: VerifiedTransaction, touched: set[bytes]) -> None:
        transaction, bank = verified.transaction, context.bank
        sender, fee = transaction.sender, 0
        reason = self.refusal(transaction, bank.nonce(sender), has_account=sender in bank)
        if not reason:
            bank.consume_nonce(sender)
            due = fee_of(context.economics, transaction.action)
            fee = bank.charge(sender, due)
            try:
                if fee < due:
                    have = format_amount(fee)
                    raise LedgerReject(f"the fee is {format_amount(due)} rUv, {short(sender)} had {have} rUv left")
                fee += self._dispatch(context, sender, transaction.action, touched)
            except LedgerReject as reject:
                reason = str(reject)
                if not due:  # free when it applies; a refused one pays for its place
                    fee = bank.charge(sender, context.economics.fee_flat)
        context.events.append(applied(verified, reason, fee))

    def _dispatch(self, context: CommitContext, sender: bytes, action: ActionUnion, touched: set[bytes]) -> int:
        """Apply the action wholly, or raise LedgerReject. Returns the fees that arise only when it applies."""
        bank, economics = context.bank, context.economics
        match action:
            case Transfer():
                return bank.transfer(sender, action.recipient, action.amount, economics.fee_open_account)
            case TransferMany():
                return bank.transfer_many(sender, *read_records(action.records), economics.fee_open_account)
            case Stake():
                bank.stake(sender, action.amount)
            case Unstake():
                delay = economics.unbonding_commits
                bank.unstake(sender, action.amount, context.commit_index + delay if delay else 0)
            case SubmitJob():
                touched.add(submit_job(context, self._jobs, sender, action).id)
                return bank.charge(sender, economics.fee_open_job)
            case ReportEquivocation():
                report_equivocation(context, self._judge, sender, action)
            case _:
                job_id = action.job if isinstance(action, AttestJob | JoinJob | LeaveJob) else action.ref.job
                job = self._jobs.get(job_id)
                if job is None:
                    raise LedgerReject(f"job {short(job_id)} is unknown")
                _JOB_HANDLERS[type(action)](context, job, sender, action)
                touched.add(job_id)
        return 0


class Run:
    """Transfers that wait to be settled together, and the accounts that they read or write."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.transactions: list[VerifiedTransaction] = []
        self.records = 0
        self._accounts: set[bytes] = set()
        self._accounts_of = 0  # transactions whose accounts are in the set

    def add(self, position: int, verified: VerifiedTransaction) -> None:
        """Append a transfer, the commit's transaction number `position`."""
        action = verified.transaction.action
        self.positions.append(position)
        self.transactions.append(verified)
        self.records += record_count(action.records) if isinstance(action, TransferMany) else 1

    def conflicts(self, transaction: Transaction) -> bool:
        """Answer whether an action that is no transfer must wait for the run: it reads or writes its sender's account
        and a job, and no transfer touches a job. Whose stake a report of equivocation takes is not known before.
        """
        if isinstance(transaction.action, ReportEquivocation):
            return True
        for verified in self.transactions[self._accounts_of :]:
            self._accounts |= accounts_of(verified.transaction)
        self._accounts_of = len(self.transactions)
        return transaction.sender in self._accounts


def accounts_of(transaction: Transaction) -> set[bytes]:
    """Return the accounts that a transaction can read or write: known before it runs."""
    action = transaction.action
    if isinstance(action, Transfer):
        return {transaction.sender, action.recipient}
    if isinstance(action, TransferMany):
        return {transaction.sender, *read_records(action.records)[0]}
    return {transaction.sender}


def applied(verified: VerifiedTransaction, reason: str, fee: int) -> TransactionApplied:
    """Return the event of a transaction that ran, or was refused for a reason."""
    transaction = verified.transaction
    return TransactionApplied(verified.id, transaction.sender, transaction.nonce, not reason, reason, fee)


_JOB_HANDLERS: dict[type, Callable[[CommitContext, Job, bytes, Any], None]] = {
    AttestJob: attest_job,
    JoinJob: join_job,
    LeaveJob: leave_job,
    SubmitUpdate: submit_update,
    ReportAvailable: report_available,
    CommitVerdicts: commit_verdicts,
    RevealVerdicts: reveal_verdicts,
    RevealWitness: reveal_witness,
    VoteRoot: vote_root,
}
