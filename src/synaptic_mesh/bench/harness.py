"""Measuring two things fairly on a machine that others use too.

Ours and the rival run in turn, so a change of clock speed or load meets both. CPU time of the thread decides; wall
time stands beside it. A calibration loop that never changes runs before and after: where it drifts, the machine was
not quiet, and the record says so.
"""

import math
import time
from collections.abc import Callable, Sequence

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.errors import LocalError

CALIBRATION_ADDITIONS = 200_000
CALIBRATION_REPEATS = 9
DRIFT_MAX = 0.10
"""Relative change of the calibration loop above which a record is marked as not quiet."""
REPEATS_MIN = 5


class Spread(Record):
    """Times of one thing in milliseconds: median, and a 95 % interval of the median."""

    cpu_ms: float
    cpu_ms_low: float
    cpu_ms_high: float
    wall_ms: float
    repeats: int


class Comparison(Record):
    """Ours next to the rival, over the same interleaved repeats. `ratio` is our CPU time over theirs, by medians."""

    name: str
    ours: Spread
    rival: Spread
    ratio: float
    ratio_low: float
    ratio_high: float


def compare(
    name: str, ours: Callable[[], object], rival: Callable[[], object], repeats: int, calls: int = 1, warmup: int = 3
) -> Comparison:
    """Run both `repeats` times in turn, each time `calls` calls long, after `warmup` rounds. Times are per call."""
    if repeats < REPEATS_MIN:
        raise LocalError(f"{repeats} repeats give no interval: choose at least {REPEATS_MIN}")
    for _ in range(warmup):
        ours()
        rival()
    samples = [(*_time(ours, calls), *_time(rival, calls)) for _ in range(repeats)]
    columns = list(zip(*samples, strict=True))
    ratios = [sample[0] / sample[2] for sample in samples]
    mine, theirs = _spread(columns[0], columns[1]), _spread(columns[2], columns[3])
    low, high = median_interval(ratios)
    return Comparison(name, mine, theirs, mine.cpu_ms / theirs.cpu_ms, low, high)


def measure(function: Callable[[], object], repeats: int, warmup: int = 1) -> Spread:
    """Time one thing by itself."""
    for _ in range(warmup):
        function()
    columns = list(zip(*(_time(function, 1) for _ in range(repeats)), strict=True))
    return _spread(columns[0], columns[1])


def calibrate() -> float:
    """Return the median CPU milliseconds of a loop of Python additions: a yardstick for drift, not for speed."""

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
    """Return CPU and wall milliseconds per call."""
    wall, cpu = time.perf_counter(), time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - cpu) * 1e3 / calls, (time.perf_counter() - wall) * 1e3 / calls


def _spread(cpu: Sequence[float], wall: Sequence[float]) -> Spread:
    low, high = median_interval(cpu)
    return Spread(median(cpu), low, high, median(wall), len(cpu))
