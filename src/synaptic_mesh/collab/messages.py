"""What a participant hears, what it asks of the assembly, and the tasks it has others compute.

Events in: JobChanged after every commit that touched the job, Computed and Failed for tasks, BlobFetched and
BlobMissing for fetches. Effects out: SubmitAction, FetchBlob, Compute, CancelCompute, PublishBlob, Refusal.
A task states everything that its result depends on, and `task_key` names it: equal keys have equal results, so one
execution serves whoever asks again.
"""

import msgspec

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.collab.update import UpdateResult
from synaptic_mesh.ledger.jobs import Assignment, JobState
from synaptic_mesh.ledger.manifest import BlobRef, Manifest
from synaptic_mesh.ledger.transactions import Action, StepRef

# --- tasks ------------------------------------------------------------------------------------------------------------


class PrepareJob(msgspec.Struct, frozen=True):
    """Check a job before vouching for it: every blob decodes, the graphs are lawful and affordable and fit the
    manifest, the initial state follows from the seed. Needs all blobs of the manifest but
    the initial state, which it makes.
    """

    job: bytes
    manifest: Manifest


class ExecuteUpdate(msgspec.Struct, frozen=True):
    """Execute one assignment honestly: an audit, or what one's own submission starts from."""

    ref: StepRef
    manifest: Manifest
    state: BlobRef
    assignment: Assignment


class PrepareUpdate(msgspec.Struct, frozen=True):
    """Execute one's own assignment, pass it through the strategy and store the delta blob, sealed."""

    execute: ExecuteUpdate


class Aggregate(msgspec.Struct, frozen=True):
    """Combine accepted deltas (worker, blob; ascending by worker) into the next state, store it, evaluate it."""

    ref: StepRef
    manifest: Manifest
    state: BlobRef
    included: tuple[tuple[bytes, BlobRef], ...]


Task = PrepareJob | ExecuteUpdate | PrepareUpdate | Aggregate


def task_key(task: Task) -> Digest:
    """Return the task's name: a hash of everything its result depends on."""
    match task:
        case PrepareJob():
            return hash_bytes("SM/task/prepare-job", task.job)
        case ExecuteUpdate():
            facts = (task.ref.job, task.ref.root, task.state, task.assignment)
            return hash_bytes("SM/task/execute-update", encode(facts))
        case PrepareUpdate():
            return hash_bytes("SM/task/prepare-update", encode(task.execute.ref), task_key(task.execute))
        case Aggregate():
            facts_of_sum = (task.ref.job, task.ref.root, task.state, task.included)
            return hash_bytes("SM/task/aggregate", encode(facts_of_sum))


# --- results ----------------------------------------------------------------------------------------------------------


class JobPrepared(msgspec.Struct, frozen=True):
    """The job is in order: its initial state is stored and its graphs compile."""


class Refused(msgspec.Struct, frozen=True):
    """The task has no result for a reason that every honest peer finds too: a broken manifest, or an outer step whose
    next state would not be finite.
    """

    reason: str


class Aggregated(msgspec.Struct, frozen=True):
    """The next state: its root, its blob (stored), and (correct, rows, loss bits) over the held-out rows."""

    root: bytes
    state: BlobRef
    metrics: tuple[int, ...]


Result = JobPrepared | Refused | UpdateResult | Aggregated

# --- events -----------------------------------------------------------------------------------------------------------


class JobChanged(msgspec.Struct, frozen=True):
    """The job as of the latest commit. `progress_ms` is the ledger's time at that commit."""

    state: JobState
    progress_ms: int


class Computed(msgspec.Struct, frozen=True):
    """A task is done."""

    key: bytes
    result: Result


class Failed(msgspec.Struct, frozen=True):
    """This machine could not carry out a task (disk, memory, a blob gone): it is asked for again later."""

    key: bytes
    reason: str


class BlobFetched(msgspec.Struct, frozen=True):
    """The blob lies in the local store, its digest checked."""

    digest: bytes


class BlobMissing(msgspec.Struct, frozen=True):
    """No holder gave the blob: it is asked for again later."""

    digest: bytes


Event = JobChanged | Computed | Failed | BlobFetched | BlobMissing

# --- effects ----------------------------------------------------------------------------------------------------------


class SubmitAction(msgspec.Struct, frozen=True):
    """Add a nonce, sign and submit, again and again until the ledger applied or refused it."""

    action: Action


class FetchBlob(msgspec.Struct, frozen=True):
    """Get the blob into the local store from one of `holders`, best first; answer at once if it lies there."""

    blob: BlobRef
    holders: tuple[bytes, ...]


class Compute(msgspec.Struct, frozen=True):
    """Have a worker thread carry out the task; answer Computed or Failed with its key."""

    key: bytes
    task: Task


class CancelCompute(msgspec.Struct, frozen=True):
    """Nobody waits for this task any more. A result that comes nevertheless is ignored."""

    key: bytes


class PublishBlob(msgspec.Struct, frozen=True):
    """From now on give this blob to whoever asks. Until then it is sealed. Repeating it is harmless."""

    digest: bytes


class Refusal(msgspec.Struct, frozen=True):
    """For the operator: what this participant will not do in a job, and why. It needs no answer."""

    job: bytes
    reason: str


Effect = SubmitAction | FetchBlob | Compute | CancelCompute | PublishBlob | Refusal
