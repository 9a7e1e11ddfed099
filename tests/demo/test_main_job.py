"""The main job with real processes, sockets, TLS and disks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synaptic_mesh.collab.verification import verify_run
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.node.backends import open_backend
from synaptic_mesh.node.run_directory import BLOBS_NAME, read_run

pytestmark = pytest.mark.process
STEPS = 4


def synaptic(*arguments: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-c", "from synaptic_mesh.cli.main import main; main()", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("demo") / "run"
    code, result, errors = synaptic("demo", "--seed", "5", "--outer-steps", str(STEPS), "--run", str(run))
    assert code == 0, (result.get("broken_promises"), errors)
    return result


def test_every_promise_is_kept(outcome: dict[str, Any]) -> None:
    assert outcome["schema"] == "synaptic.demo/1"
    assert outcome["broken_promises"] == []
    assert outcome["outer_steps"] == STEPS
    assert outcome["roots_agree"] is True
    assert outcome["supply_before"] == outcome["supply_after"]
    assert outcome["test_accuracy"] > 0.8
    assert outcome["wire_bytes"] > outcome["update_bytes"] > 0


def test_every_node_holds_a_checkpoint_that_holds_offline(outcome: dict[str, Any], tmp_path: Path) -> None:
    first, *_, last = sorted((Path(outcome["run"]) / "nodes").iterdir())
    assert outcome["checkpoint_commit"] > 0
    roots = set()
    for node in (first, last):  # one of them has no vote
        file, genesis = tmp_path / node.name, tmp_path / "genesis"
        genesis.write_bytes((node / "genesis").read_bytes())
        code, found, errors = synaptic("ledger", "checkpoint", str(node), "--output", str(file))
        assert code == 0, errors
        assert found["index"] >= outcome["checkpoint_commit"]
        assert len(found["signers"]) >= 3
        assert found["supply"] == outcome["supply_after"]
        assert synaptic("ledger", "verify", str(file), "--genesis", str(genesis))[0] == 0
        roots.add((found["index"], found["state_root"]))
    assert len({index for index, _ in roots}) == len(roots)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    code, verdict, _ = synaptic("ledger", "verify", str(file), "--genesis", str(genesis))
    assert (code, verdict["holds"]) == (1, False)


def test_the_liar_is_caught_slashed_and_not_paid(outcome: dict[str, Any]) -> None:
    (liar,) = outcome["liars"]
    paid = {peer["id"]: int(peer["paid"]) for peer in outcome["peers"]}
    validators = {peer["id"] for peer in outcome["peers"] if peer["role"] == "validator"}
    assert liar["caught_at"] == 0
    assert len(liar["caught_by"]) >= 3
    assert set(liar["caught_by"]) <= validators
    assert int(liar["slashed"]) > 0
    assert paid[liar["id"]] == 0
    assert all(paid[peer] > 0 for peer in validators)


@pytest.mark.parametrize("backend", ["wasm", "reference"])
def test_the_run_is_reached_again(outcome: dict[str, Any], backend: str) -> None:
    record, get_blob = read_run(Path(outcome["run"]))
    report = verify_run(record, get_blob, open_backend(backend), semantics_id())
    assert report.finding is None
    assert report.steps_confirmed == STEPS
    assert report.root.hex() == outcome["params_root"]


def test_one_flipped_byte_names_outer_step_and_worker(outcome: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(outcome["run"], copy, ignore=shutil.ignore_patterns("nodes"))
    record, _ = read_run(copy)
    step = record.steps[2].committed
    worker, delta = step.included[1]
    path = copy / BLOBS_NAME / delta.digest.hex()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, result, _ = synaptic("verify", str(copy))
    assert code == 1
    assert result["confirmed"] is False
    assert result["steps_confirmed"] == 2
    assert result["finding"]["step"] == 2
    assert result["finding"]["worker"] == worker.hex()
