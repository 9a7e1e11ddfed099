"""Thresholds and the refusal of settings that cannot work."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.consensus.drawing import drawn_committee
from synaptic_mesh.consensus.settings import Rules, Settings, lan, mysticeti, wan


def test_mysticeti_thresholds() -> None:
    assert mysticeti(drawn_committee((1,))) == Rules(1, 1, 1, 1, 1, 0, 60)
    assert mysticeti(drawn_committee((1,) * 4)) == Rules(3, 3, 3, 3, 1, 1, 60)
    assert mysticeti(drawn_committee((1,) * 7), 20) == Rules(5, 5, 5, 5, 1, 2, 20)


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
