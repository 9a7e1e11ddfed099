"""FANN data files."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.interchange.fann_data import parse_fann_data, read_fann_data, write_fann_data

FIXTURES = Path(__file__).parent / "fann"


def test_what_libfann_wrote() -> None:
    data = read_fann_data(FIXTURES / "xor_train.data")
    assert data.x.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert data.y.tolist() == [[-1], [1], [1], [-1]]
    assert data.x.dtype == data.y.dtype == np.float32


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    x = np.array([[1e-42, -0.1], [3.4e38, 7]], np.float32)
    write_fann_data(tmp_path / "a.data", x, x[:, :1])
    data = read_fann_data(tmp_path / "a.data")
    assert data.x.tobytes() == x.tobytes()
    assert data.y.tobytes() == x[:, :1].tobytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.data begins with ''; a FANN data file begins with ROWS INPUTS OUTPUTS"),
        ("4 -2 1\n", "begins with '4 -2 1'"),
        ("0 2 1\n", "0 rows of 2 \\+ 1 values must be 1 to"),
        ("999999999 9 1\n", "must be 1 to 67108864 values"),
        ("1 2 1\n3 4\n", "holds 2 values; its header promises 1 rows of 2 \\+ 1, which are 3"),
        ("1 2 1\n3 four\n5\n", "a.data line 2: 'four' is not a number"),
        ("2 1 1\n1\n2\n3\n1e39\n", "value 2 of row 2 is not a finite"),
        ("1 1 1\nnan\n2\n", "value 1 of row 1 is not a finite"),
    ],
)
def test_bad_data_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(LocalError, match=message):
        parse_fann_data(text, "a.data")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"not \(2, 3\) and \(1, 3\)"):
        write_fann_data(tmp_path / "a.data", np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float32))
    with pytest.raises(ResourceError, match="cannot write"):
        write_fann_data(tmp_path / "no" / "a.data", np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))


def test_what_is_not_written(tmp_path: Path) -> None:
    write_fann_data(tmp_path / "list.data", [[1, 2]], [[3]])
    assert (tmp_path / "list.data").read_text() == "1 2 1\n1 2\n3\n"
    for x, message in (
        ([[1, float("nan")]], r"at \(1, 2\), counted"),
        ([[1, 1e39]], "finite"),
        ([["a"]], "no numbers"),
    ):
        with pytest.raises(LocalError, match=message):
            write_fann_data(tmp_path / "bad.data", x, [[3]])
    assert not (tmp_path / "bad.data").exists()
