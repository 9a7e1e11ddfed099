"""Turns, and who loses them."""

from synaptic_mesh.consensus.drawing import drawn_committee
from synaptic_mesh.consensus.leaders import LeaderSchedule


def test_validators_lead_in_turn() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 4))
    assert [schedule.leaders(round_) for round_ in range(1, 6)] == [(1,), (2,), (3,), (0,), (1,)]
    assert schedule.leaders(0) == ()


def test_at_most_f_stake_is_demoted() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 4))
    assert schedule.demote({3, 2}, 1)
    assert schedule.demoted == (2,)
    assert not schedule.demote({2}, 1)
    assert not schedule.demote({0}, 1)


def test_a_lone_validator_always_leads() -> None:
    schedule = LeaderSchedule(drawn_committee((7,)))
    assert not schedule.demote({0}, 1)
    assert schedule.leaders(12) == (0,)


def test_restore_gives_the_same_turn() -> None:
    one, other = LeaderSchedule(drawn_committee((1,) * 7)), LeaderSchedule(drawn_committee((1,) * 7))
    one.demote({5, 1}, 3)
    other.restore(3, one.demoted)
    assert [one.leaders(r) for r in range(20)] == [other.leaders(r) for r in range(20)]


def test_several_leaders_of_a_round_follow_each_other() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 5), leader_count=2)
    assert [schedule.leaders(r) for r in (1, 3, 4)] == [(1, 2), (3, 4), (4, 0)]


def test_without_pipelining_only_every_third_round_is_led() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 4), is_pipelined=False)
    assert [schedule.leaders(r) for r in range(7)] == [(), (), (), (3,), (), (), (2,)]


def test_a_change_holds_only_from_its_round_on() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 4))
    before = schedule.leaders(6)
    schedule.demote({2}, 7)
    assert schedule.leaders(6) == before == (2,)
    assert [schedule.leaders(r) for r in (7, 8, 9)] == [(1,), (3,), (0,)]


def test_benched_authors_are_replaced_and_nobody_leads_a_round_twice() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 10), leader_count=2)
    assert schedule.swap((3, 4), (7, 8), 1)
    assert not schedule.swap((3, 4), (7, 8), 1)
    assert [schedule.leaders(r) for r in (2, 3, 4, 6, 7)] == [(2, 7), (8, 7), (7, 5), (6, 7), (7, 8)]
    for round_ in range(1, 40):
        assert len(set(schedule.leaders(round_))) == 2


def test_a_demoted_author_gains_nothing_from_its_reputation() -> None:
    schedule = LeaderSchedule(drawn_committee((1,) * 7))
    schedule.swap((3,), (1,), 1)
    schedule.demote({1}, 1)
    assert schedule.favoured == ()
    assert all(1 not in schedule.leaders(round_) for round_ in range(1, 20))
