"""`synaptic dag`: what goes in, what comes out, how it ends."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synaptic_mesh.cli.main import app
from synaptic_mesh.cli.output import Exit
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import GenesisValidator, genesis_of, save_genesis
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.messages import AppendLog, Logged
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.storage.log import WriteAheadLog

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


def node_directory(place: Path) -> Path:
    """A node of a network of one, with a log of some rounds."""
    key = KeyPair(bytes([5]) * 32)
    genesis = genesis_of(bytes(32), "one", [GenesisValidator(key.peer_id, 7)])
    assembly = build_assembly(key, genesis, PacingSettings(), works=False, incarnation=1)
    place.mkdir(parents=True)
    (place / "genesis").write_bytes(save_genesis(genesis))
    records, now_ms, effects = [], 0, assembly.start([], 0)
    while len(records) < 9:
        written = [effect for effect in effects if isinstance(effect, AppendLog)]
        records += [effect.record for effect in written]
        now_ms = max(now_ms, assembly.deadline_ms() or 0)
        effects = [e for each in written for e in assembly.handle(Logged(each.token), now_ms)]
        effects += assembly.handle_deadline(now_ms)
    log = WriteAheadLog(place / "log", durable=False)
    asyncio.run(log.append(records))
    return place


def test_show_draws_the_newest_rounds_of_a_log(tmp_path: Path) -> None:
    node = node_directory(tmp_path / "run" / "nodes" / "first")
    done = RUNNER.invoke(app, ["dag", "show", str(node), "--rounds", "4"])
    assert done.exit_code == Exit.OK, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["round", "A"],
        ["6", "A", "A", "Commit", "#6"],
        ["7", "A", "A", "Commit", "#7"],
        ["8", "A", "A", "Undecided"],
        ["9", "A", "A", "Undecided"],
    ]
    same = RUNNER.invoke(app, ["dag", "show", str(tmp_path / "run"), "--node", "first", "--rounds", "4"])
    assert same.stdout == done.stdout
    found = json.loads(RUNNER.invoke(app, ["dag", "show", str(node), "--rounds", "4", "--json"]).stdout)
    assert (found["schema"], found["node"], found["commits"]) == ("synaptic.dag.show/1", "first", 7)
    assert found["authors"][0]["stake"] == "7"
    assert found["rounds"][0]["blocks"][0]["ancestors"] == ["A5"]
    assert found["rounds"][3]["leaders"] == [{"slot": "A9", "verdict": "Undecided", "commit": None}]


def test_show_names_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    node = node_directory(tmp_path / "run" / "nodes" / "first")
    assert "no run below runs/" in RUNNER.invoke(app, ["dag", "show"]).stderr
    assert "holds no nodes/" in RUNNER.invoke(app, ["dag", "show", "run/nodes"]).stderr
    assert "no node 'x'; it has first" in RUNNER.invoke(app, ["dag", "show", "run", "--node", "x"]).stderr
    (node / "log" / "data.mdb").unlink()
    done = RUNNER.invoke(app, ["dag", "show", "run"])
    assert "holds no log" in done.stderr
    assert done.exit_code == Exit.RESOURCE
