"""Everything an account can ask of the ledger. A transaction is one action, one nonce and one signature.

Items about an outer step bind (network, epoch) through the transaction and (job, step, attempt, root) through
`StepRef`, so none can be replayed for another step, attempt or network.
"""

from collections.abc import Iterable
from typing import Any, cast

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.ledger.manifest import BlobRef, Manifest
from synaptic_mesh.ledger.transfers import check_records_untrusted

TRANSACTION_BYTES_MAX = 576 << 10
"""A SubmitJob with the largest manifest; what a block takes is a little more."""
EVIDENCE_BYTES_MAX = 256 << 10
"""Two block headers with their references and signatures, of the largest committee."""
SIGNING_DOMAIN = "SM/transaction/v1"


class Action(Record, tag=True):
    """Base of the actions. The tag on the wire is the class name."""


class Transfer(Action):
    """Move `amount` from the sender's balance to `recipient`."""

    recipient: bytes
    amount: int


class TransferMany(Action):
    """Move amounts from the sender's balance to 1 to 4,096 receivers, all of them or none: the balance must cover their
    sum before any of it arrives. `records` has 40 bytes for each (`transfers.py`).
    """

    records: bytes


class ReportEquivocation(Action):
    """Show that a validator signed two blocks for one slot. The evidence is consensus' own record of it."""

    evidence: bytes


class Stake(Action):
    """Move `amount` from the sender's balance into its stake."""

    amount: int


class Unstake(Action):
    """Move `amount` of unlocked stake back into the sender's balance, after the network's unbonding time. Further stake
    that begins to unbond starts the time anew for all of it.
    """

    amount: int


class SubmitJob(Action):
    """Open a job and lock its whole possible pay in escrow."""

    manifest: Manifest


class AttestJob(Action):
    """A validator holds graph, shards and initial state of the job, admitted the graph, recomputed the root."""

    job: bytes


class JoinJob(Action):
    """A staked account offers to work for the job."""

    job: bytes


class LeaveJob(Action):
    """A worker stops working for the job; open assignments count as missed."""

    job: bytes


class StepRef(Record):
    """One attempt at one outer step."""

    job: bytes
    step: int
    attempt: int
    root: bytes


class SubmitUpdate(Action):
    """A worker commits to its delta. The blob stays sealed with its holder until the step has closed."""

    ref: StepRef
    delta: BlobRef
    trace_root: bytes
    """Merkle root over hashes of intermediate states (`collab/update.py` says which: the trace is coarse)."""
    witness_commitment: bytes
    """H(salt, x): x hashes the same states in a domain that the trace does not reveal."""


class ReportAvailable(Action):
    """A validator holds the deltas of these workers (peer ids, ascending), each with the announced digest."""

    ref: StepRef
    workers: tuple[bytes, ...]


class CommitVerdicts(Action):
    """An auditor recomputed the available updates: H(auditor, nonce, encoded verdicts), opened after the quorum."""

    ref: StepRef
    commitment: bytes


class Verdict(Record):
    """What an auditor obtained by executing one worker's assignment itself."""

    worker: bytes
    delta: bytes
    trace_root: bytes
    witness: bytes
    """x'. Equal to the worker's x only if the auditor ran the whole update."""


class RevealVerdicts(Action):
    """Open a CommitVerdicts. Verdicts ascend by worker and cover every available update."""

    ref: StepRef
    nonce: bytes
    verdicts: tuple[Verdict, ...]


class RevealWitness(Action):
    """A worker opens its witness commitment, once the auditors have committed."""

    ref: StepRef
    salt: bytes
    witness: bytes


class VoteRoot(Action):
    """A validator aggregated the accepted updates and obtained this root and state blob."""

    ref: StepRef
    included: bytes
    """Digest of the accepted set: worker ids and delta digests, ascending."""
    root: bytes
    state: BlobRef
    metrics: tuple[int, ...]
    """Facts about the new state over the held-out rows: (correct, rows, loss as f32 bits). Part of the vote's value."""


ActionUnion = (
    Transfer
    | TransferMany
    | Stake
    | Unstake
    | SubmitJob
    | AttestJob
    | JoinJob
    | LeaveJob
    | SubmitUpdate
    | ReportAvailable
    | CommitVerdicts
    | RevealVerdicts
    | RevealWitness
    | VoteRoot
    | ReportEquivocation
)


class Transaction(Record):
    """An action of `sender`; `nonce` counts the sender's transactions from 0."""

    network: bytes
    epoch: int
    sender: bytes
    nonce: int
    action: ActionUnion


class SignedTransaction(Record):
    """Canonical bytes of a Transaction and the sender's signature over them in SIGNING_DOMAIN."""

    body: bytes
    signature: bytes


def transaction_id(body: bytes) -> Digest:
    """Return the id of a transaction: digest of its canonical bytes; the malleable signature is left out."""
    return hash_bytes("SM/transaction/id/v1", body)


def encode_transaction(transaction: Transaction) -> bytes:
    """Return the canonical bytes that are signed."""
    return encode(transaction)


def decode_transaction_untrusted(body: bytes) -> Transaction:
    """Decode and bound a transaction. Raises PeerError; does not check the signature."""
    transaction = cast(Transaction, decode_untrusted(cast(Any, Transaction), body, TRANSACTION_BYTES_MAX))
    if isinstance(transaction.action, TransferMany):
        check_records_untrusted(transaction.action.records)
    return transaction


def verdict_commitment(auditor: PeerId, nonce: bytes, verdicts: tuple[Verdict, ...]) -> Digest:
    """Return what CommitVerdicts carries. The auditor's id stops copying of another's commitment."""
    return hash_bytes("SM/verdicts/v1", auditor, nonce, encode(verdicts))


def witness_commitment(salt: bytes, witness: bytes) -> Digest:
    """Return what SubmitUpdate carries: both parts are 32 bytes."""
    return hash_bytes("SM/witness/v1", salt, witness)


def included_digest(included: Iterable[tuple[bytes, BlobRef]]) -> Digest:
    """Return what VoteRoot says of the accepted updates: (worker, delta), ascending by worker."""
    return hash_bytes("SM/included/v1", *(part for worker, delta in included for part in (worker, delta.digest)))
