"""Labelled arrays from an NPZ file: `x` (rows, features...) and `y` (rows,) or (rows, outputs). No pickles."""

import io
import zipfile
import zlib

import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.examples import CLASSES_GUESS_MAX, Examples, check_classes, check_task
from synaptic_mesh.training.prepared import (
    ONE_BITS,
    OUTPUTS_MAX,
    WIDTH_MAX,
    ClassTarget,
    NumberTarget,
    NumericColumn,
    Prepared,
)
from synaptic_mesh.training.table import ROWS_MAX, list_names

ARRAY_BYTES_MAX = 1 << 30
"""Most bytes of one array after decompression."""
_UNREADABLE = (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError, MemoryError)


def examples_from_npz(data: bytes, source: str, task: str | None = None) -> Examples:
    """Return the labelled rows of an NPZ file. Features beyond the first axis are flattened, row-major.

    Unless `task` is stated, `y` is classes when it holds texts or few different integers (at most CLASSES_GUESS_MAX,
    or one for every 20 rows), else numbers.
    Raises LocalError naming the array, its shape and what to do.
    """
    check_task(task)
    arrays = read_npz(data, source)
    for name in ("x", "y"):
        if name not in arrays:
            raise LocalError(
                f"{source} has no array {name!r} but {list_names(sorted(arrays))}; save it with x=... and y=..."
            )
    x, y = features(arrays["x"], source), arrays["y"]
    if y.ndim == 0 or len(y) != len(x):
        raise LocalError(f"{source}: y has shape {y.shape} but x has {len(x)} rows; give one target for each row")
    columns = tuple(NumericColumn(f"x{at}", 0, ONE_BITS) for at in range(x.shape[1]))
    if (task or _guess_task(y)) == "regress":
        numbers = _regress(y, source)
        names = tuple(f"y{at}" for at in range(numbers.shape[1]))
        ones = (ONE_BITS,) * len(names)
        return Examples(source, Prepared(columns, NumberTarget(names, (0,) * len(names), ones, ones)), x, numbers)
    labels, classes = _classify(y, source)
    check_classes(source, "y", len(classes))
    return Examples(source, Prepared(columns, ClassTarget("y", classes)), x, labels)


def encode_npz_targets(prepared: Prepared, arrays: dict[str, Array], source: str) -> Array:
    """Return array y as a model's targets: labels (rows,) i32, or unscaled numbers (rows, n). Raises LocalError."""
    if "x" not in arrays or "y" not in arrays:
        raise LocalError(f"{source} has the arrays {list_names(sorted(arrays))}; save it with x=... and y=...")
    y = arrays["y"]
    if y.ndim == 0 or len(y) != len(arrays["x"]):
        raise LocalError(
            f"{source}: y has shape {y.shape} but x has {len(arrays['x'])} rows; give one target for each row"
        )
    target = prepared.target
    if isinstance(target, NumberTarget):
        numbers = _regress(y, source)
        if numbers.shape[1] != len(target.names):
            raise LocalError(
                f"{source}: y has {numbers.shape[1]} numbers in a row, the model predicts {len(target.names)}"
            )
        return numbers
    labels, values = _classify(y, source)
    unseen = [value for value in values if value not in target.classes]
    if unseen:
        raise LocalError(f"{source}: y has the class {unseen[0]!r}, which was not there in training")
    places = np.array([target.classes.index(value) for value in values], np.int32)
    return places[labels]


def read_npz(data: bytes, source: str) -> dict[str, Array]:
    """Return the arrays x and y (those there are) and an empty array for every other name.

    Raises LocalError: no NPZ file, a damaged or pickled array, or one over ARRAY_BYTES_MAX.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return {
                name: _read_member(archive, info, source) if name in ("x", "y") else np.empty(0)
                for name, info in members.items()
            }
    except (zipfile.BadZipFile, zlib.error, *_UNREADABLE) as error:
        raise LocalError(f"{source} cannot be read as NPZ ({error}); save it again with numpy.savez") from None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> Array:
    name = info.filename.removesuffix(".npy")
    if info.file_size > ARRAY_BYTES_MAX:
        raise LocalError(f"{source}: array {name!r} has {info.file_size} bytes, over {ARRAY_BYTES_MAX}; split the file")
    with archive.open(info) as member:
        raw = member.read(info.file_size)
    try:
        array: Array = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise LocalError(
            f"{source}: array {name!r} holds pickled Python objects, which are never loaded; save it as numbers"
        ) from None
    return array


def features(array: Array, source: str) -> F32:
    """Return x as (rows, features) f32, each number rounded to the nearest f32. Raises LocalError."""
    if array.ndim < 2 or 0 in array.shape:
        raise LocalError(f"{source}: x has shape {array.shape}; it must be (rows, features) with at least one of each")
    if len(array) > ROWS_MAX:
        raise LocalError(f"{source}: x has {len(array)} rows, over {ROWS_MAX}; split the file")
    flat = array.reshape(len(array), -1)
    if flat.shape[1] > WIDTH_MAX:
        raise LocalError(f"{source}: x has {flat.shape[1]} features in a row, over {WIDTH_MAX}; reduce them")
    return _finite(flat, "x", source)


def _finite(array: Array, name: str, source: str) -> F32:
    if array.dtype.kind not in "biuf":
        raise LocalError(f"{source}: {name} has dtype {array.dtype}; save it as numbers (for example float32)")
    with np.errstate(over="ignore", invalid="ignore"):
        values: F32 = array.astype(np.float32)
    if not np.isfinite(values).all():
        at = tuple(int(part) for part in np.argwhere(~np.isfinite(values))[0])
        raise LocalError(
            f"{source}: {name}{list(at)} is {array[at]}, not a finite 32-bit float; correct or drop that row"
        )
    return values


def _guess_task(y: Array) -> str:
    if y.dtype.kind not in "iu":
        return "regress" if y.dtype.kind == "f" else "classify"
    return "classify" if y.ndim == 1 and len(np.unique(y)) <= max(CLASSES_GUESS_MAX, len(y) // 20) else "regress"


def _regress(y: Array, source: str) -> F32:
    if y.ndim > 2 or (y.ndim == 2 and not 1 <= y.shape[1] <= OUTPUTS_MAX):
        raise LocalError(f"{source}: y has shape {y.shape}; for regression it must be (rows,) or (rows, outputs)")
    return _finite(y.reshape(len(y), -1), "y", source)


def _classify(y: Array, source: str) -> tuple[Array, tuple[str, ...]]:
    """Return labels (rows,) i32 and the class names, ascending."""
    if y.ndim != 1 or y.dtype.kind not in "biuUf":
        raise LocalError(
            f"{source}: y has shape {y.shape} and dtype {y.dtype}; classes must be integers or texts (rows,)"
        )
    if y.dtype.kind == "f" and not (y == np.floor(y)).all():
        raise LocalError(f"{source}: y holds fractions, which are no classes; use --task regress")
    values, labels = np.unique(y if y.dtype.kind == "U" else y.astype(np.int64), return_inverse=True)
    return labels.astype(np.int32), tuple(str(value) for value in values)
