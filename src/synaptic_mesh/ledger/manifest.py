"""What a training job is: the record that its sponsor signs and every participant executes.

The ledger reads the economic and timing fields; graph and tensors are digests to it. Every constant that arithmetic
uses is a u32 bit pattern or part of the graph, so no float enters consensus. A job's id is the digest of its
canonical bytes.
"""

from synaptic_mesh.base.codec import Record, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest

PPM = 1_000_000
"""Rates are integers in parts per million."""


class TensorSpec(Record):
    """One tensor of a blob: name, dtype ("f32" | "i32" | "u32"), shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class BlobRef(Record):
    """A blob by content: BLAKE3 of its bytes and their number."""

    digest: bytes
    size: int


class Shard(Record):
    """One piece of the training data that is assigned as a whole: `rows` rows of x then y, canonical tensors
    one after the other.
    """

    blob: BlobRef
    rows: int


class DataManifest(Record):
    """The data set: what a row looks like, the shards workers are assigned, the held-out rows no worker is assigned."""

    name: str
    row: tuple[TensorSpec, ...]
    """Tensors of one row, batch axis left out, in blob order: ("x", ...), ("y", ...)."""
    shards: tuple[Shard, ...]
    test: Shard
    prepared: bytes
    """Canonical description of how raw columns became these tensors (scaling, categories): kept with the model."""


class OuterRule(Record):
    """How accepted deltas become the next parameters. All numbers are f32 bit patterns."""

    optimizer: str
    """"diloco": m <- mu m + g; theta <- theta - lr (g + mu m), g = aggregate of theta - theta_i (arXiv:2311.08105)."""
    learning_rate_bits: int
    momentum_bits: int
    aggregation: str
    """"centered-clip" (arXiv:2012.10333) or "mean"."""
    clip_factor_bits: int
    """tau as a multiple of the median norm."""
    clip_iterations: int


class Economy(Record):
    """Amounts in the smallest unit (1 rUv = 10^9)."""

    reward_per_update: int
    audit_fee_per_update: int
    """Shared by the auditors whose verdicts formed the quorum; paid only for updates that were judged."""
    stake_per_update: int
    """Locked from the worker's stake for each unresolved update; lost when the update is proved false."""


class Timing(Record):
    """Deadlines in progress time (milliseconds that advance at most 2 s per commit)."""

    enrol_ms: int
    """Workers join for at most this long after the job's transaction."""
    work_ms: int
    grace_ms: int
    """Once 90 % of the assigned updates are in, the rest have this long."""
    available_ms: int
    audit_ms: int
    root_ms: int
    attempts_max: int
    """Attempts at one outer step before the job aborts and refunds."""
    challenge_steps: int
    challenge_ms: int
    """Pay vests when both have passed since the step committed."""


class Manifest(Record):
    """A job. See the module's docstring."""

    version: int
    semantics_id: bytes
    model: str
    """Name and sizes for people, e.g. "mlp:64,64"; the graph is what counts."""
    task: str
    """"classify" or "regress"."""
    step_graph: BlobRef
    """The training-step graph after autodiff, before simplification: canonical bytes."""
    predict_graph: BlobRef
    parameters: tuple[TensorSpec, ...]
    """Trained tensors in the order in which state blobs hold them."""
    optimizer_state: tuple[TensorSpec, ...]
    """Carried inputs of the step graph that start from `optimizer_init` in every outer step."""
    optimizer_init: BlobRef
    seed: int
    """Initial parameters and batch order derive from it."""
    initial_root: bytes
    initial_state: BlobRef
    """Root and blob of the state at outer step 0; attesting validators recompute both from `seed`."""
    data: DataManifest
    batch: int
    inner_steps: int
    outer_steps: int
    outer: OuterRule
    codec: str
    """"f32": raw differences."""
    audit_rate_ppm: int
    workers_min: int
    workers_max: int
    economy: Economy
    timing: Timing


def job_id(manifest: Manifest) -> Digest:
    """Return the id of the job: the digest of the manifest's canonical bytes."""
    return hash_bytes("SM/job/v1", encode(manifest))
