"""The bundled data set: UCI "Optical Recognition of Handwritten Digits", 1,797 images of 8 x 8 pixels.

E. Alpaydin, C. Kaynak (1998), doi:10.24432/C50P49, CC BY 4.0; attribution stands beside the file in `data/README.md`.
"""

import zlib
from importlib import resources

import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.prepared import ClassTarget, NumericColumn, Prepared, f32_bits

DIGITS_ROWS = 1797
DIGITS_SIDE = 8
DIGITS_CLASSES = 10
DIGITS_DIGEST = bytes.fromhex("112d3db595b93626c22ec25ae4d78ce54f1a88dbdc1a1efa16b7d418a0f0e0d0")
"""BLAKE3 of the decompressed file."""
_PIXELS = DIGITS_SIDE * DIGITS_SIDE
_BYTES = DIGITS_ROWS * (_PIXELS + 1)
_GZIP = 31
"""zlib's window argument for a gzip stream."""


def load_digits() -> Examples:
    """Return the data set: x (1797, 64) f32 with values 0..16, labels (1797,) i32, fixed scaling x / 16.

    The scaling is a power of two, so it is exact. Raises LocalError when the installed file is damaged.
    """
    raw = decode_digits(resources.files("synaptic_mesh.training").joinpath("data/digits.u8.gz").read_bytes())
    values = np.frombuffer(raw, dtype=np.uint8)
    images = values[: DIGITS_ROWS * _PIXELS].reshape(DIGITS_ROWS, _PIXELS)
    x: F32 = images.astype(np.float32)
    labels = values[DIGITS_ROWS * _PIXELS :].astype(np.int32)
    return Examples(name="digits", prepared=digits_prepared(), x=x, y=labels, scaling_fixed=True)


def digits_prepared() -> Prepared:
    """Return how digit rows become tensors: columns pixel_ROW_COLUMN, divided by 16; classes "0".."9"."""
    scale = f32_bits(1 / 16)
    names = (f"pixel_{row}_{column}" for row in range(DIGITS_SIDE) for column in range(DIGITS_SIDE))
    columns = tuple(NumericColumn(name, 0, scale) for name in names)
    return Prepared(columns, ClassTarget("digit", tuple(str(label) for label in range(DIGITS_CLASSES))))


def decode_digits(compressed: bytes) -> bytes:
    """Decompress the file and check it against DIGITS_DIGEST. Raises LocalError."""
    inflater = zlib.decompressobj(wbits=_GZIP)
    try:
        raw = inflater.decompress(compressed, _BYTES + 1)
    except zlib.error:
        raw = b""
    if blob_digest(raw) != DIGITS_DIGEST:
        raise LocalError("the bundled digits file is damaged; install synaptic-mesh again")
    return raw
