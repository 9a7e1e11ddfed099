"""The verbs as a user runs them: what they print, what they write, how they end."""

import csv
import io
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from synaptic_mesh.cli import doctor
from synaptic_mesh.cli.main import app
from synaptic_mesh.cli.output import Exit
from synaptic_mesh.node import backends

pytestmark = pytest.mark.process
RUNNER = CliRunner()


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def run_json(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(*arguments, "--json")
    return code, json.loads(out)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(4)
    path = tmp_path_factory.mktemp("data") / "flowers.csv"
    rows = ["height,colour,kind"]
    for _ in range(120):
        kind = rng.choice(["rose", "tulip"])
        height = rng.gauss(30 if kind == "rose" else 60, 5)
        rows.append(f"{height:.2f},{rng.choice(['red', 'white'])},{kind}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def model(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "flowers"
    code, result = run_json("train", "--data", flowers, "--model", "mlp:8", "--outer-steps", "8", "--run", directory)
    assert code == Exit.OK
    assert result["schema"] == "synaptic.train/1"
    assert result["audit"] == "unaudited"
    assert result["test"]["accuracy"] > 0.9
    return directory


def test_predict_writes_csv_with_labels_and_probabilities(model: Path, flowers: Path) -> None:
    code, out, _ = run("predict", model, flowers)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == Exit.OK
    assert len(rows) == 120
    assert {row["prediction"] for row in rows} == {"rose", "tulip"}
    assert all(abs(float(row["p(rose)"]) + float(row["p(tulip)"]) - 1) < 1e-6 for row in rows)


def test_predictions_are_the_same_bits_on_both_backends(model: Path, flowers: Path) -> None:
    assert run("predict", model, flowers)[1] == run("predict", model, flowers, "--backend", "reference")[1]


def test_evaluate_scores_the_model(model: Path, flowers: Path) -> None:
    code, result = run_json("evaluate", model, flowers)
    assert code == Exit.OK
    assert result["rows"] == 120
    assert result["accuracy"] > 0.9
    assert result["trust"] == "exact"
    assert sum(map(sum, result["confusion"])) == 120
    assert "accuracy" in run("evaluate", model, flowers)[1]


@pytest.mark.parametrize("backend", ["wasm", "reference"])
def test_verify_reaches_every_root(model: Path, backend: str) -> None:
    code, result = run_json("verify", model, "--backend", backend)
    assert code == Exit.OK
    assert result["confirmed"] is True
    assert result["steps_confirmed"] == 8
    assert result["audit"] == "unaudited"
    assert run("verify", model, "--backend", backend)[0] == Exit.OK


def test_verify_looks_at_the_model_beside_the_record(model: Path, flowers: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("train", "--data", flowers, "--model", "mlp:8", "--outer-steps", "1", "--run", other)[0] == Exit.OK
    assert run_json("verify", model)[1]["model_confirmed"] is True
    swapped = shutil.copytree(model, tmp_path / "swapped")
    file = swapped / "model.safetensors"
    shutil.copy(other / file.name, file)
    code, result = run_json("verify", swapped)
    assert (code, result["confirmed"], result["model_confirmed"]) == (Exit.PROMISE_FAILED, False, False)
    assert result["steps_confirmed"] == result["steps"] == 8
    assert "is not the model of the last root" in result["finding"]["sentence"]
    file.write_bytes(file.read_bytes()[:-1])
    assert "damaged" in run_json("verify", swapped)[1]["finding"]["sentence"]
    file.unlink()
    code, result = run_json("verify", swapped)
    assert (code, result["model_confirmed"]) == (Exit.OK, None)
    assert "no model.safetensors" in " ".join(run("verify", swapped)[1].split())


def test_a_file_name_that_is_no_utf_8_trains(flowers: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/fl\xff.csv"))
    try:
        shutil.copy(flowers, odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    code, result = run_json("train", "--data", odd, "--model", "linear", "--outer-steps", "1", "--run", tmp_path / "r")
    assert (code, result["data"]) == (Exit.OK, "fl\ufffd.csv")


def test_explain_shows_graph_and_text(model: Path) -> None:
    code, out, _ = run("explain", model)
    assert code == Exit.OK
    assert "matmul" in out
    assert "(module" in out
    code, result = run_json("explain", model, "--graph", "step")
    assert code == Exit.OK
    assert result["sizes"]["module_bytes"] > 1_000


def test_explain_shows_the_machine_code(model: Path) -> None:
    code, result = run_json("explain", model, "--native")
    assert code == Exit.OK
    assert "run:" in result["native"]["assembly"]
    assert result["native"]["sizes"]["object_bytes"] > 0
    code, out, _ = run("explain", model, "--native")
    assert code == Exit.OK
    assert "native code, " in out


def test_regression_reports_errors_in_units_of_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 3)).astype(np.float32)
    np.savez(tmp_path / "line.npz", x=x, y=(x @ np.float32([1, -2, 3])).astype(np.float32))
    code, _ = run_json(
        "train", "--data", tmp_path / "line.npz", "--task", "regress", "--model", "linear", "--run", tmp_path / "run"
    )
    assert code == Exit.OK
    code, scores = run_json("evaluate", tmp_path / "run", tmp_path / "line.npz")
    assert scores["numbers"][0]["r2"] > 0.98


def test_doctor_finds_exact_backends() -> None:
    code, result = run_json("doctor")
    assert {name: found["trust"] for name, found in result["backends"].items()} == {
        "reference": "exact",
        "wasm": "exact",
        "native": "exact",
    }
    assert code == (Exit.PROMISE_FAILED if result["problems"] else Exit.OK)


def test_doctor_takes_a_missing_extra_as_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    problems: list[str] = []
    found = {"native": doctor.backend_trust("native", problems)}
    assert found == {"native": {"installed": False, "trust": None, "golden_ms": None}}
    assert not problems


BAD_INPUT = [
    (("train", "--data", "no.csv"), "no.csv"),
    (("train", "--data", "notes.txt"), "notes.txt"),
    (("train", "--data", "digits", "--model", "forest:3"), "forest"),
    (("train", "--data", "digits", "--model", "mlp:0"), "'0'"),
    (("train", "--data", "digits", "--task", "regress"), "digits"),
    (("train", "--data", "digits", "--optimizer", "newton"), "newton"),
    (("train", "--data", "digits", "--learning-rate", "-1"), "-1"),
    (("train", "--data", "digits", "--backend", "abacus"), "abacus"),
    (("predict", "nowhere", "digits"), "nowhere"),
    (("verify", "nowhere"), "nowhere"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD_INPUT, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_sentence_that_names_the_value(
    arguments: tuple[str, ...], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(*arguments)
    assert code in {Exit.BAD_INPUT, Exit.RESOURCE}
    assert named in errors
    assert len(errors.strip().splitlines()) == 1


def test_missing_cells_are_refused_by_name_and_line(flowers: Path, tmp_path: Path) -> None:
    lines = flowers.read_text().splitlines()
    lines[4] = ",red,rose"
    (tmp_path / "holes.csv").write_text("\n".join(lines))
    code, _, errors = run("train", "--data", tmp_path / "holes.csv", "--run", tmp_path / "a")
    assert code == Exit.BAD_INPUT
    assert "height" in errors
    assert "5" in errors
    code, result = run_json(
        "train", "--data", tmp_path / "holes.csv", "--drop-missing", "--outer-steps", "1", "--run", tmp_path / "b"
    )
    assert code == Exit.OK
    assert result["train_rows"] + result["test"]["rows"] == 119


def test_an_error_is_json_too() -> None:
    code, result = run_json("verify", "nowhere")
    assert code == Exit.BAD_INPUT
    assert result["schema"] == "synaptic.error/1"
    assert result["exit_code"] == code


def test_a_run_directory_that_is_not_empty_is_refused(model: Path) -> None:
    code, _, errors = run("train", "--data", "digits", "--run", model)
    assert code == Exit.BAD_INPUT
    assert "not empty" in errors


def test_a_damaged_record_is_reported_not_believed(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    data = bytearray((copy / "record").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "record").write_bytes(data)
    code, _, errors = run("verify", copy)
    assert code == Exit.BAD_INPUT
    assert "damaged" in errors


def test_csv_to_a_file_and_json_exclude_each_other(model: Path, flowers: Path, tmp_path: Path) -> None:
    code, result = run_json("predict", model, flowers, "--output", tmp_path / "out.csv")
    assert code == Exit.BAD_INPUT
    assert "choose one" in result["error"]
    assert run("predict", model, flowers, "--output", tmp_path / "out.csv")[0] == Exit.OK
    assert (tmp_path / "out.csv").read_text().startswith("prediction,")
