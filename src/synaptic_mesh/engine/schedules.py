"""Learning rates that change from step to step, as tables of bit patterns in the graph.

The step's number is carried i32 state "rate/step"; the rate is the table's entry at it, and after the last entry the
last rate stays. A table is computed when the graph is built, by + - * / of binary64 alone, so every machine builds the
same graph; whoever executes it computes nothing.
"""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor, gather, minimum

ENTRIES_MAX = 1 << 16
"""Most steps of a table: 256 KiB of the graph."""
STEP = "rate/step"
PI = 3.141592653589793


class Schedule(msgspec.Struct, frozen=True):
    """One f32 bit pattern for each step."""

    bits: tuple[int, ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates as numbers."""
        return tuple(float(value) for value in np.array(self.bits, np.uint32).view(np.float32))


Rate = float | Schedule


def table(rates: Iterable[float]) -> Schedule:
    """Return the schedule with these rates, rounded to f32. Raises LocalError unless all are finite and >= 0."""
    values = np.array(list(rates), np.float64)
    if not 1 <= values.size <= ENTRIES_MAX:
        raise LocalError(f"a schedule of {values.size} steps must have 1 to {ENTRIES_MAX}; stretch its last rate")
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(rounded) & (rounded >= 0)))
    if bad.size:
        raise LocalError(f"schedule: the rate of step {bad[0]} is {values[bad[0]]}; rates are finite and not negative")
    return Schedule(tuple(int(pattern) for pattern in rounded.view(np.uint32)))


def cosine(peak: float, steps: int, *, floor: float = 0.0, warmup: int = 0) -> Schedule:
    """Return `warmup` steps that climb linearly to `peak`, then half a cosine down to `floor` at the last of `steps`.

    Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts. Raises LocalError unless 0 <= warmup < steps.
    """
    _check_warmup(warmup, steps)
    fall = max(1, steps - warmup - 1)
    down = (floor + (peak - floor) * 0.5 * (1.0 + _cosine_of_turn(t / fall)) for t in range(steps - warmup))
    return table([*_climb(peak, warmup), *down])


def linear(peak: float, steps: int, *, floor: float = 0.0, warmup: int = 0) -> Schedule:
    """Return `warmup` steps that climb linearly to `peak`, then a straight line to `floor` at the last of `steps`."""
    _check_warmup(warmup, steps)
    fall = max(1, steps - warmup - 1)
    return table([*_climb(peak, warmup), *(peak + (floor - peak) * (t / fall) for t in range(steps - warmup))])


def warm_up(rate: float, warmup: int) -> Schedule:
    """Return `warmup` steps that climb linearly, then `rate` for ever."""
    _check_warmup(warmup, warmup + 1)
    return table([*_climb(rate, warmup), rate])


def step_decay(rate: float, every: int, factor: float, steps: int) -> Schedule:
    """Return `rate`, multiplied by `factor` after every `every` steps, over `steps` steps."""
    if every < 1:
        raise LocalError(f"step_decay: every {every} must be at least 1")
    rates, now = [], rate
    for step in range(_counted(steps)):
        if step and step % every == 0:
            now = now * factor
        rates.append(now)
    return table(rates)


def rate_state(rate: Rate) -> dict[str, Array]:
    """Return the state that a rate carries: the step's number for a schedule, nothing for a number."""
    return {STEP: np.zeros((), np.int32)} if isinstance(rate, Schedule) else {}


def rate_now(rate: Rate, state: Mapping[str, Tensor]) -> tuple[float | Tensor, dict[str, Tensor]]:
    """Return the rate of this step (a number, or an f32 scalar of the graph) and the schedule's new state."""
    if not isinstance(rate, Schedule):
        return rate, {}
    step = state[STEP]
    patterns = np.array(rate.bits, np.uint32).view(np.float32)
    rates = step.builder.array(patterns.reshape(-1, 1))
    now = gather(rates, step.reshape(1)).reshape()
    return now, {STEP: minimum(step + 1, len(rate.bits) - 1)}


def _climb(peak: float, warmup: int) -> list[float]:
    return [peak * ((step + 1) / (warmup + 1)) for step in range(warmup)]


def _cosine_of_turn(share: float) -> float:
    """cos(pi * share) for 0 <= share <= 1, by its series around the nearer end: no libm, so the same everywhere."""
    if share > 0.5:
        return -_cosine_of_turn(1.0 - share)
    square, term, total = (PI * share) * (PI * share), 1.0, 1.0
    for n in range(1, 12):
        term = -term * square / ((2 * n - 1) * (2 * n))
        total = total + term
    return total


def _check_warmup(warmup: int, steps: int) -> None:
    if not 0 <= warmup < _counted(steps):
        raise LocalError(f"schedule: warmup {warmup} must be from 0 to below its {steps} steps")


def _counted(steps: int) -> int:
    if not 1 <= steps <= ENTRIES_MAX:
        raise LocalError(f"a schedule of {steps} steps must have 1 to {ENTRIES_MAX}; stretch its last rate")
    return steps
