"""From labelled rows to a job: everything that a sponsor submits but the initial state.

The initial state belongs to `collab` (its blob also holds the outer momentum), one layer above. So `prepare_job` leaves
`initial_root` and `initial_state` empty, and the caller fills them in:

    job = prepare_job(load_digits(), "mlp:64,64", JobTerms(shards=5, workers_min=3, workers_max=5), seed=1)
    manifest, state_blob = with_initial_state(job.manifest)          # synaptic_mesh.collab.state
    blobs = {**job.blobs, manifest.initial_state.digest: state_blob}
"""

import msgspec

from synaptic_mesh.base.arrays import Array, canonical_bytes, dtype_name
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import DIGEST_BYTES
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.optimizer_names import make_optimizer
from synaptic_mesh.engine.serialize import graph_to_bytes
from synaptic_mesh.ledger.admission import MANIFEST_VERSION
from synaptic_mesh.ledger.amounts import UNITS_PER_RUV
from synaptic_mesh.ledger.manifest import (
    PPM,
    BlobRef,
    DataManifest,
    Economy,
    Manifest,
    OuterRule,
    TensorSpec,
    Timing,
)
from synaptic_mesh.models.graphs import JobGraphs, build_job_graphs
from synaptic_mesh.models.registry import parse_model
from synaptic_mesh.training.dataset import TEST_PPM, Dataset, pack_dataset, split_examples
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.hyperparameters import (
    Hyperparameters,
    check_hyperparameters,
    outer_rule,
)

SEED_MAX = (1 << 63) - 1
EMPTY_BLOB = BlobRef(bytes(DIGEST_BYTES), 0)
"""Stands in a manifest whose initial state is not filled in yet."""

ECONOMY = Economy(
    reward_per_update=3 * UNITS_PER_RUV // 2,
    audit_fee_per_update=13 * UNITS_PER_RUV // 10,
    stake_per_update=75 * UNITS_PER_RUV // 2,
)
"""For a cost of 1 rUv per update: R = 1.5 c, audit fee 1.3 c, stake 25 R."""

TIMING = Timing(
    enrol_ms=10_000,
    work_ms=60_000,
    grace_ms=5_000,
    available_ms=20_000,
    audit_ms=60_000,
    root_ms=30_000,
    attempts_max=5,
    challenge_steps=5,
    challenge_ms=600_000,
)
"""For jobs between machines; a demonstration on loopback states shorter ones."""


class JobTerms(msgspec.Struct, frozen=True):
    """Who may take part, and on what terms. A job of a network of one validator may state audit_rate_ppm 0."""

    shards: int
    workers_min: int
    workers_max: int
    economy: Economy = ECONOMY
    timing: Timing = TIMING
    audit_rate_ppm: int = PPM
    test_ppm: int = TEST_PPM


class PreparedJob(msgspec.Struct, frozen=True):
    """A manifest without initial state, and the blobs that it names, by digest. `dataset` holds the same rows."""

    manifest: Manifest
    blobs: dict[bytes, bytes]
    dataset: Dataset


def prepare_job(
    examples: Examples, model: str, terms: JobTerms, *, seed: int, hyperparameters: Hyperparameters = Hyperparameters()
) -> PreparedJob:
    """Return the job that trains `model` (a specification such as "mlp:64,64") on the examples.

    The same arguments give the same manifest and blobs. Raises LocalError naming the value that does not fit.
    """
    if not 0 <= seed <= SEED_MAX:
        raise LocalError(f"seed {seed} must be from 0 to {SEED_MAX}")
    if not 1 <= terms.workers_min <= terms.workers_max <= terms.shards:
        raise LocalError(
            f"workers_min {terms.workers_min}, workers_max {terms.workers_max} and {terms.shards} shards "
            "must ascend from 1"
        )
    check_hyperparameters(hyperparameters)
    architecture = parse_model(model)
    dataset = split_examples(examples, seed, terms.test_ppm)
    data, blobs = pack_dataset(dataset, terms.shards)
    graphs = build_job_graphs(
        architecture,
        dataset.prepared.task,
        width=dataset.prepared.width,
        outputs=dataset.prepared.outputs,
        batch=hyperparameters.batch,
        optimizer=make_optimizer(hyperparameters.optimizer, hyperparameters.learning_rate),
    )
    manifest, graph_blobs = assemble_manifest(
        graphs,
        data,
        model=architecture.spec,
        task=dataset.prepared.task,
        seed=seed,
        batch=hyperparameters.batch,
        inner_steps=hyperparameters.inner_steps,
        outer_steps=hyperparameters.outer_steps,
        outer=outer_rule(hyperparameters),
        audit_rate_ppm=terms.audit_rate_ppm,
        workers_min=terms.workers_min,
        workers_max=terms.workers_max,
        economy=terms.economy,
        timing=terms.timing,
    )
    return PreparedJob(manifest, {**blobs, **graph_blobs}, dataset)


def assemble_manifest(
    graphs: JobGraphs,
    data: DataManifest,
    *,
    model: str,
    task: str,
    seed: int,
    batch: int,
    inner_steps: int,
    outer_steps: int,
    outer: OuterRule,
    audit_rate_ppm: int,
    workers_min: int,
    workers_max: int,
    economy: Economy,
    timing: Timing,
) -> tuple[Manifest, dict[bytes, bytes]]:
    """Return a manifest without initial state, and the blobs of its graphs and optimizer state by digest.

    The arguments are the manifest's fields; nothing is checked here beyond their types.
    """
    blobs: dict[bytes, bytes] = {}
    manifest = Manifest(
        version=MANIFEST_VERSION,
        semantics_id=semantics_id(),
        model=model,
        task=task,
        step_graph=_add(blobs, graph_to_bytes(graphs.step)),
        predict_graph=_add(blobs, graph_to_bytes(graphs.predict)),
        parameters=tuple(TensorSpec(name, "f32", shape) for name, shape in graphs.parameters.items()),
        optimizer_state=_specs(graphs.optimizer_init),
        optimizer_init=_optimizer_blob(blobs, graphs),
        seed=seed,
        initial_root=EMPTY_BLOB.digest,
        initial_state=EMPTY_BLOB,
        data=data,
        batch=batch,
        inner_steps=inner_steps,
        outer_steps=outer_steps,
        outer=outer,
        codec="f32",
        audit_rate_ppm=audit_rate_ppm,
        workers_min=workers_min,
        workers_max=workers_max,
        economy=economy,
        timing=timing,
    )
    return manifest, blobs


def _specs(tensors: dict[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, dtype_name(array), array.shape) for name, array in tensors.items())


def _optimizer_blob(blobs: dict[bytes, bytes], graphs: JobGraphs) -> BlobRef:
    """An optimizer without state has an empty blob, which nobody needs to fetch."""
    data = b"".join(canonical_bytes(array) for array in graphs.optimizer_init.values())
    return _add(blobs, data) if data else BlobRef(blob_digest(data), 0)


def _add(blobs: dict[bytes, bytes], data: bytes) -> BlobRef:
    digest = blob_digest(data)
    blobs[digest] = data
    return BlobRef(digest, len(data))
