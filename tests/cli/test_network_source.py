"""A Python file given to --model."""

import sys
from pathlib import Path

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.cli.network_source import model_specification
from synaptic_mesh.models.layered import Layered
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.sequential import Sequential

HEAD = "import synaptic_mesh as sm\n"


def test_families_pass() -> None:
    assert model_specification("mlp:64,64", 3, 2) == "mlp:64,64"


@pytest.mark.parametrize(
    "text",
    [
        "network = sm.Sequential([sm.Dense(8, 'relu'), sm.Dense(2)])",
        "def network(features, outputs):\n    return sm.Sequential([sm.Dense(8, 'relu'), sm.Dense(outputs)])",
    ],
)
def test_a_file_defines_layers(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(HEAD + text)
    expected = Layered(Sequential((Dense(8, "relu"), Dense(2)))).spec
    assert model_specification(str(tmp_path / "net.py"), 3, 2) == expected


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "widths_of_this_test.py").write_text("FIRST = 8\n")
    text = "import widths_of_this_test as w\nnetwork = sm.Sequential([sm.Dense(w.FIRST, 'relu'), sm.Dense(2)])"
    (tmp_path / "net.py").write_text(HEAD + text)
    before = list(sys.path)
    assert model_specification(str(tmp_path / "net.py"), 3, 2) == Layered(Sequential((Dense(8, "relu"), Dense(2)))).spec
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net = 3", r"net\.py must define network"),
        ("def network(features, outputs):\n    return 3", r"net\.py must define network"),
        ("network = 1 / 0", r"net\.py line 2: ZeroDivisionError: division by zero"),
        ("network = sm.Sequential([])", r"net\.py: Sequential of 0 layers"),
        ("network = (", r"net\.py line 2: SyntaxError"),
        ("network = lambda features: 3", r"net\.py: TypeError: .*takes 1 positional argument"),
        ("import sys\nsys.exit('no')", r"net\.py line 3: SystemExit: no"),
    ],
)
def test_what_is_in_no_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(HEAD + text)
    with pytest.raises(LocalError, match=message):
        model_specification(str(tmp_path / "net.py"), 3, 2)
    with pytest.raises(LocalError, match=r"none\.py is not a file"):
        model_specification(str(tmp_path / "none.py"), 3, 2)
