"""A finished run on disk: record, blobs and model in one directory that a stranger can verify and use.

record             the run record (collab/record.py)
blobs/<hex>        every blob it names
model.safetensors  the trained model, with a readable model.json beside it
"""

from collections.abc import Callable
from pathlib import Path

from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import DIGEST_BYTES
from synaptic_mesh.collab.record import (
    RECORD_BYTES_MAX,
    RunRecord,
    decode_record_untrusted,
    encode_record,
    list_blobs,
)
from synaptic_mesh.collab.state import decode_state_untrusted
from synaptic_mesh.ledger.genesis import genesis_committee, load_genesis_untrusted, network_id
from synaptic_mesh.node.directory import read_file
from synaptic_mesh.node.journal import float_of_bits
from synaptic_mesh.training.model import HeldOutMetrics, Provenance, TrainedModel
from synaptic_mesh.training.model_file import save_model
from synaptic_mesh.training.prepared import decode_prepared_untrusted

RECORD_NAME = "record"
BLOBS_NAME = "blobs"
BLOB_BYTES_MAX = 1 << 30

GetBlob = Callable[[bytes], bytes]


def write_run(directory: Path, record: RunRecord, get_blob: GetBlob) -> Path:
    """Write record, blobs and model; return the model's path. The record comes last: without it there is no run."""
    blobs = directory / BLOBS_NAME
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        for blob in list_blobs(record):
            (blobs / blob.digest.hex()).write_bytes(get_blob(blob.digest))
        model = save_model(trained_model(record, get_blob), directory)
        (directory / RECORD_NAME).write_bytes(encode_record(record))
    except OSError as error:
        raise ResourceError(f"cannot write the run to {directory}: {error.strerror}") from None
    return model


def read_run(directory: Path) -> tuple[RunRecord, GetBlob]:
    """Return the record of a run directory and the source of its blobs. Raises LocalError when it is none."""
    path = directory / RECORD_NAME
    if not path.is_file():
        raise LocalError(f"{directory} is not a run directory: it has no file {RECORD_NAME!r}")
    try:
        record = decode_record_untrusted(read_file(path, RECORD_BYTES_MAX))
    except PeerError as error:
        raise LocalError(f"{path}: {error}") from None
    return record, blob_files(directory / BLOBS_NAME)


def blob_files(directory: Path) -> GetBlob:
    """Return a source of blobs from files named by their digest. It checks nothing: readers check digests."""

    def get(digest: bytes) -> bytes:
        if len(digest) != DIGEST_BYTES:
            raise PeerError(f"a blob is named by {len(digest)} bytes instead of {DIGEST_BYTES}")
        return read_file(directory / digest.hex(), BLOB_BYTES_MAX)

    return get


def trained_model(record: RunRecord, get_blob: GetBlob) -> TrainedModel:
    """Return the model of the record's last committed root. Raises LocalError when no outer step has committed."""
    if not record.steps:
        raise LocalError("the run committed no outer step, so there is no model")
    manifest, last = record.manifest, record.steps[-1].committed
    state = decode_state_untrusted(manifest, get_blob(last.state.digest))
    genesis = load_genesis_untrusted(record.genesis)
    validators = genesis_committee(genesis).size
    correct, rows, loss_bits = last.metrics
    measured = (
        f"agreed on by {len(last.voters)} of {validators} validators at the last root"
        if manifest.audit_rate_ppm
        else "computed by the only node, at the last root"
    )
    provenance = Provenance(
        semantics_id=manifest.semantics_id.hex(),
        network=network_id(genesis).hex(),
        job=record.job.hex(),
        root=last.root.hex(),
        data=manifest.data.name,
        seed=manifest.seed,
        outer_steps=len(record.steps),
        audited=bool(manifest.audit_rate_ppm),
        metrics=HeldOutMetrics(rows, correct, float_of_bits(loss_bits), measured),
    )
    prepared = decode_prepared_untrusted(manifest.data.prepared)
    return TrainedModel(manifest.model, prepared, dict(state.parameters), provenance)


def new_run_directory(parent: Path, verb: str) -> Path:
    """Return a directory below `parent` that does not exist yet: verb-1, verb-2, ..."""
    for number in range(1, 1_000_000):
        directory = parent / f"{verb}-{number}"
        if not directory.exists():
            return directory
    raise LocalError(f"{parent} holds a million runs: remove some")


def claim_directory(directory: Path) -> None:
    """Create a run directory. Raises LocalError when it exists and is not empty."""
    try:
        if directory.exists() and any(directory.iterdir()):
            raise LocalError(f"{directory} is not empty: choose another --run directory")
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot create {directory}: {error.strerror}") from None
