import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench import harness
from synaptic_mesh.bench.harness import Runner, calibrate, interleave, measure, median, median_interval


class Clocks:
    """CPU and wall time that only `spend` moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.order: list[str] = []
        for clock in ("process_time", "perf_counter"):
            monkeypatch.setattr(harness.time, clock, lambda: self.now)

    def runner(self, name: str, seconds: float, steps: int = 1) -> Runner:
        def run() -> None:
            self.order.append(name)
            self.now += seconds

        return Runner(run, steps)


def test_medians() -> None:
    assert [median([3, 1, 2]), median([4, 1, 2, 3])] == [2, 2.5]


def test_the_interval_of_a_median_follows_the_sign_test() -> None:
    assert median_interval(list(range(15))) == (3, 12)
    assert median_interval([5, 1, 4, 2, 3]) == (1, 5)


def test_all_run_in_turn_after_two_rounds_that_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    runners = {name: clocks.runner(name, 1e-3) for name in "abc"}
    assert interleave(runners, 6, sample_us=1)["a"].repeats == 6
    assert clocks.order == [*"aabbcc", *"abc" * 6]


def test_a_time_is_that_of_a_step_and_samples_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    found = interleave({"a": clocks.runner("a", 2e-3, 100), "b": clocks.runner("b", 1e-3)}, 5, sample_us=10_000)
    assert (found["a"].cpu_us, found["a"].wall_us, found["b"].cpu_us) == pytest.approx((20, 20, 1000))
    assert clocks.order[4:19] == [*"aaaaa", *"bbbbbbbbbb"]


def test_long_rounds_are_repeated_less(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interleave({"a": Clocks(monkeypatch).runner("a", 1.0)}, 15, sample_us=1)["a"].repeats == 5


def test_too_few_repeats_are_refused() -> None:
    with pytest.raises(LocalError, match="4 repeats"):
        interleave({"x": Runner(int)}, 4, 1)


def test_one_thing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    assert measure(clocks.runner("a", 3e-6).run, repeats=5).cpu_us == pytest.approx(3)
    assert len(clocks.order) == 6


def test_the_yardstick_takes_time() -> None:
    assert calibrate() > 0
