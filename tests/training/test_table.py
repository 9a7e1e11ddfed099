"""CSV into cells: every fault gets one sentence with file, line and what to do."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training import table as table_module
from synaptic_mesh.training.columns import ColumnOptions, examples_from_table
from synaptic_mesh.training.table import parse_csv, read_csv


def test_cells_are_stripped_and_rows_know_their_lines() -> None:
    table = parse_csv(b'a,b\r\n 1 , x \r\n\r\n"2\n2","y, ""z"""\r\n3,w', "t.csv")
    assert table.columns == ("a", "b")
    assert table.rows == (("1", "x"), ("2\n2", 'y, "z"'), ("3", "w"))
    assert table.lines == (2, 4, 6)


def test_byte_order_mark_is_skipped() -> None:
    assert parse_csv(b"\xef\xbb\xbfa,b\n1,2\n", "t.csv").columns == ("a", "b")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "t.csv is empty; the first line must name the columns"),
        (b"\n\n", "t.csv is empty"),
        (b"a,b\n", "t.csv has a header but no rows"),
        (b"a,b\n1,2\n1,2,3\n", "t.csv line 3: 3 cells where the header has 2 columns"),
        (b"a,b\n1\n", "t.csv line 2: 1 cells where the header has 2 columns"),
        (b"a,b,a\n1,2,3\n", "t.csv line 1: column 'a' occurs twice"),
        (b"a,,c\n1,2,3\n", "t.csv line 1: column 2 has no name"),
        (b"a;b\n1;2\n", "t.csv separates cells by semicolons; save it with commas"),
        (b"a\tb\n1\t2\n", "t.csv separates cells by tabs"),
        ("a,b\n1,\xe9\n".encode("latin-1"), "t.csv line 2: byte 0xe9 is not UTF-8; save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "t.csv is encoded in UTF-16; save it as UTF-8"),
        (b"a,b\n1,\x00\n", "t.csv line 2: contains a NUL character"),
        (b'a,b\n1,2\n"3,4\n', "t.csv line 3: unexpected end of data; check the quotes"),
        (b'a,b\n"1"x,2\n', "t.csv line 2: "),
        (b"a" * 201 + b",b\n1,2\n", "t.csv line 1: the name of column 1 is over 200 characters"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_csv(data, "t.csv")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table_module, "ROWS_MAX", 2)
    assert len(parse_csv(b"a\n1\n2\n", "t.csv").rows) == 2
    with pytest.raises(LocalError, match="line 4: over 2 rows; split the file"):
        parse_csv(b"a\n1\n2\n3\n", "t.csv")
    monkeypatch.setattr(table_module, "COLUMNS_MAX", 1)
    with pytest.raises(LocalError, match="has 2 columns; at most 1"):
        parse_csv(b"a,b\n1,2\n", "t.csv")
    monkeypatch.setattr(table_module, "FILE_BYTES_MAX", 3)
    (tmp_path / "t.csv").write_bytes(b"a\n1\n")
    with pytest.raises(LocalError, match="has 4 bytes; at most 3 are read"):
        read_csv(tmp_path / "t.csv")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot read .*none.csv: No such file or directory"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(LocalError, match=r"cannot read .*: Is a directory"):
        read_csv(tmp_path)


@pytest.mark.parametrize("missing", ["", "NA", "n/a", "NaN", "null", "?", "  "])
def test_a_missing_cell_is_refused_by_line_and_column_or_dropped(missing: str) -> None:
    table = parse_csv(f"a,b\n1,2\n{missing},4\n5,6\n".encode(), "t.csv")
    with pytest.raises(LocalError, match=r"t.csv line 3: column 'a' has no value; .*--drop-missing"):
        table.complete(["a", "b"])
    assert table.complete(["a", "b"], drop_missing=True).lines == (2, 4)
    assert table.complete(["b"]).lines == (2, 3, 4)


def test_dropping_every_row_is_refused() -> None:
    with pytest.raises(LocalError, match="every row lacks a value in one of 'a'"):
        parse_csv(b"a,b\n,2\n", "t.csv").complete(["a"], drop_missing=True)


def test_an_unknown_column_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LocalError, match=r"t.csv has no column 'c'; its columns are 'a', 'b'"):
        parse_csv(b"a,b\n1,2\n", "t.csv").cells("c")


NASTY = st.one_of(
    st.binary(max_size=300),
    st.text(alphabet='ab,"\n\r;\t 019.eE+-\ufeffnaNAif?', max_size=300).map(str.encode),
    st.lists(st.lists(st.text(alphabet='1a,"\n .-', max_size=6), min_size=1, max_size=4), max_size=8).map(
        lambda rows: "\n".join(",".join(row) for row in rows).encode()
    ),
)


@settings(max_examples=400, deadline=None)
@given(NASTY, st.booleans(), st.sampled_from([None, "classify", "regress"]))
def test_no_bytes_give_anything_but_examples_or_a_local_error(data: bytes, drop: bool, task: str | None) -> None:
    with contextlib.suppress(LocalError):
        examples = examples_from_table(parse_csv(data, "t.csv"), ColumnOptions(task=task, drop_missing=drop))
        assert examples.x.shape == (len(examples.y), examples.prepared.width)
