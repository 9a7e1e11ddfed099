"""`synaptic dag`: what goes in, what comes out, how it ends."""

import json
from pathlib import Path

from typer.testing import CliRunner

from synaptic_mesh.cli.main import app
from synaptic_mesh.cli.output import Exit

RUNNER = CliRunner()
FULL = [[f"{a}{r}", [f"{b}{r - 1}" for b in "ABCD"]] for r in (1, 2, 3) for a in "ABCD"]
DECIDED = [["B1", "Commit", "B1", "direct"], ["C2", "Undecided", None, None], ["D3", "Undecided", None, None]]


def drawn(place: Path, **case: object) -> str:
    path = place / "case.json"
    path.write_text(json.dumps({"n": 4, "blocks": FULL, **case}))
    return str(path)


def test_decide_prints_json_with_and_without_its_schema(tmp_path: Path) -> None:
    path = drawn(tmp_path, wave=3, pipeline=True, leaders_per_round=1, leader_order=None, quorum=3)
    plain, named = RUNNER.invoke(app, ["dag", "decide", path]), RUNNER.invoke(app, ["dag", "decide", path, "--json"])
    expected = {"decided": DECIDED, "prefix": ["B1:Commit"]}
    assert (plain.exit_code, json.loads(plain.stdout)) == (Exit.OK, expected)
    assert json.loads(named.stdout) == {"schema": "synaptic.dag.decide/1", **expected}


def test_decide_reads_standard_input() -> None:
    done = RUNNER.invoke(app, ["dag", "decide", "-"], input=json.dumps({"n": 4, "blocks": FULL}))
    assert json.loads(done.stdout)["prefix"] == ["B1:Commit"]


def test_a_bad_file_is_one_sentence_and_the_code_of_bad_input(tmp_path: Path) -> None:
    path = drawn(tmp_path, blocks=[["A2", ["A1"]]])
    done = RUNNER.invoke(app, ["dag", "decide", path])
    assert done.exit_code == Exit.BAD_INPUT
    assert done.stderr == f"synaptic: {path}: block A2 has the ancestor A1, which is not drawn before it\n"
    missing = RUNNER.invoke(app, ["dag", "decide", str(tmp_path / "none.json"), "--json"])
    assert missing.exit_code == Exit.BAD_INPUT
    assert json.loads(missing.stdout)["schema"] == "synaptic.error/1"
