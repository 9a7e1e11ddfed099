"""`synaptic ledger`: what goes in, what comes out, how it ends."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.cli.main import app
from synaptic_mesh.cli.output import Exit
from synaptic_mesh.identity.hybrid import HybridKey
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate
from synaptic_mesh.ledger.genesis import ConsensusOptions, Genesis, GenesisValidator, genesis_of, save_genesis
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.messages import AppendLog, Logged
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.storage.log import WriteAheadLog

RUNNER = CliRunner()
KEY = KeyPair(bytes([5]) * 32)


def genesis_with(*, is_hybrid: bool) -> Genesis:
    public = HybridKey(KEY).public if is_hybrid else b""
    options = ConsensusOptions(hybrid_signatures=is_hybrid, checkpoint_commits=4)
    return genesis_of(bytes(32), "one", [GenesisValidator(KEY.peer_id, 7, post_quantum_key=public)], consensus=options)


def node_directory(place: Path, rounds: int, *, is_hybrid: bool = False) -> Path:
    """A node of a network of one, with a log of some rounds."""
    genesis = genesis_with(is_hybrid=is_hybrid)
    assembly = build_assembly(KEY, genesis, PacingSettings(), works=False, incarnation=1)
    place.mkdir(parents=True)
    (place / "genesis").write_bytes(save_genesis(genesis))
    records, now_ms, effects = [], 0, assembly.start([], 0)
    while assembly.ledger.commit_index < rounds:
        written = [effect for effect in effects if isinstance(effect, AppendLog)]
        records += [effect.record for effect in written]
        now_ms = max(now_ms, assembly.deadline_ms() or 0)
        effects = [e for each in written for e in assembly.handle(Logged(each.token), now_ms)]
        effects += assembly.handle_deadline(now_ms)
    records += [effect.record for effect in effects if isinstance(effect, AppendLog)]
    log = WriteAheadLog(place / "log", durable=False)
    asyncio.run(log.append(records))
    return place


def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
    done = RUNNER.invoke(app, ["ledger", *map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize(("is_hybrid", "scheme"), [(False, "ed25519"), (True, "ed25519+ml-dsa-65")])
def test_a_written_checkpoint_holds_by_the_genesis_alone(tmp_path: Path, is_hybrid: bool, scheme: str) -> None:
    node = node_directory(tmp_path / "run" / "nodes" / "first", 14, is_hybrid=is_hybrid)
    file, genesis = tmp_path / "checkpoint", tmp_path / "genesis"
    code, found, _ = run("checkpoint", tmp_path / "run", "--node", "first", "--output", file)
    assert (code, found["schema"], found["node"]) == (Exit.OK, "synaptic.ledger.checkpoint/1", "first")
    assert (found["index"], found["supply"], found["scheme"]) == (12, "7", scheme)
    assert (found["signers"], found["stake"], found["quorum"]) == ([KEY.peer_id.hex()], "7", "5")
    (node / "genesis").rename(genesis)
    code, verdict, _ = run("verify", file, "--genesis", genesis)
    assert (code, verdict["schema"], verdict["holds"]) == (Exit.OK, "synaptic.ledger.verify/1", True)
    assert {"node": "first", **verdict["checkpoint"]} == {k: v for k, v in found.items() if k != "schema"}
    for line in RUNNER.invoke(app, ["ledger", "verify", str(file), "--genesis", str(genesis)]).stdout.splitlines():
        assert not re.search("None|b'", line)


def test_a_changed_checkpoint_does_not_hold(tmp_path: Path) -> None:
    node = node_directory(tmp_path / "node", 5)
    file = tmp_path / "checkpoint"
    assert run("checkpoint", node, "--output", file)[0] == Exit.OK
    whole = decode_untrusted(CheckpointCertificate, file.read_bytes())
    richer = CheckpointCertificate(
        type(whole.checkpoint)(*[8 if name == "supply" else getattr(whole.checkpoint, name) for name in FIELDS]),
        whole.signatures,
    )
    for data, reason in (
        (encode(richer), "signature of author 0 on checkpoint 4 is wrong"),
        (encode(CheckpointCertificate(whole.checkpoint, ())), "signed by stake 0 of 7, it needs 5"),
        (file.read_bytes()[:-1], "cannot decode CheckpointCertificate"),
    ):
        file.write_bytes(data)
        done = RUNNER.invoke(app, ["ledger", "verify", str(file), "--genesis", str(node / "genesis")])
        assert done.exit_code == Exit.PROMISE_FAILED
        assert done.stdout.startswith(f"{file} does not hold: ")
        assert reason in done.stdout
        assert done.stdout.count("\n") == 1
        code, verdict, _ = run("verify", file, "--genesis", node / "genesis")
        assert (code, verdict["holds"], verdict["checkpoint"]) == (Exit.PROMISE_FAILED, False, None)


FIELDS = ("network", "epoch", "committee", "index", "commit", "timestamp_ms", "state_root", "supply")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    node = node_directory(tmp_path / "node", 3)
    code, found, errors = run("checkpoint", node)
    assert (code, found["schema"]) == (Exit.BAD_INPUT, "synaptic.error/1")
    assert "has no signed checkpoint yet: there is one every 4 commits" in errors
    assert run("verify", tmp_path / "none", "--genesis", node / "genesis")[0] == Exit.RESOURCE
    (node / "genesis").write_bytes(b"?")
    assert run("verify", tmp_path / "none", "--genesis", node / "genesis")[0] == Exit.BAD_INPUT


def test_a_checkpoint_of_another_network_does_not_fit(tmp_path: Path) -> None:
    node = node_directory(tmp_path / "node", 5)
    other = genesis_of(bytes(32), "other", [GenesisValidator(KEY.peer_id, 7)])
    (node / "genesis").write_bytes(save_genesis(other))
    code, _, errors = run("checkpoint", node)
    assert code == Exit.BAD_INPUT
    assert "does not fit its genesis: checkpoint of network" in errors
