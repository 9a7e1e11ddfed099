"""What the data argument of a command means: "digits", a CSV file or an NPZ file."""

from pathlib import Path
from typing import cast

import msgspec

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.columns import ColumnOptions, encode_features, encode_targets, examples_from_table
from synaptic_mesh.training.dataset import split_examples
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.npz import encode_npz_targets, examples_from_npz, features, read_npz
from synaptic_mesh.training.prepared import NumberTarget, Prepared
from synaptic_mesh.training.scaling import scale_features, scale_targets
from synaptic_mesh.training.table import Table, list_names, parse_csv, read_file

DIGITS = "digits"


class LabelledRows(msgspec.Struct, frozen=True):
    """Scaled features (rows, width) and targets as the model was trained on them. `held_out` is True when it is known
    that no worker was assigned any of these rows."""

    x: F32
    y: Array
    held_out: bool


def load_examples(source: str, options: ColumnOptions = ColumnOptions()) -> Examples:
    """Return the labelled rows that `source` names: "digits", FILE.csv or FILE.npz. Raises LocalError.

    Only the file's name, not its directory, becomes the name of the data: names are published with a job.
    """
    if source == DIGITS:
        if options != ColumnOptions() and options != ColumnOptions(task="classify"):
            raise LocalError("the digits have fixed columns; leave out target, task and column options")
        return load_digits()
    path = Path(source)
    kind = _kind(path)
    if kind == "csv":
        return examples_from_table(parse_csv(read_file(path), public_name(path)), options)
    if options != ColumnOptions(task=options.task):
        raise LocalError(f"{path.name} is an NPZ file, whose arrays are x and y; column options are for CSV")
    return examples_from_npz(read_file(path), public_name(path), options.task)


def public_name(path: Path) -> str:
    """Return the file's name as others will read it: bytes that are no UTF-8 become U+FFFD."""
    return path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def load_features(model: TrainedModel, source: str, drop_missing: bool = False) -> F32:
    """Return the scaled features of raw rows for a model. Columns that the model does not use are not looked at.

    Raises LocalError: a missing column, an unseen category, a bad cell, or arrays of another width.
    """
    if source == DIGITS:
        return scale_features(model.prepared, _fitting(model.prepared, load_digits().x, DIGITS))
    path = Path(source)
    if _kind(path) == "csv":
        table = parse_csv(read_file(path), path.name)
        return table_features(model.prepared, table, drop_missing)
    arrays = read_npz(read_file(path), path.name)
    return scale_features(model.prepared, array_features(model.prepared, arrays, path.name))


def load_labelled(model: TrainedModel, source: str, drop_missing: bool = False) -> LabelledRows:
    """Return labelled rows for a model. "digits" gives the rows that were held out when the model was trained on them.

    Raises LocalError as `load_features`, or for a missing or unseen target.
    """
    prepared = model.prepared
    if source == DIGITS:
        dataset = split_examples(load_digits(), model.provenance.seed)
        if dataset.prepared != prepared:
            raise LocalError(f"the model was not trained on the digits but on {model.provenance.data!r}; give its data")
        return LabelledRows(dataset.x_test, dataset.y_test, model.provenance.data == DIGITS)
    path = Path(source)
    if _kind(path) == "csv":
        names = [column.name for column in prepared.columns]
        table = parse_csv(read_file(path), path.name).complete([*names, *prepared.target_names], drop_missing)
        x, y = encode_features(prepared, table), encode_targets(prepared, table)
    else:
        arrays = read_npz(read_file(path), path.name)
        x, y = array_features(prepared, arrays, path.name), encode_npz_targets(prepared, arrays, path.name)
    target = prepared.target
    scaled = scale_targets(target, cast(F32, y)) if isinstance(target, NumberTarget) else y
    return LabelledRows(scale_features(prepared, x), scaled, False)


def table_features(prepared: Prepared, table: Table, drop_missing: bool = False) -> F32:
    """Return the scaled features of a table's rows. Raises LocalError."""
    complete = table.complete([column.name for column in prepared.columns], drop_missing)
    return scale_features(prepared, encode_features(prepared, complete))


def array_features(prepared: Prepared, arrays: dict[str, Array], source: str) -> F32:
    """Return the unscaled features in array x. Raises LocalError."""
    if "x" not in arrays:
        raise LocalError(f"{source} has no array 'x' but {list_names(sorted(arrays))}; save it with x=...")
    return _fitting(prepared, features(arrays["x"], source), source)


def _fitting(prepared: Prepared, x: F32, source: str) -> F32:
    if x.shape[1] != prepared.width:
        raise LocalError(f"{source} has {x.shape[1]} features in a row, the model takes {prepared.width}")
    return x


def _kind(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("csv", "npz"):
        raise LocalError(f"data {str(path)!r} is neither {DIGITS!r} nor a file ending in .csv or .npz")
    return kind
