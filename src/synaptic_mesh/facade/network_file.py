"""Fitted models on disk: one safetensors file with the values, and in its metadata what else a Model is.

The description lies under METADATA_KEY as JSON, and under DIGEST_KEY a BLAKE3 over it and the values, so damage is
noticed. A network of layers is in the file; one that is a Python function is not, because files are never executed.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from blake3 import blake3

from synaptic_mesh.base.arrays import F32, Array, canonical_bytes, dtype_name
from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.optimizers import Optimizer
from synaptic_mesh.facade.model import Model
from synaptic_mesh.facade.optimizer_text import decode_optimizer, encode_optimizer
from synaptic_mesh.models.layers.sequential import decode_network, encode_network
from synaptic_mesh.models.scope import Network
from synaptic_mesh.training.safetensors import decode_safetensors_untrusted, encode_safetensors

SCHEMA = "synaptic-mesh/network/1"
METADATA_KEY = "synaptic_mesh_network"
DIGEST_KEY = "blake3"
FILE_NAME = "network.safetensors"
"""The model's file when a directory is named."""
FILE_BYTES_MAX = 1 << 30


class Integers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An integer tensor of the values, which the container does not hold."""

    dtype: str
    shape: list[int]
    values: list[int]


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says beside the f32 values."""

    schema: str
    network: str | None
    loss: str
    optimizer: str | None
    metrics: list[str]
    seed: int
    row: list[int]
    classes: list[Any] | None
    class_dtype: str
    columns: list[str] | None
    epochs_done: int
    integers: dict[str, Integers]


def save_model(model: Model, path: Path) -> Path:
    """Write a .safetensors file, or FILE_NAME in a directory; return its path. Raises LocalError before the first fit
    without input_shape, ResourceError when it cannot be written. The old file stays until the new one is whole."""
    if not model.session.is_begun:
        raise LocalError("the model has no parameters yet: fit it, or give input_shape=, before saving")
    values = model.session.values()
    floats: dict[str, F32] = {name: value for name, value in values.items() if value.dtype == np.float32}
    integers = {
        name: Integers(dtype_name(value), list(value.shape), [int(v) for v in value.reshape(-1)])
        for name, value in values.items()
        if name not in floats
    }
    text = msgspec.json.encode(_describe(model, integers)).decode()
    data = encode_safetensors(floats, {METADATA_KEY: text, DIGEST_KEY: _digest(text, floats)})
    file = path if path.suffix == ".safetensors" else path / FILE_NAME
    temporary = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot write model {file}: {error.strerror}") from None
    return file


def load_saved_model(
    path: Path, network: Network | None, backend: str | Backend, optimizer: str | Optimizer | None = None
) -> Model:
    """Return the model of a file. Raises LocalError: unreadable, damaged, or a network or optimizer that it lacks."""
    file = path if path.suffix == ".safetensors" else path / FILE_NAME
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise LocalError(f"model {file} is over {FILE_BYTES_MAX} bytes; it was not written by this program")
        data = file.read_bytes()
    except OSError as error:
        raise LocalError(f"cannot read model {file}: {error.strerror}") from None
    try:
        floats, description = _decode_untrusted(data)
    except PeerError as error:
        raise LocalError(f"model {file} is damaged or not one that Model.save wrote: {error}") from None
    return _restore(file, description, floats, network, backend, optimizer)


def _decode_untrusted(data: bytes) -> tuple[dict[str, F32], Description]:
    floats, metadata = decode_safetensors_untrusted(data)
    if METADATA_KEY not in metadata:
        raise PeerError("it holds tensors but no description of a network")
    if metadata.get(DIGEST_KEY) != _digest(metadata[METADATA_KEY], floats):
        raise PeerError("its content does not have the digest that it states")
    try:
        description = msgspec.json.decode(metadata[METADATA_KEY], type=Description)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise PeerError(f"its description cannot be read: {error}") from None
    if description.schema != SCHEMA:
        raise PeerError(f"its schema is {description.schema!r}, this program reads {SCHEMA!r}")
    return floats, description


def _restore(
    file: Path,
    description: Description,
    floats: dict[str, F32],
    network: Network | None,
    backend: str | Backend,
    optimizer: str | Optimizer | None,
) -> Model:
    if network is None:
        if description.network is None:
            raise LocalError(f"the network of {file} is a Python function, which files do not hold: pass network=")
        network = decode_network(description.network)
    if optimizer is None:
        if description.optimizer is None:
            raise LocalError(f"the optimizer of {file} is not one of ours: pass optimizer=")
        optimizer = decode_optimizer(description.optimizer)
    model = Model(
        network,
        loss=description.loss,
        optimizer=optimizer,
        metrics=description.metrics,
        seed=description.seed,
        backend=backend,
    )
    values: dict[str, Array] = dict(floats)
    values |= {
        name: np.array(i.values, i.dtype.replace("u32", "<u4").replace("i32", "<i4")).reshape(i.shape)
        for name, i in description.integers.items()
    }
    model.session.begin(tuple(description.row), values)
    _check_shapes(file, model, values)
    if description.classes is not None:
        model.classes_ = np.array(description.classes, description.class_dtype)
    model.columns = None if description.columns is None else tuple(description.columns)
    model.epochs_done = description.epochs_done
    return model


def _check_shapes(file: Path, model: Model, values: dict[str, Array]) -> None:
    shape = model.session.shape
    needed = {} if shape is None else {name: parameter.shape for name, parameter in shape.parameters.items()}
    for name, wanted in needed.items():
        found = values[name].shape if name in values else None
        if found != wanted:
            raise LocalError(f"model {file}: parameter {name!r} has shape {found}, the network needs {wanted}")


def _describe(model: Model, integers: dict[str, Integers]) -> Description:
    classes = model.classes_
    _check_labels(classes)
    return Description(
        schema=SCHEMA,
        network=encode_network(model.network),
        loss=model.loss.name,
        optimizer=encode_optimizer(model.session.optimizer),
        metrics=list(model.session.metrics),
        seed=model.seed,
        row=list(model.session.row),
        classes=None if classes is None else classes.tolist(),
        class_dtype="" if classes is None else classes.dtype.str,
        columns=None if model.columns is None else list(model.columns),
        epochs_done=model.epochs_done,
        integers=integers,
    )


def _check_labels(classes: Array | None) -> None:
    """Raise LocalError for labels that JSON would not give back as they are."""
    if classes is None or classes.dtype.kind in "biufUM":
        return
    for label in classes.tolist():
        if classes.dtype.kind != "O" or type(label) not in (str, int, float, bool):
            raise LocalError(
                f"label {label!r} of type {type(label).__name__} cannot be saved; train with labels that are text or "
                "numbers"
            )


def _digest(text: str, floats: dict[str, F32]) -> str:
    hasher = blake3(text.encode())
    for name, tensor in floats.items():
        hasher.update(name.encode())
        hasher.update(canonical_bytes(tensor))
    return hasher.hexdigest()
