"""Tensors as canonical values: logical row-major little-endian bytes, NaN as 0x7fc00000.

NaN payloads differ between CPUs, so they are removed here, where a tensor becomes bytes, and nowhere in a kernel.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import Digest

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]
CANONICAL_NAN_BITS = 0x7FC00000
DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "i32": np.dtype("<i4"),
    "u32": np.dtype("<u4"),
    "u8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(array: Array) -> str:
    """Return "f32", "i32", "u32" or "u8"; raises TypeError for any other dtype."""
    try:
        return _NAMES[array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype]
    except KeyError:
        raise TypeError(f"tensors are f32, i32, u32 or u8, not {array.dtype}") from None


def canonical_bytes(array: Array) -> bytes:
    """Return the logical row-major little-endian bytes of a tensor, every NaN as 0x7fc00000."""
    name = dtype_name(array)
    flat = np.ascontiguousarray(array, dtype=DTYPES[name])
    if name == "f32" and np.isnan(flat).any():
        bits = flat.view(np.uint32).copy()
        bits[np.isnan(flat)] = CANONICAL_NAN_BITS
        return bits.tobytes()
    return flat.tobytes()


def array_digest(array: Array) -> Digest:
    """Return the digest of a tensor: dtype, shape and canonical bytes."""
    shape = struct.pack(f"<{array.ndim + 1}Q", array.ndim, *array.shape)
    return hash_bytes("SM/tensor/" + dtype_name(array), shape, canonical_bytes(array))


def from_canonical_untrusted(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return the tensor that `data` encodes (a copy, writable).

    Raises PeerError when the length does not fit the shape, or a NaN is not canonical.
    """
    kind = DTYPES.get(dtype)
    if kind is None:
        raise PeerError(f"unknown dtype {dtype!r}")
    count = 1
    for extent in shape:
        count *= extent
    if len(data) != count * kind.itemsize:
        raise PeerError(f"{len(data)} bytes do not hold a {dtype} tensor of shape {shape}")
    array = np.frombuffer(data, dtype=kind).reshape(shape).copy()
    if dtype == "f32" and canonical_bytes(array) != bytes(data):
        raise PeerError("a NaN is not in canonical form")
    return array
