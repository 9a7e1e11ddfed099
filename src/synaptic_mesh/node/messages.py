"""What a whole node takes and returns. Shells (`run`, the simulator) translate; the assembly decides.

Answers to compute and fetch effects are collab's own events: Computed, Failed, BlobFetched, BlobMissing.
"""

import msgspec

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.collab.messages import (
    BlobFetched,
    BlobMissing,
    CancelCompute,
    Compute,
    Computed,
    Failed,
    FetchBlob,
    PublishBlob,
)
from synaptic_mesh.consensus.messages import Commit, Evidence
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate, CheckpointVote
from synaptic_mesh.ledger.checkpoint_effects import Dissent, DoubleVote
from synaptic_mesh.ledger.events import LedgerEvent
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.transactions import ActionUnion, Transaction

TOPIC_CONSENSUS = "consensus"
TOPIC_TRANSACTIONS = "transactions"
TOPIC_CHECKPOINT = "checkpoint"
TOPIC_CLIENT = "client"
"""What clients ask of a node, and what it answers: `ClientMessage` and `NodeMessage`."""
TRANSACTIONS_PER_MESSAGE_MAX = 256
SUBMISSION_TRANSACTIONS_MAX = 4_096
"""In one message of a client; its bytes are bounded by the envelope, 1 MiB."""
QUESTION_ACCOUNTS_MAX = 1_024


class LogRecord(Record):
    """One Append as it lies in the write-ahead log: of consensus (blocks and commits), or of checkpoints: own votes,
    and certificates.
    """

    blocks: tuple[bytes, ...] = ()
    commits: tuple[Commit, ...] = ()
    checkpoints: tuple[CheckpointVote | CheckpointCertificate, ...] = ()


class Transactions(Record):
    """Signed transactions on their way to a validator."""

    transactions: tuple[bytes, ...]


# --- between clients and nodes ---------------------------------------------------------------------------------------


class Submission(Record, tag="submission"):
    """A client's signed transactions, in order. It numbers them as it likes, ascending: the first is `first`."""

    first: int
    transactions: tuple[bytes, ...]


class AccountsQuestion(Record, tag="accounts"):
    """What do these accounts hold? `number` comes back with the answer."""

    number: int
    accounts: tuple[bytes, ...]


class ProofQuestion(Record, tag="prove"):
    """Prove what this account held at your newest certified checkpoint. `number` comes back with the answer."""

    number: int
    account: bytes


ClientMessage = Submission | AccountsQuestion | ProofQuestion


class Refusal(Record):
    """`count` transactions from number `first` on did not run, or changed nothing, and why. Unless it `is_final` they
    are worth sending again as they are: there was no room, or an older one was missing.
    """

    first: int
    count: int
    reason: str
    is_final: bool


class Outcomes(Record, tag="outcomes"):
    """What became of a client's transactions: `accepted` are ranges (first, count) of numbers that commit `commit` has
    executed. The word of the node that says so. Commit 0: nothing was executed, all of it is refusals.
    """

    commit: int
    accepted: tuple[tuple[int, int], ...]
    refused: tuple[Refusal, ...]


class AccountsAnswer(Record, tag="account_states"):
    """Balance, stake, locked stake and next nonce of each account asked for, after commit `commit`."""

    number: int
    commit: int
    accounts: tuple[tuple[int, int, int, int], ...]


class ProofAnswer(Record, tag="proof"):
    """A `CheckpointCertificate` and an `AccountProof` under its state root, encoded. Without a checkpoint both are
    empty, without the account at the checkpoint the proof is.
    """

    number: int
    certificate: bytes
    proof: bytes


NodeMessage = Outcomes | AccountsAnswer | ProofAnswer


# --- events ----------------------------------------------------------------------------------------------------------


class Received(msgspec.Struct, frozen=True):
    """A message whose envelope was checked."""

    sender: PeerId
    topic: str
    payload: bytes


class PeerUp(msgspec.Struct, frozen=True):
    """Messages reach this peer now."""

    peer: PeerId


class PeerDown(msgspec.Struct, frozen=True):
    """Messages to this peer would be lost."""

    peer: PeerId


class Logged(msgspec.Struct, frozen=True):
    """The AppendLog with this token is on stable storage. Tokens come back in ascending order."""

    token: int


class Submit(msgspec.Struct, frozen=True):
    """The operator wants this action on the ledger, by this node's account."""

    action: ActionUnion


class SignaturesChecked(msgspec.Struct, frozen=True):
    """One byte for each row of the CheckSignatures with this token, 1 where the signature is valid. Answers may come
    in any order.
    """

    token: int
    answer: bytes


class LogRead(msgspec.Struct, frozen=True):
    """What a ReadLog found: encoded blocks, and the place behind them (`consensus.stored`)."""

    peer: PeerId
    blocks: tuple[bytes, ...]
    place: int


Event = (
    SignaturesChecked
    | Received
    | PeerUp
    | PeerDown
    | Logged
    | LogRead
    | Submit
    | Computed
    | Failed
    | BlobFetched
    | BlobMissing
)


# --- effects ---------------------------------------------------------------------------------------------------------


class AppendLog(msgspec.Struct, frozen=True):
    """Write this record to the log, fsync, then answer Logged(token)."""

    token: int
    record: bytes


class ReadLog(msgspec.Struct, frozen=True):
    """Read blocks for a late peer, from block `block` of record `position` on, within both limits (`store.read_log`),
    then answer LogRead. Only what an fsync has finished.
    """

    peer: PeerId
    position: int
    block: int
    blocks_max: int
    bytes_max: int


class SendMessage(msgspec.Struct, frozen=True):
    """Send to one peer, or to every connected peer when `peer` is None."""

    peer: PeerId | None
    topic: str
    payload: bytes


class CheckSignatures(msgspec.Struct, frozen=True):
    """Check these rows (workers/signatures.py), then answer SignaturesChecked(token)."""

    token: int
    rows: bytes


class CommitExecuted(msgspec.Struct, frozen=True):
    """For the operator: a commit ran on the ledger. `transactions` counts those that were taken."""

    index: int
    round: int
    timestamp_ms: int
    transactions: int
    direct: bool
    state_root: Digest


class LedgerNote(msgspec.Struct, frozen=True):
    """For the operator: something the ledger reported. Accepted transactions are not noted one by one."""

    event: LedgerEvent


class JobNote(msgspec.Struct, frozen=True):
    """For the operator: the job as of the latest commit that changed it."""

    state: JobState
    progress_ms: int


class VoteNote(msgspec.Struct, frozen=True):
    """For the run record: a VoteRoot transaction that the ledger accepted, and its signed bytes as they travelled."""

    transaction: Transaction
    signed: bytes


class EvidenceNote(msgspec.Struct, frozen=True):
    """For the operator: a validator signed two blocks for one slot."""

    evidence: Evidence


class CheckpointNote(msgspec.Struct, frozen=True):
    """For the operator: a newer checkpoint is signed by `stake`, a quorum or more."""

    certificate: CheckpointCertificate
    stake: int


class Dropped(msgspec.Struct, frozen=True):
    """For counting: something from a peer or client was dropped, and why in a few words."""

    peer: PeerId
    reason: str


class Notice(msgspec.Struct, frozen=True):
    """For the operator: one sentence."""

    text: str


Effect = (
    AppendLog
    | ReadLog
    | SendMessage
    | CheckSignatures
    | FetchBlob
    | Compute
    | CancelCompute
    | PublishBlob
    | CommitExecuted
    | LedgerNote
    | JobNote
    | VoteNote
    | EvidenceNote
    | CheckpointNote
    | Dissent
    | DoubleVote
    | Dropped
    | Notice
)
