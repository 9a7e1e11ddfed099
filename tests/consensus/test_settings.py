"""Thresholds and the refusal of settings that cannot work."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.consensus.drawing import drawn_committee
from synaptic_mesh.consensus.settings import Rules, Settings, lan, mysticeti, two_delay, wan


def test_mysticeti_thresholds() -> None:
    assert mysticeti(drawn_committee((1,))) == Rules(3, 1, 1, 1, 1, 1, 0)
    assert mysticeti(drawn_committee((1,) * 4)) == Rules(3, 3, 3, 3, 3, 1, 1)
    assert mysticeti(drawn_committee((1,) * 7), 20) == Rules(3, 5, 5, 5, 5, 1, 2, gc_depth=20)


def test_two_delays_need_six_validators_of_which_one_may_lie() -> None:
    assert two_delay(drawn_committee((1,) * 6)) == Rules(2, 5, 5, 5, 5, 3, 1)
    assert two_delay(drawn_committee((1,) * 9), 1, 1) == Rules(2, 7, 7, 7, 7, 4, 1, 2)
    assert two_delay(drawn_committee((1,) * 11)) == Rules(2, 9, 9, 9, 9, 5, 2, 2)
    with pytest.raises(LocalError, match="5 validators with stake 500 cannot decide in two delays"):
        two_delay(drawn_committee((100,) * 5))
    with pytest.raises(LocalError, match="f = 2, c = 0: that needs at least 6 validators and stake 5f"):
        two_delay(drawn_committee((1,) * 10), 2)


def test_a_round_has_two_leaders_above_seven_validators() -> None:
    assert [mysticeti(drawn_committee((1,) * n)).leader_count for n in (4, 7, 8, 10)] == [1, 1, 2, 2]


def test_rules_that_cannot_decide_are_named() -> None:
    with pytest.raises(LocalError, match="a wave of 4 rounds"):
        Rules(4, 3, 3, 3, 3, 1, 1)
    with pytest.raises(LocalError, match="link_stake is 0"):
        Rules(3, 3, 3, 3, 3, 0, 1)
    with pytest.raises(LocalError, match="0 leaders a round"):
        Rules(3, 3, 3, 3, 3, 1, 1, 0)


def test_bad_settings_are_named() -> None:
    with pytest.raises(LocalError, match="min_round_delay_ms is 0"):
        Settings(min_round_delay_ms=0)
    with pytest.raises(LocalError, match="idle_round_ms 10 is below"):
        Settings(idle_round_ms=10, min_round_delay_ms=20)
    with pytest.raises(LocalError, match="gc_depth 7"):
        mysticeti(drawn_committee((1,)), 7)


def test_presets_are_valid_and_fit_together() -> None:
    for settings in (lan(), wan()):
        assert settings.sync_gap < settings.round_window < mysticeti(drawn_committee((1,))).gc_depth
