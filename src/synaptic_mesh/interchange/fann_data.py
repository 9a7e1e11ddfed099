"""Training data of FANN (libfann 2.2, fann_read_train_from_file): numbers separated by blanks and line ends.

rows inputs outputs
the inputs of row 1
the outputs of row 1
...
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.training.table import decode_text, read_file

VALUES_MAX = 1 << 26
HEADER_VALUES = 3


class FannData(msgspec.Struct, frozen=True, eq=False):
    """x: (rows, inputs) f32; y: (rows, outputs) f32."""

    x: F32
    y: F32


def read_fann_data(path: Path | str) -> FannData:
    """Return the data of a .data file. Raises LocalError naming line and value."""
    if not isinstance(path, str | Path):
        raise LocalError(f"the path is {type(path).__name__}; give text or a pathlib.Path")
    path = Path(path)
    return parse_fann_data(decode_text(read_file(path), path.name), path.name)


def parse_fann_data(text: str, source: str) -> FannData:
    """Return the data that `text` holds; `source` names it in messages. Raises LocalError."""
    words = text.split()
    header = words[:HEADER_VALUES]
    if len(header) < HEADER_VALUES or not all(word.isascii() and word.isdecimal() for word in header):
        raise LocalError(f"{source} begins with {' '.join(header)!r}; a FANN data file begins with ROWS INPUTS OUTPUTS")
    rows, inputs, outputs = (int(word) for word in header)
    expected = rows * (inputs + outputs)
    if not (rows and inputs and outputs) or expected > VALUES_MAX:
        raise LocalError(f"{source}: {rows} rows of {inputs} + {outputs} values must be 1 to {VALUES_MAX} values")
    if len(words) - HEADER_VALUES != expected:
        raise LocalError(
            f"{source} holds {len(words) - HEADER_VALUES} values; its header promises {rows} rows of "
            f"{inputs} + {outputs}, which are {expected}"
        )
    try:
        values = np.array(words[HEADER_VALUES:], dtype=np.float64)
    except ValueError:
        _refuse_word(text, source)
        raise
    with np.errstate(over="ignore"):
        table = values.astype(np.float32).reshape(rows, inputs + outputs)
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise LocalError(f"{source}: value {column + 1} of row {row + 1} is not a finite 32-bit float")
    return FannData(np.ascontiguousarray(table[:, :inputs]), np.ascontiguousarray(table[:, inputs:]))


def write_fann_data(path: Path | str, x: Any, y: Any) -> None:
    """Write rows as libfann reads them. Raises LocalError for shapes or values that do not fit, ResourceError."""
    x, y = _finite(x, "x"), _finite(y, "y")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or 0 in (*x.shape, *y.shape):
        raise LocalError(f"FANN data take x (rows, inputs) and y (rows, outputs), not {x.shape} and {y.shape}")
    lines = [f"{len(x)} {x.shape[1]} {y.shape[1]}"]
    for inputs, outputs in zip(x, y, strict=True):
        lines += [" ".join(f"{float(v):.9g}" for v in inputs), " ".join(f"{float(v):.9g}" for v in outputs)]
    write_text(Path(path), "\n".join(lines) + "\n")


def _finite(values: Any, name: str) -> F32:
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise LocalError(f"{name} of FANN data holds no numbers: {error}") from None
    if not np.isfinite(found).all():
        place = ", ".join(str(i + 1) for i in np.argwhere(~np.isfinite(found))[0])
        raise LocalError(f"{name} of FANN data has no finite 32-bit float at ({place}), counted from 1")
    return found


def write_text(path: Path, text: str) -> None:
    """Write a small text file. Raises ResourceError."""
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror}") from None


def _refuse_word(text: str, source: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split():
            try:
                float(word)
            except ValueError:
                raise LocalError(f"{source} line {number}: {word[:40]!r} is not a number") from None
