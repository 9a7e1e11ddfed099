"""Turns that change every few commits, with two leaders a round, in a storm: nobody forks.

The liar leaves leaders out of its votes, so that it is benched again and again; it does not equivocate, because then it
would leave the turn for good.
"""

from dataclasses import replace

import msgspec
import pytest

from synaptic_mesh.consensus import reputation, tally
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.settings import Rules, mysticeti
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.sim import scenario
from synaptic_mesh.sim.habits import Behaviour
from synaptic_mesh.sim.plan import storm

SETTINGS = msgspec.structs.replace(storm(), behaviour=Behaviour(silent_vote=70, late=30, late_ms=50))


def restless(committee: Committee, gc_depth: int = 60) -> Rules:
    return replace(mysticeti(committee, gc_depth=gc_depth), reputation_commits=2, leader_count=2)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds from which on a turn has changed, of all nodes."""
    found: list[int] = []
    original = LeaderSchedule.restore

    def restore(self: LeaderSchedule, first_round: int, *turn: tuple[int, ...]) -> None:
        found.append(first_round)
        original(self, first_round, *turn)

    monkeypatch.setattr(scenario, "mysticeti", restless)
    monkeypatch.setattr(reputation, "BENCH_SHARE", (1, 1))
    monkeypatch.setattr(LeaderSchedule, "restore", restore)
    return found


def test_turns_that_change_all_the_time_make_no_fork(changes: list[int]) -> None:
    for seed in range(3):
        outcome = scenario.run_seed(seed, SETTINGS)
        assert outcome.failure == ""
        assert outcome.indirect > 40
    assert len(changes) > 600


def test_decisions_kept_from_the_turn_before_are_noticed(changes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally.Committer, "reset", lambda _: None)
    assert any(scenario.run_seed(seed, SETTINGS).failure for seed in range(6))
    assert changes
