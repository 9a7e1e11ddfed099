"""What remains of a run: enough for a stranger to execute it again and to see that a quorum stood behind every root.

    file = magic || BLAKE3 of the rest || canonical record

The record names blobs by digest; they lie beside it. Evidence of the quorum are the voters' own signed transactions:
the record's author cannot make them up. The digest in front only tells a damaged copy from a whole one.
"""

from collections.abc import Iterable, Mapping

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import DIGEST_BYTES
from synaptic_mesh.ledger.jobs import Caught, CommittedStep, JobState
from synaptic_mesh.ledger.manifest import BlobRef, Manifest
from synaptic_mesh.ledger.transactions import Transaction, VoteRoot

MAGIC = b"SMrun001"
HEADER_BYTES = len(MAGIC) + DIGEST_BYTES
RECORD_BYTES_MAX = 256 << 20


class RecordedStep(Record):
    """A committed outer step and the signed VoteRoot transactions of its voters, as they travelled."""

    committed: CommittedStep
    votes: tuple[bytes, ...]


class RunRecord(Record):
    """A run. `genesis` is the canonical genesis file of the network it happened in."""

    genesis: bytes
    job: bytes
    manifest: Manifest
    steps: tuple[RecordedStep, ...]
    caught: tuple[Caught, ...]


class RunRecorder:
    """Collects the votes of one job as they are applied, and makes the record of the job at any time."""

    def __init__(self, genesis: bytes, job: bytes) -> None:
        self._genesis = genesis
        self._job = job
        self._votes: dict[tuple[int, int, bytes], bytes] = {}
        """(step, attempt, voter) -> signed transaction. Grows with committed votes only: at most one for each
        validator, attempt and outer step."""

    def note_transaction(self, transaction: Transaction, signed: bytes) -> None:
        """Take in an accepted transaction, `signed` as it travelled. Other actions and jobs change nothing."""
        action = transaction.action
        if isinstance(action, VoteRoot) and action.ref.job == self._job:
            self._votes[action.ref.step, action.ref.attempt, transaction.sender] = signed

    def record(self, state: JobState) -> RunRecord:
        """Return the record of the job as it stands. Votes of attempts that failed are left out."""
        steps = tuple(RecordedStep(step, _votes_of(step, self._votes)) for step in state.steps)
        return RunRecord(self._genesis, state.job, state.manifest, steps, state.caught)


def encode_record(record: RunRecord) -> bytes:
    """Return the bytes of the record's file."""
    body = encode(record)
    return MAGIC + hash_bytes("SM/run-record/v1", body) + body


def decode_record_untrusted(data: bytes) -> RunRecord:
    """Return the record that a file holds. Raises PeerError, in one sentence, when it is damaged or no record."""
    if len(data) < HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
        raise PeerError(f"{len(data)} bytes are no run record: they do not begin with {MAGIC.decode()}")
    body = data[HEADER_BYTES:]
    if hash_bytes("SM/run-record/v1", body) != data[len(MAGIC) : HEADER_BYTES]:
        raise PeerError("the run record is damaged: its bytes do not have the digest in front of them")
    return decode_untrusted(RunRecord, body, RECORD_BYTES_MAX)


def list_blobs(record: RunRecord) -> tuple[BlobRef, ...]:
    """Return the blobs that belong beside the record: the job's, every included delta, the last state."""
    manifest = record.manifest
    blobs = [manifest.step_graph, manifest.predict_graph, manifest.optimizer_init]
    blobs += [shard.blob for shard in (*manifest.data.shards, manifest.data.test)]
    for step in record.steps:
        blobs += [delta for _, delta in step.committed.included]
    blobs.append(record.steps[-1].committed.state if record.steps else manifest.initial_state)
    return tuple(_distinct(blob for blob in blobs if blob.size))


def _votes_of(step: CommittedStep, votes: Mapping[tuple[int, int, bytes], bytes]) -> tuple[bytes, ...]:
    keys = [(step.step, step.attempt, voter) for voter in step.voters]
    return tuple(votes[key] for key in keys if key in votes)


def _distinct(blobs: Iterable[BlobRef]) -> Iterable[BlobRef]:
    return dict.fromkeys(blobs)
