"""Putting a job together: graphs, data and terms become a manifest and the blobs that go with it."""

import msgspec

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.collab.admission import check_job
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.collab.tensors import encode_tensors
from synaptic_mesh.engine.serialize import graph_to_bytes
from synaptic_mesh.ledger.admission import MANIFEST_VERSION
from synaptic_mesh.ledger.manifest import (
    BlobRef,
    DataManifest,
    Economy,
    Manifest,
    OuterRule,
    TensorSpec,
    Timing,
)
from synaptic_mesh.models.graphs import JobGraphs


class JobTerms(msgspec.Struct, frozen=True):
    """What the sponsor decides beside model and data. Fields mean what they mean in `ledger.manifest.Manifest`."""

    semantics_id: bytes
    model: str
    task: str
    seed: int
    batch: int
    inner_steps: int
    outer_steps: int
    outer: OuterRule
    audit_rate_ppm: int
    workers_min: int
    workers_max: int
    economy: Economy
    timing: Timing
    codec: str = "f32"


def propose_job(graphs: JobGraphs, data: DataManifest, terms: JobTerms) -> tuple[Manifest, dict[Digest, bytes]]:
    """Return the manifest and its blobs by digest, those of the data excepted.

    Raises LocalError, naming the value, when graphs, data and terms do not fit together.
    """
    blobs: dict[Digest, bytes] = {}
    optimizer_specs = tuple(
        TensorSpec(name, "f32", tuple(array.shape)) for name, array in graphs.optimizer_init.items()
    )
    draft = Manifest(
        version=MANIFEST_VERSION,
        step_graph=_add(blobs, graph_to_bytes(graphs.step)),
        predict_graph=_add(blobs, graph_to_bytes(graphs.predict)),
        parameters=tuple(TensorSpec(name, "f32", shape) for name, shape in graphs.parameters.items()),
        optimizer_state=optimizer_specs,
        optimizer_init=_add(blobs, encode_tensors(optimizer_specs, graphs.optimizer_init)),
        initial_root=b"",
        initial_state=BlobRef(b"", 0),
        data=data,
        **msgspec.structs.asdict(terms),
    )
    check_job(draft, graphs.step, graphs.predict)
    manifest, state = with_initial_state(draft)
    _add(blobs, state)
    return manifest, blobs


def _add(blobs: dict[Digest, bytes], data: bytes) -> BlobRef:
    digest = blob_digest(data)
    blobs[digest] = data
    return BlobRef(digest, len(data))
