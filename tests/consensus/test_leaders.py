"""Turns, and who loses them."""

from synaptic_mesh.consensus.drawing import drawn_committee
from synaptic_mesh.consensus.leaders import LeaderSchedule


def test_validators_lead_in_turn() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 4))
    assert [schedule.leader(round_) for round_ in range(1, 9)] == [1, 2, 3, 0, 1, 2, 3, 0]


def test_at_most_f_stake_is_demoted() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 4))
    assert schedule.demote({3, 2})
    assert schedule.demoted == (2,)
    assert not schedule.demote({2})
    assert not schedule.demote({0})


def test_a_lone_validator_always_leads() -> None:
    schedule = LeaderSchedule(drawn_committee((7,)))
    assert not schedule.demote({0})
    assert schedule.leader(12) == 0


def test_restore_gives_the_same_turn() -> None:
    one, other = LeaderSchedule(drawn_committee((1,) * 7)), LeaderSchedule(drawn_committee((1,) * 7))
    one.demote({5, 1})
    other.restore(one.demoted)
    assert [one.leader(r) for r in range(20)] == [other.leader(r) for r in range(20)]
