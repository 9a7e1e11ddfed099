"""Blobs of tensors: canonical tensors one after the other, nothing between them, as their specifications say."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from synaptic_mesh.base.arrays import DTYPES, Array, canonical_bytes, from_canonical_untrusted
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.ledger.manifest import TensorSpec

TENSORS_PER_BLOB_MAX = 4_096
TENSOR_RANK_MAX = 6
BLOB_BYTES_MAX = 1 << 30
"""Largest blob of tensors that is read at all: the arena limit of a graph from others."""


def tensor_bytes(spec: TensorSpec) -> int:
    """Return the number of bytes of one tensor."""
    return math.prod(spec.shape) * DTYPES[spec.dtype].itemsize


def encode_tensors(specs: Sequence[TensorSpec], tensors: Mapping[str, Array]) -> bytes:
    """Return the blob of `tensors` in the order of `specs`: logical row-major little-endian values."""
    return b"".join(canonical_bytes(tensors[spec.name]) for spec in specs)


def check_specs_untrusted(specs: Sequence[TensorSpec]) -> None:
    """Raise PeerError unless the specifications are few, known, bounded and named apart."""
    if len(specs) > TENSORS_PER_BLOB_MAX:
        raise PeerError(f"{len(specs)} tensors are over the limit of {TENSORS_PER_BLOB_MAX}")
    if len({spec.name for spec in specs}) != len(specs):
        raise PeerError(f"tensor names {[spec.name for spec in specs][:8]} repeat")
    for spec in specs:
        if spec.dtype not in DTYPES:
            raise PeerError(f"tensor {spec.name!r} has dtype {spec.dtype!r}; known are {', '.join(DTYPES)}")
        if len(spec.shape) > TENSOR_RANK_MAX:
            raise PeerError(f"tensor {spec.name!r} has rank {len(spec.shape)}; the largest is {TENSOR_RANK_MAX}")
        if any(extent < 0 for extent in spec.shape):
            raise PeerError(f"tensor {spec.name!r} has shape {spec.shape}; extents are 0 or more")
        if tensor_bytes(spec) > BLOB_BYTES_MAX:
            raise PeerError(f"tensor {spec.name!r} of {tensor_bytes(spec)} bytes is over {BLOB_BYTES_MAX}")


def decode_tensors_untrusted(specs: Sequence[TensorSpec], data: bytes | memoryview) -> dict[str, Array]:
    """Return the tensors that `data` holds, by name (copies, writable).

    Raises PeerError when the length does not fit the specifications or a NaN is not canonical.
    """
    check_specs_untrusted(specs)
    expected = sum(tensor_bytes(spec) for spec in specs)
    if len(data) != expected or expected > BLOB_BYTES_MAX:
        raise PeerError(f"a blob of {len(data)} bytes does not hold the {expected} bytes of its {len(specs)} tensors")
    tensors: dict[str, Array] = {}
    view, at = memoryview(data), 0
    for spec in specs:
        size = tensor_bytes(spec)
        tensors[spec.name] = from_canonical_untrusted(view[at : at + size], spec.dtype, spec.shape)
        at += size
    return tensors


def decode_finite_untrusted(specs: Sequence[TensorSpec], data: bytes | memoryview) -> dict[str, Array]:
    """As `decode_tensors_untrusted`; raises PeerError too when an f32 value is not finite."""
    tensors = decode_tensors_untrusted(specs, data)
    for name, tensor in tensors.items():
        if tensor.dtype == np.float32 and not np.isfinite(tensor).all():
            raise PeerError(f"tensor {name!r} holds a value that is not finite")
    return tensors


def with_rows(specs: Sequence[TensorSpec], rows: int) -> tuple[TensorSpec, ...]:
    """Return the specifications of `rows` rows, given those of one row."""
    return tuple(TensorSpec(spec.name, spec.dtype, (rows, *spec.shape)) for spec in specs)
