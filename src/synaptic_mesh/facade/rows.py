"""Data of other libraries as tensors of rows, without a copy where the memory already fits.

What is taken: NumPy arrays, nested lists, pandas and polars frames and series, Arrow tables and arrays, everything
with `__dlpack__` (torch, jax) or `__array__`. No library is imported here: an object is asked what it can do. An f32
array in row-major order is used as it lies; everything else is converted once.
"""

import math
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError


class Rows(msgspec.Struct, frozen=True, eq=False):
    """values: (rows, ...) f32, finite. columns: names, if the data had any."""

    values: F32
    columns: tuple[str, ...] | None = None


def as_rows(data: Any, name: str = "X") -> Rows:
    """Return finite f32 rows. Raises LocalError naming row and column of the first value that is not a number."""
    if type(data) is np.ndarray and data.dtype == np.float32 and data.flags.c_contiguous and data.ndim and data.size:
        check_finite(data, name)  # as it is: the shortest way, for who asks about one row at a time
        return Rows(data)
    columns = column_names(data)
    raw = as_array(data, name)
    if raw.ndim == 0:
        raise LocalError(
            f"{name} of type {type(data).__name__} holds no rows; give lists, an array, a frame or a table "
            f"(list({name}) of a generator, {name}.toarray() of a sparse matrix)"
        )
    if not len(raw):
        raise LocalError(f"{name} of shape {raw.shape} holds no rows")
    if 0 in raw.shape:
        raise LocalError(f"{name} of shape {raw.shape} holds no features")
    values = as_f32(raw, name, columns)
    check_finite(values, name, columns)
    return Rows(values, columns)


def as_array(data: Any, name: str) -> Array:
    """Return the object's values as a NumPy array of any dtype, sharing memory where it can. Raises LocalError."""
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise LocalError(f"{name} has masked values; fill in or leave out missing values")
    if isinstance(data, np.ndarray):
        return np.asarray(data)
    try:
        if hasattr(data, "column_names") and hasattr(data, "column"):  # an Arrow table or record batch
            return np.column_stack([np.asarray(data.column(i)) for i in range(len(data.column_names))])
        if hasattr(data, "null_count") and hasattr(data, "__array__"):  # an Arrow array
            if data.null_count:
                raise LocalError(f"{name} has {data.null_count} missing values; fill in or leave out missing values")
            return np.asarray(data)
        if hasattr(data, "to_numpy"):  # pandas and polars
            return np.asarray(data.to_numpy())
        if hasattr(data, "__dlpack__"):
            return np.from_dlpack(data)
        return np.asarray(data)
    except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as error:
        raise LocalError(f"{name} of type {type(data).__name__} cannot be read as rows: {error}") from None


def as_f32(raw: Array, name: str, columns: tuple[str, ...] | None = None) -> F32:
    """Return the array as row-major f32: itself when it is that already. Raises LocalError for text and objects."""
    if raw.dtype.kind not in "fiub":
        raw = _numbers(raw, name, columns)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(raw, dtype=np.float32)


def check_finite(values: F32, name: str, columns: tuple[str, ...] | None = None) -> None:
    """Raise LocalError naming the first value that is not finite."""
    if math.isfinite(np.vdot(values, values)) or np.isfinite(values).all():  # squares of finite values may overflow
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
    raise LocalError(
        f"{name} {_where(place, columns)} is {values[place]}; fill in or leave out missing values, and scale "
        "those beyond 32-bit floats"
    )


def column_names(data: Any) -> tuple[str, ...] | None:
    """Return the names of a frame's or table's columns, or None."""
    names = getattr(data, "column_names", None)
    if names is None and hasattr(data, "to_numpy"):
        names = getattr(data, "columns", None)
    return None if names is None else tuple(str(name) for name in names)


def check_columns(found: tuple[str, ...] | None, expected: tuple[str, ...] | None) -> None:
    """Raise LocalError when rows with names have other columns, or another order, than those of training."""
    if found is None or expected is None or found == expected:
        return
    missing = [name for name in expected if name not in found]
    if missing:
        raise LocalError(
            f"X lacks column {missing[0]!r}, which the model was trained with; it has {', '.join(found[:12])}"
        )
    at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(expected))
    have = found[at] if at < len(found) else "nothing"
    want = expected[at] if at < len(expected) else "nothing"
    raise LocalError(f"column {at + 1} of X is {have!r}, the model was trained with {want!r} there")


def _numbers(raw: Array, name: str, columns: tuple[str, ...] | None) -> Array:
    """Objects that are numbers after all, as frames of mixed types give them."""
    if raw.dtype.kind == "c":
        raise LocalError(f"{name} holds complex numbers ({raw.dtype}); give their parts as columns")
    if raw.dtype.kind in "mM":
        raise LocalError(f"{name} holds times ({raw.dtype}), whose unit is not a scale; turn them into numbers first")
    try:
        return raw.astype(np.float64)
    except (TypeError, ValueError):
        pass
    for place in np.ndindex(raw.shape):
        try:
            float(raw[place])
        except (TypeError, ValueError):
            raise LocalError(
                f"{name} {_where(place, columns)} is {str(raw[place])[:40]!r}, which is not a number; encode text as "
                "numbers first"
            ) from None
    raise LocalError(f"{name} has dtype {raw.dtype}, which holds no numbers")


def _where(place: tuple[int, ...], columns: tuple[str, ...] | None) -> str:
    row = f"row {place[0] + 1}"
    if len(place) == 2 and columns is not None and place[1] < len(columns):
        return f"{row}, column {columns[place[1]]!r},"
    return row if len(place) < 2 else f"{row}, position {tuple(i + 1 for i in place[1:])},"
