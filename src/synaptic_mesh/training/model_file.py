"""Models on disk: one safetensors file that holds everything, and beside it the same manifest as readable JSON.

The manifest lies in the container's metadata under METADATA_KEY, so a copied file is still a whole model, and replacing
the file is atomic. Beside it, under DIGEST_KEY, stands a BLAKE3 over manifest and parameters: damage is noticed. It
proves no origin: that is what the run record is for. The .json copy is for people; nothing reads it.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from blake3 import blake3

from synaptic_mesh.base.arrays import F32, canonical_bytes
from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.training.model import Provenance, TrainedModel, check_model
from synaptic_mesh.training.prepared import ClassTarget, decode_prepared_untrusted, encode_prepared
from synaptic_mesh.training.safetensors import decode_safetensors_untrusted, encode_safetensors

SCHEMA = "synaptic-mesh/model/1"
METADATA_KEY = "synaptic_mesh"
DIGEST_KEY = "blake3"
FILE_NAME = "model.safetensors"
"""The model's file when a directory is named."""
FILE_BYTES_MAX = 1 << 30


class ModelManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form. `audit`, `columns` and `classes` repeat for people what other fields say to machines."""

    schema: str
    model: str
    task: str
    audit: str
    """"audited", or "unaudited": nobody but the trainer re-executed the updates."""
    target: list[str]
    classes: list[str]
    columns: list[str]
    prepared: str
    """Base64 of the canonical record."""
    provenance: Provenance


def model_manifest(model: TrainedModel) -> ModelManifest:
    """Return the manifest of a model."""
    target = model.prepared.target
    return ModelManifest(
        schema=SCHEMA,
        model=model.spec,
        task=model.prepared.task,
        audit=model.provenance.audit_label,
        target=list(model.prepared.target_names),
        classes=list(target.classes) if isinstance(target, ClassTarget) else [],
        columns=[column.name for column in model.prepared.columns],
        prepared=base64.b64encode(encode_prepared(model.prepared)).decode(),
        provenance=model.provenance,
    )


def encode_model(model: TrainedModel) -> bytes:
    """Return the bytes of the model's file; equal models give equal bytes. Raises LocalError if parts do not fit."""
    check_model(model)
    text = msgspec.json.encode(model_manifest(model)).decode()
    return encode_safetensors(model.parameters, {METADATA_KEY: text, DIGEST_KEY: _digest(text, model.parameters)})


def decode_model_untrusted(data: bytes) -> TrainedModel:
    """Return the model that a file holds. Raises PeerError when any part is damaged or does not fit the others."""
    tensors, metadata = decode_safetensors_untrusted(data)
    if METADATA_KEY not in metadata:
        raise PeerError("the file holds tensors but no model manifest")
    if metadata.get(DIGEST_KEY) != _digest(metadata[METADATA_KEY], tensors):
        raise PeerError("its content does not have the digest that it states")
    try:
        manifest = msgspec.json.decode(metadata[METADATA_KEY], type=ModelManifest)
        prepared = decode_prepared_untrusted(base64.b64decode(manifest.prepared, validate=True))
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise PeerError(f"its manifest cannot be read: {error}") from None
    if manifest.schema != SCHEMA:
        raise PeerError(f"its schema is {manifest.schema!r}, this program reads {SCHEMA!r}")
    model = TrainedModel(manifest.model, prepared, tensors, manifest.provenance)
    try:
        check_model(model)
        expected = model_manifest(model)
    except LocalError as error:
        raise PeerError(str(error)) from None
    if manifest != expected:
        raise PeerError("its manifest contradicts its record of the columns")
    return model


def save_model(model: TrainedModel, path: Path) -> Path:
    """Write the model's file and its readable manifest; return the file's path.

    `path` is a .safetensors file or a directory, made if need be. Either the old or the new file is there whatever
    happens. Raises ResourceError when it cannot be written.
    """
    file = model_path(path)
    data = encode_model(model)
    readable = msgspec.json.format(msgspec.json.encode(model_manifest(model)), indent=2) + b"\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, data)
        _replace(file.with_suffix(".json"), readable)
    except OSError as error:
        raise ResourceError(
            f"cannot write model {file}: {error.strerror}; free space or choose another place"
        ) from None
    return file


def load_model(path: Path) -> TrainedModel:
    """Return the model in a .safetensors file, or in FILE_NAME of a directory. Raises LocalError in one sentence."""
    file = model_path(path)
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise LocalError(f"model {file} is over {FILE_BYTES_MAX} bytes; it was not written by this program")
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LocalError(
            f"cannot read model {file}: {reason}; name a .safetensors file or the directory it lies in"
        ) from None
    try:
        return decode_model_untrusted(data)
    except PeerError as error:
        raise LocalError(
            f"model {file} is damaged or not a model: {error}; train it again or restore the file"
        ) from None


def model_path(path: Path) -> Path:
    """Return the file that `path` means: itself if it ends in .safetensors, else FILE_NAME inside it."""
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def _digest(manifest_text: str, parameters: Mapping[str, F32]) -> str:
    """BLAKE3 over the manifest's text and the parameters' canonical bytes, in the order of the file."""
    hasher = blake3(manifest_text.encode())
    for tensor in parameters.values():
        hasher.update(canonical_bytes(tensor))
    return hasher.hexdigest()


def _replace(path: Path, data: bytes) -> None:
    """Write through a temporary neighbour and a rename, flushed to the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
