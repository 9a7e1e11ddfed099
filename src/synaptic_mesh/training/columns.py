"""What the columns of a table mean: numbers or categories, inputs or target; and cells turned into features."""

import re
from collections.abc import Collection, Iterable
from typing import NoReturn

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.examples import CLASSES_GUESS_MAX, Examples, check_classes, check_task
from synaptic_mesh.training.prepared import (
    CATEGORIES_MAX,
    ONE_BITS,
    WIDTH_MAX,
    CategoricalColumn,
    ClassTarget,
    Column,
    NumberTarget,
    NumericColumn,
    Prepared,
    Target,
)
from synaptic_mesh.training.table import Table, list_names

TARGET_NAMES = ("target", "label", "y")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]+")
Cells = list[tuple[int, str]]


class ColumnOptions(msgspec.Struct, frozen=True):
    """What the caller says about columns; the rest is found from the cells.

    target: default the last column named target, label or y, else the last. task: "classify", "regress" or None.
    ignored columns are not inputs.
    """

    target: str | None = None
    task: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    drop_missing: bool = False


def examples_from_table(table: Table, options: ColumnOptions = ColumnOptions()) -> Examples:
    """Return the labelled rows of a table. Raises LocalError naming the column, line and cell that cannot be used."""
    check_task(options.task)
    _check_names(table, options)
    target_name = options.target or default_target(table, options.ignored)
    names = [name for name in table.columns if name != target_name and name not in options.ignored]
    if not names:
        raise LocalError(f"{table.source}: no column is left beside the target {target_name!r}; add an input column")
    table = table.complete([*names, target_name], options.drop_missing)
    target = _infer_target(table, target_name, options.task)
    prepared = Prepared(tuple(_infer_column(table, name, options) for name in names), target)
    if prepared.width > WIDTH_MAX:
        raise LocalError(
            f"{table.source}: {prepared.width} features after spreading categories, over {WIDTH_MAX}; ignore columns"
        )
    return Examples(table.source, prepared, encode_features(prepared, table), encode_targets(prepared, table))


def default_target(table: Table, ignored: Collection[str] = ()) -> str:
    """Return the last column named target, label or y in any case, else the last column."""
    names = [name for name in table.columns if name not in ignored]
    if not names:
        raise LocalError(f"{table.source}: every column is ignored; leave a target and an input")
    return next((name for name in reversed(names) if name.lower() in TARGET_NAMES), names[-1])


def encode_features(prepared: Prepared, table: Table) -> F32:
    """Return the unscaled features (rows, width). Columns that `prepared` does not name are not looked at.

    Raises LocalError for a missing column, a cell that is no number, or a category that was not seen in training.
    """
    x = np.zeros((len(table.rows), prepared.width), np.float32)
    at = 0
    for column in prepared.columns:
        cells = table.cells(column.name)
        if isinstance(column, NumericColumn):
            x[:, at] = parse_numbers(table.source, column.name, cells)
            at += 1
        else:
            x[np.arange(len(cells)), at + _positions(table.source, column.name, cells, column.categories)] = 1
            at += len(column.categories)
    return x


def encode_targets(prepared: Prepared, table: Table) -> Array:
    """Return the labels (rows,) i32, or the unscaled numbers (rows, outputs) f32. Raises LocalError."""
    target = prepared.target
    if isinstance(target, ClassTarget):
        return _positions(table.source, target.name, table.cells(target.name), target.classes)
    return np.stack([parse_numbers(table.source, name, table.cells(name)) for name in target.names], axis=1)


def parse_numbers(source: str, column: str, cells: Cells) -> F32:
    """Return the cells as f32: each decimal rounded to the nearest double, then to the nearest f32.

    Raises LocalError naming the first cell that is no finite number, with its line.
    """
    doubles = np.empty(len(cells), np.float64)
    for at, (line, cell) in enumerate(cells):
        if _NUMBER.fullmatch(cell) is None:
            _refuse_number(source, column, line, cell)
        doubles[at] = float(cell)
    with np.errstate(over="ignore"):
        values: F32 = doubles.astype(np.float32)
    if not np.isfinite(values).all():
        line, cell = cells[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise LocalError(
            f"{source} line {line}: {_shown(cell)} in column {column!r} is beyond the range of 32-bit floats; "
            "rescale the column"
        )
    return values


def _refuse_number(source: str, column: str, line: int, cell: str) -> NoReturn:
    where = f"{source} line {line}: {_shown(cell)} in column {column!r}"
    if _INFINITE.fullmatch(cell):
        raise LocalError(f"{where} is not finite; correct or drop the row")
    raise LocalError(f"{where} is not a number; correct it, or declare the column categorical")


def _positions(source: str, column: str, cells: Cells, known: tuple[str, ...]) -> Array:
    places = {name: at for at, name in enumerate(known)}
    found = np.empty(len(cells), np.int32)
    for at, (line, cell) in enumerate(cells):
        if cell not in places:
            raise LocalError(
                f"{source} line {line}: column {column!r} has {_shown(cell)}, which was not there in training; "
                f"known are {list_names(known)}"
            )
        found[at] = places[cell]
    return found


def _check_names(table: Table, options: ColumnOptions) -> None:
    named = [*options.numeric, *options.categorical, *options.ignored]
    for name in [options.target, *named] if options.target is not None else named:
        table.index(name)
    if options.target in named:
        raise LocalError(f"column {options.target!r} is the target; do not list it as numeric, categorical or ignored")
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise LocalError(f"column {twice[0]!r} is listed twice among numeric, categorical and ignored; say one")


def _infer_column(table: Table, name: str, options: ColumnOptions) -> Column:
    """Return numeric when stated, or when most cells are numbers (a stray text is then refused, not a category)."""
    cells = table.cells(name)
    numbers = sum(_is_number(cell) for _, cell in cells)
    if name in options.numeric or (name not in options.categorical and 2 * numbers > len(cells)):
        return NumericColumn(name, 0, ONE_BITS)
    categories = _sorted_values(cell for _, cell in cells)
    if len(categories) > CATEGORIES_MAX:
        raise LocalError(
            f"{table.source}: column {name!r} has {len(categories)} different texts, over {CATEGORIES_MAX} categories; "
            "leave the column out or group its values"
        )
    return CategoricalColumn(name, categories)


def _infer_target(table: Table, name: str, task: str | None) -> Target:
    cells = table.cells(name)
    values = _sorted_values(cell for _, cell in cells)
    if task is None:
        numbers = sum(_is_number(cell) for _, cell in cells)
        few = len(values) <= CLASSES_GUESS_MAX and all(_INTEGER.fullmatch(value) for value in values)
        task = "regress" if 2 * numbers > len(cells) and not few else "classify"
    if task == "classify":
        check_classes(table.source, name, len(values))
        return ClassTarget(name, values)
    return NumberTarget((name,), (0,), (ONE_BITS,), (ONE_BITS,))


def _sorted_values(cells: Iterable[str]) -> tuple[str, ...]:
    """Distinct values: numbers by value first, then texts."""
    return tuple(sorted(set(cells), key=lambda c: (0, float(c), c) if _NUMBER.fullmatch(c) else (1, 0.0, c)))


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None or _INFINITE.fullmatch(cell) is not None


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")
