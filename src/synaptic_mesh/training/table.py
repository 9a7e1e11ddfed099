"""A table of text cells, read from CSV: every row has every column, and each row knows its line in the file.

The accepted form is RFC 4180 with a header: UTF-8 (a byte-order mark is skipped), cells separated by commas, quoted
with double quotes where needed. Blank lines are skipped. What a cell means is decided later, in `columns`.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import LocalError

FILE_BYTES_MAX = 1 << 28
ROWS_MAX = 1 << 22
COLUMNS_MAX = 4096
NAME_CHARACTERS_MAX = 200
MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})
"""Cells (stripped, lower case) that hold no value."""


class Table(msgspec.Struct, frozen=True):
    """Cells are stripped of surrounding blanks. `lines[i]` is where `rows[i]` starts in `source`, 1-based."""

    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def index(self, column: str) -> int:
        """Return the position of `column`. Raises LocalError naming the columns there are."""
        if column not in self.columns:
            raise LocalError(f"{self.source} has no column {column!r}; its columns are {list_names(self.columns)}")
        return self.columns.index(column)

    def cells(self, column: str) -> list[tuple[int, str]]:
        """Return (line, cell) of `column` for every row."""
        at = self.index(column)
        return [(line, row[at]) for line, row in zip(self.lines, self.rows, strict=True)]

    def complete(self, columns: Sequence[str], drop_missing: bool = False) -> "Table":
        """Return the rows in which none of `columns` lacks a value.

        Raises LocalError naming line and column of the first missing cell unless `drop_missing`, or when no row is
        left.
        """
        needed = [(name, self.index(name)) for name in columns]
        kept: list[int] = []
        for at, row in enumerate(self.rows):
            lacking = next((name for name, column in needed if is_missing(row[column])), None)
            if lacking is None:
                kept.append(at)
            elif not drop_missing:
                raise LocalError(
                    f"{self.source} line {self.lines[at]}: column {lacking!r} has no value; "
                    "fill it in or ask to drop rows with missing cells (--drop-missing)"
                )
        if not kept:
            raise LocalError(
                f"{self.source}: every row lacks a value in one of {list_names(list(columns))}; fill them in"
            )
        return Table(
            self.source, self.columns, tuple(self.rows[at] for at in kept), tuple(self.lines[at] for at in kept)
        )


def read_csv(path: Path) -> Table:
    """Return the table in the file at `path`; see `parse_csv`. Raises LocalError when it cannot be read."""
    return parse_csv(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """Return the bytes of a data file. Raises LocalError when it is missing, unreadable or over FILE_BYTES_MAX."""
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise LocalError(f"{path} has {size} bytes; at most {FILE_BYTES_MAX} are read: split the file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LocalError(f"cannot read {path}: {reason}; give the path of a readable file") from None


def parse_csv(data: bytes, source: str) -> Table:
    """Return the table that `data` holds; cells may be missing. `source` names it in messages. Raises LocalError."""
    records = _records(decode_text(data, source), source)
    columns = _header(next(records, None), source)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    for line, cells in records:
        if len(cells) != len(columns):
            raise LocalError(
                f"{source} line {line}: {len(cells)} cells where the header has {len(columns)} columns; "
                "correct the row or quote cells that contain commas"
            )
        if len(rows) == ROWS_MAX:
            raise LocalError(f"{source} line {line}: over {ROWS_MAX} rows; split the file")
        rows.append(cells)
        lines.append(line)
    if not rows:
        raise LocalError(f"{source} has a header but no rows; add data below it")
    return Table(source, columns, tuple(rows), tuple(lines))


def is_missing(cell: str) -> bool:
    """True for an empty cell and the usual marks for an unknown value (MISSING)."""
    return cell.lower() in MISSING


def list_names(names: tuple[str, ...] | list[str], shown_max: int = 12) -> str:
    """Return names for a message: at most `shown_max` of them."""
    more = len(names) - shown_max
    return ", ".join(repr(name) for name in names[:shown_max]) + (f" and {more} more" if more > 0 else "")


def decode_text(data: bytes, source: str) -> str:
    """Return the text of a UTF-8 file without its byte-order mark. Raises LocalError naming line and byte."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LocalError(f"{source} is encoded in UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LocalError(
            f"{source} line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise LocalError(f"{source} line {line}: contains a NUL character; is it a CSV file?")
    return text


def _records(text: str, source: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (first line, stripped cells) of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, tuple(cell.strip() for cell in cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise LocalError(f"{source} line {line}: {error}; check the quotes") from None


def _header(record: tuple[int, tuple[str, ...]] | None, source: str) -> tuple[str, ...]:
    if record is None:
        raise LocalError(f"{source} is empty; the first line must name the columns")
    line, columns = record
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        mark = "semicolons" if ";" in columns[0] else "tabs"
        raise LocalError(f"{source} separates cells by {mark}; save it with commas")
    if len(columns) > COLUMNS_MAX:
        raise LocalError(f"{source} has {len(columns)} columns; at most {COLUMNS_MAX} are accepted")
    for at, name in enumerate(columns):
        if not name:
            raise LocalError(f"{source} line {line}: column {at + 1} has no name; name every column in the header")
        if len(name) > NAME_CHARACTERS_MAX:
            raise LocalError(
                f"{source} line {line}: the name of column {at + 1} is over {NAME_CHARACTERS_MAX} characters"
            )
        if name in columns[:at]:
            raise LocalError(f"{source} line {line}: column {name!r} occurs twice; give each column its own name")
    return columns
