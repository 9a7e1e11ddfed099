"""Which manifests may become jobs. Everything in one that can be large has a bound here.

The ledger checks numbers and names; what only somebody with the blobs can check (the graph verifies, the shards hold
the announced rows, the initial root follows from the seed) is what validators attest.
"""

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import DIGEST_BYTES
from synaptic_mesh.ledger.amounts import SUPPLY_MAX, format_amount
from synaptic_mesh.ledger.manifest import PPM, BlobRef, DataManifest, Economy, Manifest, OuterRule, TensorSpec, Timing

MANIFEST_VERSION = 1
MANIFEST_BYTES_MAX = 1 << 19
TEXT_CHARS_MAX = 128
MODEL_CHARS_MAX = 4096
"""The layers of a network as text; families such as "mlp:64,64" are short."""
PREPARED_BYTES_MAX = 1 << 18
BLOB_BYTES_MAX = 1 << 30
JOB_BYTES_MAX = 1 << 34
"""All blobs that a manifest names together: every validator fetches and keeps them."""
TENSORS_MAX = 1_024
"""Tensors among the parameters, and again among the optimizer's state."""
ROW_TENSORS_MAX = 16
TENSOR_RANK_MAX = 8
TENSOR_ELEMENTS_MAX = 1 << 31
SHARDS_MAX = 1_024
"""Each look of a participant at the job names all of them."""
ROWS_MAX = 1 << 31
WORKERS_MAX = 256
BATCH_MAX = 1 << 20
INNER_STEPS_MAX = 1 << 20
ASSIGNMENTS_MAX = 1 << 20
"""outer steps x workers of one job: bounds its history."""
CLIP_ITERATIONS_MAX = 64
DURATION_MS_MAX = 30 * 24 * 3600 * 1000
"""30 days: the longest deadline."""
PHASE_MS_MIN = 1_000
GRACE_MS_MIN = 500
"""In a network of several: who needs a commit or two to answer must not be fined because a sponsor was in a hurry."""
ENROL_MS_MAX = 24 * 3600 * 1000
"""1 day: submitting costs nothing, so an empty job must not stay open for long."""
ATTEMPTS_MAX = 100
CHALLENGE_STEPS_MAX = 1_000
DTYPES = ("f32", "i32", "u32")
TASKS = ("classify", "regress")
OPTIMIZERS = ("diloco",)
AGGREGATIONS = ("centered-clip", "mean")
CODECS = ("f32",)


def escrow_of(manifest: Manifest) -> int:
    """Return what the sponsor locks: the most the job can pay. Only a committed outer step pays, so attempts do not
    enter.
    """
    economy = manifest.economy
    return manifest.workers_max * (economy.reward_per_update + economy.audit_fee_per_update) * manifest.outer_steps


def check_manifest(manifest: Manifest, semantics_id: bytes, validator_count: int) -> None:
    """Raise LocalError, naming the value, unless the manifest can become a job of a network with this engine semantics
    and this many validators.
    """
    if manifest.version != MANIFEST_VERSION:
        raise LocalError(f"manifest version {manifest.version} is not {MANIFEST_VERSION}")
    if manifest.semantics_id != semantics_id:
        job_side, network_side = manifest.semantics_id[:4].hex(), semantics_id[:4].hex()
        raise LocalError(f"the job is for engine semantics {job_side}, the network runs {network_side}")
    _check_choice(manifest.task, TASKS, "task")
    _check_choice(manifest.codec, CODECS, "codec")
    _check_text(manifest.model, "model", MODEL_CHARS_MAX)
    _check_blob(manifest.step_graph, "step_graph")
    _check_blob(manifest.predict_graph, "predict_graph")
    _check_blob(manifest.initial_state, "initial_state")
    _check_blob(manifest.optimizer_init, "optimizer_init", size_min=0 if not manifest.optimizer_state else 1)
    _check_digest(manifest.initial_root, "initial_root")
    _check_tensors(manifest.parameters, "parameters", TENSORS_MAX)
    if manifest.optimizer_state:
        _check_tensors(manifest.optimizer_state, "optimizer_state", TENSORS_MAX)
    _check_between(manifest.seed, 0, (1 << 63) - 1, "seed")
    _check_between(manifest.batch, 1, BATCH_MAX, "batch")
    _check_between(manifest.inner_steps, 1, INNER_STEPS_MAX, "inner_steps")
    _check_data(manifest.data)
    _check_outer(manifest.outer)
    _check_workers(manifest)
    _check_audit_rate(manifest.audit_rate_ppm, validator_count)
    _check_timing(manifest.timing, validator_count)
    _check_economy(manifest)
    _check_between(sum(blob.size for blob in _blobs(manifest)), 1, JOB_BYTES_MAX, "bytes of all blobs together")
    size = len(encode(manifest))
    if size > MANIFEST_BYTES_MAX:
        raise LocalError(f"manifest of {size} bytes is over the limit of {MANIFEST_BYTES_MAX}: use fewer shards")


def _blobs(manifest: Manifest) -> list[BlobRef]:
    shards = [shard.blob for shard in (*manifest.data.shards, manifest.data.test)]
    return [manifest.step_graph, manifest.predict_graph, manifest.optimizer_init, manifest.initial_state, *shards]


def _check_data(data: DataManifest) -> None:
    _check_text(data.name, "data.name")
    _check_tensors(data.row, "data.row", ROW_TENSORS_MAX)
    _check_between(len(data.shards), 1, SHARDS_MAX, "number of shards")
    for index, shard in enumerate((*data.shards, data.test)):
        what = f"shard {index}" if index < len(data.shards) else "test shard"
        _check_blob(shard.blob, what)
        _check_between(shard.rows, 1, ROWS_MAX, f"rows of {what}")
    _check_between(len(data.prepared), 0, PREPARED_BYTES_MAX, "bytes of data.prepared")


def _check_outer(outer: OuterRule) -> None:
    _check_choice(outer.optimizer, OPTIMIZERS, "outer optimizer")
    _check_choice(outer.aggregation, AGGREGATIONS, "aggregation")
    _check_float_bits(outer.learning_rate_bits, "learning_rate_bits")
    _check_float_bits(outer.momentum_bits, "momentum_bits")
    _check_float_bits(outer.clip_factor_bits, "clip_factor_bits")
    _check_between(outer.clip_iterations, 0, CLIP_ITERATIONS_MAX, "clip_iterations")


def _check_workers(manifest: Manifest) -> None:
    _check_between(manifest.workers_max, 1, WORKERS_MAX, "workers_max")
    _check_between(manifest.workers_min, 1, manifest.workers_max, "workers_min")
    if manifest.workers_max > len(manifest.data.shards):
        raise LocalError(
            f"workers_max is {manifest.workers_max}, but each worker needs a shard and the data has only "
            f"{len(manifest.data.shards)}: cut it into more shards"
        )
    _check_between(manifest.outer_steps, 1, ASSIGNMENTS_MAX, "outer_steps")
    _check_between(manifest.outer_steps * manifest.workers_max, 1, ASSIGNMENTS_MAX, "outer_steps x workers_max")


def _check_audit_rate(rate_ppm: int, validator_count: int) -> None:
    """Everything is audited. In a network of one validator, which would check itself, a job may say that it is not."""
    if rate_ppm == PPM or (rate_ppm == 0 and validator_count == 1):
        return
    raise LocalError(
        f"audit_rate_ppm is {rate_ppm}: it must be {PPM}, or 0 in a network of one validator, this one has "
        f"{validator_count}"
    )


def _check_timing(timing: Timing, validator_count: int) -> None:
    phase_ms_min, grace_ms_min = (PHASE_MS_MIN, GRACE_MS_MIN) if validator_count > 1 else (1, 0)
    _check_between(timing.enrol_ms, 1, ENROL_MS_MAX, "enrol_ms")
    for name in ("work_ms", "available_ms", "audit_ms", "root_ms"):
        _check_between(getattr(timing, name), phase_ms_min, DURATION_MS_MAX, name)
    _check_between(timing.grace_ms, grace_ms_min, DURATION_MS_MAX, "grace_ms")
    _check_between(timing.challenge_ms, 0, DURATION_MS_MAX, "challenge_ms")
    _check_between(timing.challenge_steps, 0, CHALLENGE_STEPS_MAX, "challenge_steps")
    _check_between(timing.attempts_max, 1, ATTEMPTS_MAX, "attempts_max")


def _check_economy(manifest: Manifest) -> None:
    economy: Economy = manifest.economy
    for name in ("reward_per_update", "audit_fee_per_update", "stake_per_update"):
        _check_between(getattr(economy, name), 0, SUPPLY_MAX, name)
    if escrow_of(manifest) > SUPPLY_MAX:
        raise LocalError(f"the job could pay {format_amount(escrow_of(manifest))} rUv, more than any supply")


def _check_tensors(tensors: tuple[TensorSpec, ...], what: str, count_max: int) -> None:
    _check_between(len(tensors), 1, count_max, f"number of tensors in {what}")
    names: set[str] = set()
    for tensor in tensors:
        _check_text(tensor.name, f"name of a tensor in {what}")
        if tensor.name in names:
            raise LocalError(f"tensor {tensor.name!r} is named twice in {what}")
        names.add(tensor.name)
        _check_choice(tensor.dtype, DTYPES, f"dtype of tensor {tensor.name!r}")
        _check_between(len(tensor.shape), 0, TENSOR_RANK_MAX, f"rank of tensor {tensor.name!r}")
        elements = 1
        for extent in tensor.shape:
            _check_between(extent, 1, TENSOR_ELEMENTS_MAX, f"an extent of tensor {tensor.name!r}")
            elements *= extent
        _check_between(elements, 1, TENSOR_ELEMENTS_MAX, f"elements of tensor {tensor.name!r}")


def _check_blob(blob: BlobRef, what: str, size_min: int = 1) -> None:
    _check_digest(blob.digest, f"digest of {what}")
    _check_between(blob.size, size_min, BLOB_BYTES_MAX, f"bytes of {what}")


def _check_digest(digest: bytes, what: str) -> None:
    if len(digest) != DIGEST_BYTES:
        raise LocalError(f"{what} has {len(digest)} bytes, it needs {DIGEST_BYTES}")


def _check_float_bits(bits: int, what: str) -> None:
    if not 0 <= bits < 1 << 32 or bits & 0x7F800000 == 0x7F800000:
        raise LocalError(f"{what} is {bits:#x}, not the bit pattern of a finite f32")


def _check_choice(value: str, choices: tuple[str, ...], what: str) -> None:
    if value not in choices:
        raise LocalError(f"{what} is {value[:TEXT_CHARS_MAX]!r}, it must be one of {', '.join(choices)}")


def _check_text(text: str, what: str, most: int = TEXT_CHARS_MAX) -> None:
    if not 1 <= len(text) <= most:
        raise LocalError(f"{what} has {len(text)} characters, it needs 1 to {most}")


def _check_between(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        raise LocalError(f"{what} is {value}, it must be between {low} and {high}")
