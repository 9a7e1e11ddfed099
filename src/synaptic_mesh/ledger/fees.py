"""What a transaction costs. Fees are charged before the action is tried, so a refused one has paid for its place.

| action | charged whatever becomes of it | besides, when it applies |
|---|---|---|
| Transfer, TransferMany | flat + records | one opening fee for each account that is new |
| SubmitJob | flat + one record for each 40 bytes of the manifest begun | the fee for a job |
| ReportEquivocation | flat + one record for each 40 bytes of evidence begun | |
| Stake, Unstake, JoinJob, LeaveJob | flat | |
| what a job asks of its participants | nothing; flat when it is refused | |

The last row is bounded by the job: each participant may do each of them once in an attempt.
"""

from synaptic_mesh.base.codec import encode
from synaptic_mesh.ledger.economics import Economics
from synaptic_mesh.ledger.transactions import (
    ActionUnion,
    JoinJob,
    LeaveJob,
    ReportEquivocation,
    Stake,
    SubmitJob,
    Transfer,
    TransferMany,
    Unstake,
)
from synaptic_mesh.ledger.transfers import RECORD_BYTES, record_count


def fee_of(economics: Economics, action: ActionUnion) -> int:
    """Return what the action costs in any case, in units; 0 for what a job asks of its participants."""
    match action:
        case Transfer():
            return economics.fee_flat + economics.fee_per_record
        case TransferMany():
            return economics.fee_flat + economics.fee_per_record * record_count(action.records)
        case SubmitJob():
            return economics.fee_flat + economics.fee_per_record * records_in(len(encode(action.manifest)))
        case ReportEquivocation():
            return economics.fee_flat + economics.fee_per_record * records_in(len(action.evidence))
        case Stake() | Unstake() | JoinJob() | LeaveJob():
            return economics.fee_flat
        case _:
            return 0


def records_in(size: int) -> int:
    """Return the number of 40-byte records that have begun in so many bytes."""
    return -(-size // RECORD_BYTES)
