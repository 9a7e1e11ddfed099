"""Whole committees under seeded faults: no fork, no lost promise, new commits after healing, one seed one outcome.

The long run is `make sim-long SEEDS=10000`.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from synaptic_mesh.sim.faults import FaultSettings
from synaptic_mesh.sim.habits import Behaviour
from synaptic_mesh.sim.mix import KINDS, Sums, describe_mix, missing_kinds, sum_of, total
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.plan import Settings
from synaptic_mesh.sim.roles import Role
from synaptic_mesh.sim.run import main
from synaptic_mesh.sim.scenario import Outcome, run_seed

SEEDS = (0, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 28)
ROLE_KINDS = dict(
    zip(
        Role,
        ("equivocating", "withholding", "silent voting", "garbage", "jump forcing", "amnesiac", "twins", "lost fsync"),
        strict=True,
    )
)
OUTCOMES: dict[int, Outcome] = {}


def outcome_of(seed: int) -> Outcome:
    """The outcome of a seed under the standard settings, computed once."""
    if seed not in OUTCOMES:
        OUTCOMES[seed] = run_seed(seed, Settings())
    return OUTCOMES[seed]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_keeps_every_promise(seed: int) -> None:
    outcome = outcome_of(seed)
    assert outcome.failure == "", f"replay: make sim SEED={seed}"
    assert outcome.rounds >= 200
    assert outcome.new_commits >= 20


def test_the_mix_has_everything_in_it() -> None:
    outcomes = [outcome_of(seed) for seed in SEEDS]
    for name in ("skips", "indirect", "evidence", "replayed"):
        assert sum(getattr(outcome, name) > 0 for outcome in outcomes) >= 2, name
    sums = total(sum_of(outcome, 0) for outcome in outcomes)
    assert sums.seeds == len(SEEDS)
    assert set(KINDS) <= sums.seen.keys()
    assert {"4", "7"} <= sums.sizes.keys()
    assert any(line.startswith("jump forcing") for line in describe_mix(sums))


def test_sums_of_ranges_add_up_and_say_what_is_missing() -> None:
    sums = [sum_of(outcome_of(seed), 5) for seed in SEEDS]
    whole = total(sums)
    assert whole == total([total(sums[5:]), total(sums[:5])])
    assert whole.ranges == ((0, 1), (2, 6), (7, 10), (12, 14), (16, 17), (28, 29))
    assert whole.cpu_ms == 5 * len(SEEDS)
    assert missing_kinds(whole) == []  # too few seeds to say
    rare = msgspec.structs.replace(whole, seeds=1_000, seen={kind: 100 - (kind == "twins") for kind in KINDS})
    assert missing_kinds(rare) == ["twins"]
    assert missing_kinds(Sums()) == []


def test_the_same_seed_gives_the_same_bytes() -> None:
    again = run_seed(SEEDS[0], Settings())
    assert msgspec.json.encode(again) == msgspec.json.encode(outcome_of(SEEDS[0]))
    assert len({outcome_of(seed).fingerprint for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize(
    ("node_count", "byzantine_count", "behaviour"),
    [
        (1, 0, None),
        (2, 0, None),
        (3, 0, None),
        (4, 0, None),
        (4, 1, Behaviour(absent=True)),
        (4, 1, Behaviour(silent_vote=100)),
        (4, 1, Behaviour(equivocate=100, show_later=100, late_ms=50)),
        (7, 2, None),
    ],
)
def test_other_committees(node_count: int, byzantine_count: int, behaviour: Behaviour | None) -> None:
    settings = Settings(node_count=node_count, byzantine_count=byzantine_count, rounds_min=100, behaviour=behaviour)
    assert run_seed(3, settings).failure == ""


def test_without_faults_every_leader_commits_directly() -> None:
    settings = Settings(
        node_count=4,
        byzantine_count=0,
        faults=FaultSettings(kinds=()),
        link=LinkSettings(tail_ppm=0),
        leader_timeout_ms=250,
    )
    outcome = run_seed(1, settings)
    assert outcome.failure == ""
    assert (outcome.skips, outcome.indirect, outcome.seen["restart"], outcome.evidence) == (0, 0, 0, 0)


def test_a_committee_without_a_quorum_is_reported_and_not_believed() -> None:
    """Two of four absent: the run must end as lost progress, not as success."""
    settings = Settings(node_count=4, byzantine_count=2, behaviour=Behaviour(absent=True), horizon_ms=20_000)
    assert run_seed(1, settings).failure.startswith("no progress: honest nodes")


def test_the_shell_replays_a_seed_and_prints_the_mix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "2", "--rounds", "30"]) == 0
    story = capsys.readouterr().out
    assert "faulty      node" in story
    assert "last commit" in story
    assert main(["--seeds", "0:2", "--rounds", "30"]) == 0
    assert "2 of 2 seeds kept every promise" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--seeds", "5:5"])
    assert "holds no seed" in capsys.readouterr().err


def test_a_long_run_goes_on_where_it_stopped_and_ranges_add_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synaptic_mesh.sim.run.CHUNK_SEEDS", 2)
    kept, more = tmp_path / "sums.jsonl", tmp_path / "more.jsonl"
    assert main(["--seeds", "0:2", "--rounds", "10", "--keep", str(kept)]) == 0
    assert main(["--seeds", "4:6", "--rounds", "10", "--keep", str(more)]) == 0
    capsys.readouterr()
    assert main(["--seeds", "0:4", "--rounds", "10", "--keep", str(kept), "--json"]) == 0
    assert len(kept.read_bytes().splitlines()) == 2  # only what was missing was run
    assert msgspec.json.decode(capsys.readouterr().out, type=Sums).ranges == ((0, 4),)
    assert main(["--sum", str(kept), str(more), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Sums).ranges == ((0, 6),)


@pytest.mark.parametrize("role", Role)
def test_every_role_is_played(role: Role) -> None:
    outcome = run_seed(2, Settings(node_count=4, byzantine_count=1, role=role, rounds_min=60))
    assert outcome.failure == ""
    assert outcome.seen[ROLE_KINDS[role]] > 0


def test_the_shell_names_the_seed_the_commit_and_the_replay_of_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synaptic_mesh.sim.scenario.Checker.finish", lambda _: 1 // 0)
    assert main(["--seed", "2", "--rounds", "30", "--commit", "abc1234"]) == 1
    out = capsys.readouterr().out
    assert "FAILED seed 2 at commit abc1234: ZeroDivisionError in test_consensus.py" in out
    assert "replay: make sim SEED=2" in out


@pytest.mark.process
def test_the_outcome_does_not_depend_on_the_process() -> None:
    """Sets and dicts of bytes are laid out differently under each hash seed; no order may come from there."""
    command = [sys.executable, "-m", "synaptic_mesh.sim.run", "--seed", "5", "--rounds", "60", "--json"]
    outputs = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert msgspec.json.decode(outputs[0], type=Outcome).failure == ""


@pytest.mark.long
def test_three_hundred_seeds() -> None:
    sums = total(sum_of(run_seed(seed, Settings()), 0) for seed in range(300))
    assert sums.failed == ()
    assert sums.rounds_min >= 200
    assert sums.new_commits_min >= 20
    assert min(sums.seen[kind] for kind in KINDS) >= 20
