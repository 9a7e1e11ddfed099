"""Data of other libraries: shared where possible, refused by row and column."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.facade.rows import as_rows, check_columns


class Frame:
    """What a pandas frame offers."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def to_numpy(self):
        return self.values


class ArrowTable:
    """What a table of pyarrow offers."""

    column_names = ("a", "b")

    def column(self, index):
        return np.array([1, 2, 3]) * (index + 1)


class Exported:
    """What a torch tensor offers."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_f32_rows_are_used_as_they_lie():
    x = np.ones((3, 2), np.float32)
    assert as_rows(x).values is x
    assert np.shares_memory(as_rows(Frame(x, ["a", "b"])).values, x)
    assert np.shares_memory(as_rows(Exported(x)).values, x)


def test_what_is_converted():
    assert as_rows([[1, 2], [3, 4]]).values.dtype == np.float32
    assert as_rows(np.array([[True], [False]])).values.tolist() == [[1], [0]]
    assert as_rows(np.array([["1", "2.5"]], object)).values.tolist() == [[1, 2.5]]
    found = as_rows(ArrowTable())
    assert found.values.tolist() == [[1, 2], [2, 4], [3, 6]]
    assert found.columns == ("a", "b")
    assert as_rows(np.arange(6.0).reshape(2, 3).T).values.flags.c_contiguous


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Frame(np.array([[1, 2], [3, np.nan]]), ["age", "height"]), "X row 2, column 'height', is nan; fill in"),
        (Frame(np.array([[1, "tall"]], object), ["age", "size"]), "X row 1, column 'size', is 'tall', which is not"),
        (np.full((2, 2, 2), np.inf), r"X row 1, position \(1, 1\), is inf"),
        (np.array([1, 1e39]), "X row 2 is inf"),
        (np.zeros((0, 3)), r"X of shape \(0, 3\) holds no rows"),
        (7.0, r"X of type float holds no rows"),
        ([[1, 2], [3]], "X of type list cannot be read as rows"),
        (np.array([["a"]]), "X row 1, position .* is 'a', which is not a number"),
        (np.array([1j]), "X holds complex numbers .complex128."),
        (np.ma.masked_array([[1.0], [2.0]], mask=[[False], [True]]), "X has masked values; fill in or leave out"),
        (np.array(["2020-01-01"], "M8[D]"), r"X holds times \(datetime64\[D\]\)"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(LocalError, match=message):
        as_rows(data)


def test_columns_are_those_of_training():
    check_columns(None, ("a",))
    check_columns(("a", "b"), ("a", "b"))
    with pytest.raises(LocalError, match="X lacks column 'b', which the model was trained with; it has a, c"):
        check_columns(("a", "c"), ("a", "b"))
    with pytest.raises(LocalError, match="column 1 of X is 'b', the model was trained with 'a' there"):
        check_columns(("b", "a"), ("a", "b"))
    with pytest.raises(LocalError, match="column 2 of X is 'b', the model was trained with 'nothing' there"):
        check_columns(("a", "b"), ("a",))
