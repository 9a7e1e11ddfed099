"""Columns become numbers, categories and a target, or a sentence that names the cell."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.columns import (
    ColumnOptions,
    default_target,
    encode_features,
    encode_targets,
    examples_from_table,
)
from synaptic_mesh.training.prepared import CategoricalColumn, ClassTarget, NumberTarget, NumericColumn
from synaptic_mesh.training.table import Table, parse_csv

PLANTS = b"length,colour,kind\n1.5,red,rose\n-2,green,moss\n3e2,red,rose\n"


def table(text: bytes) -> Table:
    return parse_csv(text, "t.csv")


def test_numbers_and_categories_are_told_apart() -> None:
    examples = examples_from_table(table(PLANTS))
    assert examples.prepared.columns == (NumericColumn("length"), CategoricalColumn("colour", ("green", "red")))
    assert examples.prepared.target == ClassTarget("kind", ("moss", "rose"))
    assert examples.x.tolist() == [[1.5, 0, 1], [-2, 1, 0], [300, 0, 1]]
    assert examples.y.tolist() == [1, 0, 1]
    assert (examples.x.dtype, examples.y.dtype) == (np.float32, np.int32)


def test_what_the_caller_says_wins() -> None:
    options = ColumnOptions(target="length", categorical=("kind",), ignored=("colour",))
    examples = examples_from_table(table(PLANTS), options)
    assert examples.prepared.columns == (CategoricalColumn("kind", ("moss", "rose")),)
    assert isinstance(examples.prepared.target, NumberTarget)
    assert examples.y.tolist() == [[1.5], [-2], [300]]
    numbers_as_categories = examples_from_table(table(b"a,y\n10,x\n9,z\n"), ColumnOptions(categorical=("a",)))
    assert numbers_as_categories.prepared.columns == (CategoricalColumn("a", ("9", "10")),)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("a,b,c", "c"), ("a,Label,c", "Label"), ("y,target,c", "target"), ("target,a,y", "y"), ("a,b,year", "year")],
)
def test_default_target_is_the_last_named_like_one_else_the_last(header: str, expected: str) -> None:
    assert default_target(table(f"{header}\n1,2,3\n".encode())) == expected


@pytest.mark.parametrize(
    ("values", "task"),
    [("0 1 2 1", "classify"), ("0.5 1 2 1", "regress"), ("a b a b", "classify"), ("1 2 3 x", "regress")],
)
def test_the_task_follows_from_the_target(values: str, task: str) -> None:
    rows = "".join(f"1,{value}\n" for value in values.split())
    if values.endswith("x"):
        with pytest.raises(LocalError, match=r"t.csv line 5: 'x' in column 'y' is not a number"):
            examples_from_table(table(b"a,y\n" + rows.encode()))
    else:
        assert examples_from_table(table(b"a,y\n" + rows.encode())).prepared.task == task


def test_many_integers_are_numbers_unless_the_task_is_stated() -> None:
    text = b"a,y\n" + b"".join(b"1,%d\n" % at for at in range(30))
    assert examples_from_table(table(text)).prepared.task == "regress"
    assert examples_from_table(table(text), ColumnOptions(task="classify")).prepared.outputs == 30


@pytest.mark.parametrize(
    "text", ["0.1", "16777217", "1e-45", "3.4028235e38", "-0", ".5", "5.", "1E+2", "0.30000001192092896"]
)
def test_a_decimal_becomes_the_nearest_double_then_the_nearest_f32(text: str) -> None:
    value = examples_from_table(table(f"a,y\n{text},p\n1,q\n".encode())).x[0, 0]
    assert value.tobytes() == np.float32(np.float64(text)).tobytes()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a,y\n1,p\n2,q\nx,p\n", "t.csv line 4: 'x' in column 'a' is not a number; correct it, or declare"),
        (b"a,y\n1,p\ninf,q\n2,p\n", "t.csv line 3: 'inf' in column 'a' is not finite"),
        (b"a,y\n1,p\n-Infinity,q\n2,p\n", "t.csv line 3: '-Infinity' in column 'a' is not finite"),
        (b"a,y\n1,p\n1e39,q\n", "t.csv line 3: '1e39' in column 'a' is beyond the range of 32-bit floats"),
        (b"a,y\n1,p\n1_000,q\n2,p\n", "t.csv line 3: '1_000' in column 'a' is not a number"),
        (b"a,y\n1,p\n2,p\n", "t.csv: target 'y' has a single value in every row"),
        (b"y\n1\n2\n", "t.csv: no column is left beside the target 'y'"),
        (b"a,y\n1,\n", "t.csv line 2: column 'y' has no value"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(text: bytes, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        examples_from_table(table(text))
    assert str(caught.value).startswith(sentence)


def test_too_many_categories_or_classes_are_refused() -> None:
    rows = b"".join(b"id%d,%d\n" % (at, at % 2) for at in range(257))
    with pytest.raises(
        LocalError, match=r"t.csv: column 'a' has 257 different texts, over 256 categories; leave the column out"
    ):
        examples_from_table(table(b"a,y\n" + rows))
    many = b"".join(b"1,c%d\n" % at for at in range(4097))
    with pytest.raises(LocalError, match=r"t.csv: target 'y' has 4097 different values, over 4096 classes"):
        examples_from_table(table(b"a,y\n" + many))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ColumnOptions(target="z"), "t.csv has no column 'z'"),
        (ColumnOptions(ignored=("z",)), "t.csv has no column 'z'"),
        (ColumnOptions(target="kind", ignored=("kind",)), "column 'kind' is the target"),
        (ColumnOptions(numeric=("colour",), ignored=("colour",)), "column 'colour' is listed twice"),
        (ColumnOptions(task="guess"), "task 'guess' is not known; choose classify or regress"),
        (ColumnOptions(task="regress"), "t.csv line 2: 'rose' in column 'kind' is not a number"),
        (ColumnOptions(numeric=("colour",)), "t.csv line 2: 'red' in column 'colour' is not a number"),
        (ColumnOptions(ignored=("length", "colour", "kind")), "t.csv: every column is ignored"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options: ColumnOptions, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        examples_from_table(table(PLANTS), options)
    assert str(caught.value).startswith(sentence)


def test_new_rows_are_encoded_by_name_in_any_column_order() -> None:
    prepared = examples_from_table(table(PLANTS)).prepared
    new = table(b"extra,colour,length,kind\n?,red,7,moss\n")
    assert encode_features(prepared, new).tolist() == [[7, 0, 1]]
    assert encode_targets(prepared, new).tolist() == [0]


def test_new_rows_with_an_unseen_category_or_a_missing_column_are_refused() -> None:
    prepared = examples_from_table(table(PLANTS)).prepared
    with pytest.raises(LocalError, match=r"n.csv line 2: column 'colour' has 'blue', which was not there in training"):
        encode_features(prepared, parse_csv(b"length,colour\n1,blue\n", "n.csv"))
    with pytest.raises(LocalError, match=r"n.csv has no column 'colour'; its columns are 'length'"):
        encode_features(prepared, parse_csv(b"length\n1\n", "n.csv"))
