"""Measuring several things fairly on a machine that others use too.

All run in turn, round after round, so a change of clock speed or load meets each of them. CPU time of the whole
process decides, because some rivals compute in threads of their own; wall time stands beside it. A calibration loop
that never changes runs before and after: where it spreads, the machine was not quiet, and the record is void.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.errors import LocalError

CALIBRATION_ADDITIONS = 200_000
CALIBRATION_REPEATS = 15
SPREAD_MAX = 0.10
"""Relative spread of the calibration loop above which a record is void."""
REPEATS_MIN = 5
CALLS_MAX = 10_000
ROUND_US_MAX = 400_000
"""A round longer than this is repeated `REPEATS_MIN` times only: its samples are long enough to be steady."""


class Spread(Record):
    """Times of one step in microseconds: median of the CPU time, a 95 % interval of that median, wall time beside."""

    cpu_us: float
    cpu_us_low: float
    cpu_us_high: float
    wall_us: float
    repeats: int


class Runner(Record):
    """Something to time: a call of `run` carries out `steps` steps."""

    run: Callable[[], object]
    steps: int = 1


def interleave(runners: Mapping[str, Runner], repeats: int, sample_us: float) -> dict[str, Spread]:
    """Return the times of a step of each, measured in turn in `repeats` rounds. A sample is as many calls as fill
    about `sample_us`, at least one. Raises LocalError for too few repeats."""
    if repeats < REPEATS_MIN:
        raise LocalError(f"{repeats} repeats give no interval: choose at least {REPEATS_MIN}")
    calls: dict[str, int] = {}
    round_us = 0.0
    for name, runner in runners.items():
        runner.run()
        once = _time(runner.run, 1)[1]
        calls[name] = max(1, min(CALLS_MAX, math.ceil(sample_us / max(once, 1e-3))))
        round_us += calls[name] * once
    if round_us > ROUND_US_MAX:
        repeats = REPEATS_MIN
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, runner in runners.items():
            samples[name].append(_time(runner.run, calls[name]))
    return {name: _spread(times, runners[name].steps) for name, times in samples.items()}


def measure(function: Callable[[], object], repeats: int) -> Spread:
    """Time one thing by itself, a call a sample, after one call that does not count."""
    function()
    return _spread([_time(function, 1) for _ in range(repeats)], 1)


def calibrate() -> float:
    """Return the median CPU microseconds of a loop of Python additions: a yardstick for drift, not for speed."""

    def loop() -> int:
        total = 0
        for number in range(CALIBRATION_ADDITIONS):
            total += number
        return total

    return median([_time(loop, 1)[0] for _ in range(CALIBRATION_REPEATS)])


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median from order statistics: ranks n/2 -+ 1.96 sqrt(n)/2 (sign test; no
    assumption about the distribution)."""
    ordered = sorted(values)
    reach = 1.96 * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach))
    return ordered[low], ordered[high]


def _time(function: Callable[[], object], calls: int) -> tuple[float, float]:
    """Return CPU and wall microseconds per call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - cpu) * 1e6 / calls, (time.perf_counter() - wall) * 1e6 / calls


def _spread(times: Sequence[tuple[float, float]], steps: int) -> Spread:
    cpu, wall = ([each / steps for each in column] for column in zip(*times, strict=True))
    low, high = median_interval(cpu)
    return Spread(median(cpu), low, high, median(wall), len(cpu))
