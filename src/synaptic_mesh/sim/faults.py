"""What goes wrong and when: a schedule drawn from the seed, every fault with an end, the last end being the healing.

Honest nodes crash one at a time, so that with the one Byzantine validator of four at most f + 1 are away at once:
that may stop progress until the restart, never safety. A power cut takes all honest nodes down together, which
durable logs must survive.
"""

from enum import IntEnum
from functools import partial
from random import Random

import msgspec

from synaptic_mesh.sim.world import World


class FaultKind(IntEnum):
    """What is wrong between `start_ms` and `end_ms`; `amount` in the unit named here."""

    CRASH = 0  # `nodes` are down
    POWER_CUT = 1  # all honest nodes are down, and come back one after another
    PARTITION = 2  # `nodes` hear only each other, and so do the rest
    LOSS = 3  # parts per million more of all messages are lost
    DELAY = 4  # milliseconds more on every message from or to `nodes`
    SLOW_DISK = 5  # factor on the fsync time of `nodes`
    ROLLBACK = 6  # `nodes` are down, and come back without the last `amount` records that had been durable


ANYONES = tuple(kind for kind in FaultKind if kind is not FaultKind.ROLLBACK)
"""Faults that honest validators on honest disks must bear. Only those counted among the faulty are rolled back."""


class Fault(msgspec.Struct, frozen=True):
    """One fault of the schedule. `stagger_ms` is the gap between restarts after a power cut."""

    kind: FaultKind
    start_ms: int
    end_ms: int
    nodes: tuple[int, ...] = ()
    amount: int = 0

    def describe(self) -> str:
        """One line for the trace."""
        nodes = f" nodes {','.join(map(str, self.nodes))}" if self.nodes else ""
        amount = f" {self.amount}" if self.amount else ""
        return f"{self.kind.name.lower()}{nodes}{amount} from {self.start_ms} to {self.end_ms} ms"


class FaultSettings(msgspec.Struct, frozen=True):
    """How much goes wrong. `calm_ms` is the fault-free start; faults fall into the `chaos_ms` after it."""

    calm_ms: int = 300
    chaos_ms: int = 4_000
    count_max: int = 6
    kinds: tuple[FaultKind, ...] = ANYONES
    crash_ms_max: int = 1_200
    other_ms_max: int = 1_500


RESTART_GAP_MS_MAX = 150
"""After a power cut nodes come back with up to this gap between them."""


def draw_faults(random: Random, honest: tuple[int, ...], node_count: int, settings: FaultSettings) -> tuple[Fault, ...]:
    """Return the schedule, ordered by start. Down times of honest nodes do not overlap, power cuts apart."""
    faults: list[Fault] = []
    down_until_ms = settings.calm_ms
    for _ in range(random.randint(1, settings.count_max) if settings.kinds else 0):
        kind = random.choice(settings.kinds)
        start_ms = settings.calm_ms + random.randrange(settings.chaos_ms)
        if kind in (FaultKind.CRASH, FaultKind.POWER_CUT):
            start_ms = max(start_ms, down_until_ms + 1)
            length_ms = random.randint(1, settings.crash_ms_max)
            down_until_ms = start_ms + length_ms + len(honest) * RESTART_GAP_MS_MAX
        else:
            length_ms = random.randint(50, settings.other_ms_max)
        nodes, amount = _draw_target(random, kind, honest, node_count)
        faults.append(Fault(kind, start_ms, start_ms + length_ms, nodes, amount))
    return tuple(sorted(faults, key=lambda fault: (fault.start_ms, fault.end_ms, fault.kind)))


ROLLBACKS_MAX = 3
ROLLBACK_RECORDS = (2, 5, 20, 100)


def draw_rollbacks(random: Random, nodes: tuple[int, ...], settings: FaultSettings) -> tuple[Fault, ...]:
    """Return one to three rollbacks of each of `nodes`: those whose logs lose what was durable."""
    faults: list[Fault] = []
    for node in nodes:
        for _ in range(random.randint(1, ROLLBACKS_MAX)):
            start_ms = settings.calm_ms + random.randrange(settings.chaos_ms)
            length_ms = random.randint(1, settings.crash_ms_max)
            faults.append(
                Fault(FaultKind.ROLLBACK, start_ms, start_ms + length_ms, (node,), random.choice(ROLLBACK_RECORDS))
            )
    return tuple(faults)


def heal_ms(faults: tuple[Fault, ...], honest: tuple[int, ...]) -> int:
    """Return the virtual time from which nothing of the schedule is wrong any more."""
    return max((fault.end_ms for fault in faults), default=0) + len(honest) * RESTART_GAP_MS_MAX


def schedule_faults(world: World, faults: tuple[Fault, ...], honest: tuple[int, ...], random: Random) -> None:
    """Put the begin and the end of every fault into the world's queue."""
    for fault in faults:
        gaps_ms = [random.randint(0, RESTART_GAP_MS_MAX) for _ in honest]
        world.queue.at(fault.start_ms, partial(_begin, world, fault, honest))
        world.queue.at(fault.end_ms, partial(_end, world, fault, honest, gaps_ms))


def _draw_target(random: Random, kind: FaultKind, honest: tuple[int, ...], count: int) -> tuple[tuple[int, ...], int]:
    if kind is FaultKind.CRASH:
        return (random.choice(honest),), 0
    if kind is FaultKind.PARTITION:
        side = sorted(random.sample(range(count), random.randint(1, max(1, count - 1))))
        return tuple(side), 0
    if kind is FaultKind.LOSS:
        return (), random.choice((20_000, 100_000, 300_000))
    if kind is FaultKind.DELAY:
        return (random.randrange(count),), random.choice((20, 100, 500))
    if kind is FaultKind.SLOW_DISK:
        return (random.choice(honest),), random.choice((5, 20, 60))
    return (), 0


def _begin(world: World, fault: Fault, honest: tuple[int, ...]) -> None:
    world.note(f"begins: {fault.describe()}")
    if fault.kind in (FaultKind.CRASH, FaultKind.ROLLBACK):
        world.crash(fault.nodes[0], fault.amount)
    elif fault.kind is FaultKind.POWER_CUT:
        for index in honest:
            world.crash(index)
    elif fault.kind is FaultKind.PARTITION:
        world.network.groups = [int(index in fault.nodes) for index in range(len(world.hosts))]
        world.links_changed()
    elif fault.kind is FaultKind.LOSS:
        world.network.extra_loss_ppm += fault.amount
    elif fault.kind is FaultKind.DELAY:
        world.network.extra_delay_ms[fault.nodes[0]] += fault.amount
    elif fault.kind is FaultKind.SLOW_DISK:
        world.hosts[fault.nodes[0]].disk.slow_factor = fault.amount


def _end(world: World, fault: Fault, honest: tuple[int, ...], gaps_ms: list[int]) -> None:
    world.note(f"ends: {fault.describe()}")
    if fault.kind in (FaultKind.CRASH, FaultKind.ROLLBACK):
        world.start(fault.nodes[0])
    elif fault.kind is FaultKind.POWER_CUT:
        for index, gap_ms in zip(honest, gaps_ms, strict=True):
            world.queue.at(world.now_ms + gap_ms, partial(world.start, index))
    elif fault.kind is FaultKind.PARTITION:
        world.network.groups = None
        world.links_changed()
    elif fault.kind is FaultKind.LOSS:
        world.network.extra_loss_ppm -= fault.amount
    elif fault.kind is FaultKind.DELAY:
        world.network.extra_delay_ms[fault.nodes[0]] -= fault.amount
    elif fault.kind is FaultKind.SLOW_DISK:
        world.hosts[fault.nodes[0]].disk.slow_factor = 1
