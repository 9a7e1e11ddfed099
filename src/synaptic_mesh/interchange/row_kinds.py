"""Inputs of foreign models that are not floats. Rows travel as f32; here stands what an integer or a bool may be."""

import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor

WHOLE_MAX = 1 << 24
"""f32 holds every integer up to here."""
LIMITS: dict[str, tuple[int, int]] = {
    "bool": (0, 1),
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    **dict.fromkeys(("int32", "int64"), (-WHOLE_MAX, WHOLE_MAX)),
    **dict.fromkeys(("uint32", "uint64"), (0, WHOLE_MAX)),
}
"""NumPy's name of a type -> what rows for it may hold."""


def enter(x: Tensor, kind: str) -> Tensor:
    """Return f32 rows as the type of the input: floats as they are, all others as i32 (u32 for uint32)."""
    if kind not in LIMITS:
        return x
    whole = x.convert(DType.I32)
    return whole.bitcast(DType.U32) if kind == "uint32" else whole


def check_whole(rows: F32, kind: str, name: str) -> None:
    """Raise LocalError naming the first value that an input of this type does not take."""
    if kind not in LIMITS:
        return
    low, high = LIMITS[kind]
    wrong = (rows != np.floor(rows)) | (rows < low) | (rows > high)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise LocalError(
            f"X row {place[0] + 1} holds {rows[place]}; input {name!r} of the model is {kind}, whose rows are whole "
            f"numbers from {low} to {high}"
        )
