"""What `Ledger.apply` reports, in the order in which it happened. Frozen structs for shells and participants; no state
is in them that the ledger does not hold.
"""

import msgspec

from synaptic_mesh.base.ids import Digest
from synaptic_mesh.ledger.jobs import Caught, CommittedStep, JobStatus


class TransactionApplied(msgspec.Struct, frozen=True, tag=True):
    """A transaction was taken from the order. When not accepted, `reason` says why and nothing has changed but perhaps
    the nonce, and the `fee` that was charged.
    """

    id: Digest
    sender: bytes
    nonce: int
    accepted: bool
    reason: str
    fee: int = 0


class RewardsPaid(msgspec.Struct, frozen=True, tag=True):
    """Validators were paid from what was collected in fees and minted: (validator, amount), ascending."""

    commit_index: int
    minted: int
    burned: int
    shares: tuple[tuple[bytes, int], ...]


class Unbonded(msgspec.Struct, frozen=True, tag=True):
    """Stake that was withdrawn has become balance."""

    account: bytes
    amount: int


class EquivocationPunished(msgspec.Struct, frozen=True, tag=True):
    """A validator signed two blocks for one slot. `reward` of what was `slashed` went to the reporter, the rest to the
    treasury.
    """

    validator: bytes
    reporter: bytes
    slashed: int
    reward: int


class AttemptOpened(msgspec.Struct, frozen=True, tag=True):
    """Workers are assigned: phase WORK of this attempt begins."""

    job: bytes
    step: int
    attempt: int
    workers: tuple[bytes, ...]


class AttemptFailed(msgspec.Struct, frozen=True, tag=True):
    """The attempt ended without a root; the job stays on the root it had."""

    job: bytes
    step: int
    attempt: int
    reason: str


class StepCommitted(msgspec.Struct, frozen=True, tag=True):
    """A quorum agreed on the next root."""

    job: bytes
    step: CommittedStep


class UpdateDropped(msgspec.Struct, frozen=True, tag=True):
    """An update does not count. Nobody is slashed for it; a fee is a FeeCharged of its own."""

    job: bytes
    step: int
    attempt: int
    worker: bytes
    reason: str


class Slashed(msgspec.Struct, frozen=True, tag=True):
    """An update was proved false. `share` went to each of `caught.caught_by`, the rest of `caught.slashed` to the
    treasury.
    """

    job: bytes
    caught: Caught
    share: int
    reason: str


class FeeCharged(msgspec.Struct, frozen=True, tag=True):
    """Part of a worker's locked stake went to the treasury for silence."""

    job: bytes
    worker: bytes
    amount: int
    reason: str


class WorkerRemoved(msgspec.Struct, frozen=True, tag=True):
    """The worker is assigned nothing more in this job."""

    job: bytes
    worker: bytes
    reason: str


class Paid(msgspec.Struct, frozen=True, tag=True):
    """Pay for `step` vested: it is in the account's balance."""

    job: bytes
    step: int
    account: bytes
    amount: int


class JobFinished(msgspec.Struct, frozen=True, tag=True):
    """The job is FINISHED or ABORTED, and what it did not owe went back to its sponsor."""

    job: bytes
    status: JobStatus
    reason: str
    refunded: int


class JobChanged(msgspec.Struct, frozen=True, tag=True):
    """The job's snapshot differs from the one before this commit: at most once per job and commit, at the end."""

    job: bytes


LedgerEvent = (
    TransactionApplied
    | RewardsPaid
    | Unbonded
    | EquivocationPunished
    | AttemptOpened
    | AttemptFailed
    | StepCommitted
    | UpdateDropped
    | Slashed
    | FeeCharged
    | WorkerRemoved
    | Paid
    | JobFinished
    | JobChanged
)
