import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench import harness
from synaptic_mesh.bench.harness import compare, measure, median, median_interval


def test_medians() -> None:
    assert [median([3, 1, 2]), median([4, 1, 2, 3])] == [2, 2.5]


def test_the_interval_of_a_median_follows_the_sign_test() -> None:
    assert median_interval(list(range(15))) == (3, 12)
    assert median_interval([5, 1, 4, 2, 3]) == (1, 5)


def test_both_run_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(1000))
    monkeypatch.setattr(harness.time, "thread_time", lambda: next(clock) * 1e-3)
    result = compare("x", lambda: order.append("a"), lambda: order.append("b"), repeats=5, warmup=1)
    assert order == ["a", "b"] * 6
    assert (result.ours.cpu_ms, result.ratio) == (pytest.approx(1), pytest.approx(1))


def test_a_ratio_is_ours_over_the_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(harness.time, "thread_time", lambda: now[0])
    result = compare("x", lambda: spend(3), lambda: spend(2), repeats=5, calls=2)
    assert result.ours.cpu_ms == pytest.approx(3000)
    assert (result.ratio, result.ratio_low, result.ratio_high) == (pytest.approx(1.5),) * 3


def test_too_few_repeats_are_refused() -> None:
    with pytest.raises(LocalError, match="4 repeats"):
        compare("x", int, int, repeats=4)
    assert measure(int, repeats=5).repeats == 5
