"""The safetensors container: a JSON header, then the tensors' bytes. Read with bounds and without trust.

    length of header (u64, little-endian) || header (JSON, padded with blanks to 8 bytes) || data
    header: {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}}

The format is Hugging Face's, version 0.4 (github.com/huggingface/safetensors). Written here because its library orders
metadata at random, and equal models are to be equal files. Only f32 tensors are read and written.
"""

import json
import math
from collections.abc import Mapping

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, canonical_bytes, from_canonical_untrusted
from synaptic_mesh.base.errors import PeerError

HEADER_BYTES_MAX = 16 << 20
TENSORS_MAX = 4096
RANK_MAX = 8
ELEMENTS_MAX = 1 << 28
METADATA = "__metadata__"
_LENGTH_BYTES = 8
_ALIGNMENT = 8


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def encode_safetensors(tensors: Mapping[str, F32], metadata: Mapping[str, str]) -> bytes:
    """Return the file: tensors in the given order, metadata sorted. Equal arguments give equal bytes."""
    header: dict[str, object] = {METADATA: dict(sorted(metadata.items()))}
    parts: list[bytes] = []
    at = 0
    for name, tensor in tensors.items():
        parts.append(canonical_bytes(tensor))
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + b"".join(parts)


def decode_safetensors_untrusted(data: bytes) -> tuple[dict[str, F32], dict[str, str]]:
    """Return (tensors in the order of their data, metadata).

    Raises PeerError: truncated, a header that is no such JSON or over its bounds, another dtype than F32, tensors that
    overlap or leave gaps, a NaN that is not canonical.
    """
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or size > min(HEADER_BYTES_MAX, len(data) - _LENGTH_BYTES):
        raise PeerError(f"{len(data)} bytes are no safetensors file")
    entries, metadata = _decode_header(data[_LENGTH_BYTES : _LENGTH_BYTES + size])
    body = memoryview(data)[_LENGTH_BYTES + size :]
    tensors: dict[str, F32] = {}
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        shape = _check_shape(name, entry)
        begin, end = entry.data_offsets
        if begin != at or end < begin or end > len(body):
            raise PeerError(f"tensor {name!r} lies at {begin}..{end}, expected from {at} within {len(body)} bytes")
        tensors[name] = from_canonical_untrusted(body[begin:end], "f32", shape).astype(np.float32)
        at = end
    if at != len(body):
        raise PeerError(f"{len(body) - at} bytes follow the last tensor")
    return tensors, metadata


def _decode_header(text: bytes) -> tuple[dict[str, _Entry], dict[str, str]]:
    try:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(raw.pop(METADATA, msgspec.Raw(b"{}")), type=dict[str, str])
        entries = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in raw.items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PeerError(f"the header cannot be read: {error}") from None
    if len(entries) > TENSORS_MAX:
        raise PeerError(f"{len(entries)} tensors are over {TENSORS_MAX}")
    return entries, metadata


def _check_shape(name: str, entry: _Entry) -> tuple[int, ...]:
    if entry.dtype != "F32":
        raise PeerError(f"tensor {name!r} has dtype {entry.dtype}, only F32 is read")
    if len(entry.shape) > RANK_MAX or any(extent < 0 for extent in entry.shape):
        raise PeerError(f"tensor {name!r} has the shape {entry.shape[:RANK_MAX]}")
    if math.prod(entry.shape) > ELEMENTS_MAX:
        raise PeerError(f"tensor {name!r} has over {ELEMENTS_MAX} elements")
    return tuple(entry.shape)
