"""The schedule of faults: drawn within its bounds, every fault ends, and does what it says in between."""

import itertools
from collections.abc import Sequence
from random import Random

from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.faults import (
    ANYONES,
    Fault,
    FaultKind,
    FaultSettings,
    draw_faults,
    draw_rollbacks,
    heal_ms,
    schedule_faults,
)
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.node import Action
from synaptic_mesh.sim.world import World

HONEST = (0, 1, 3)


class Idle:
    """Does nothing but remember which peers it can reach."""

    def __init__(self) -> None:
        self.up: set[int] = set()

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:  # noqa: ARG002
        return []

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:  # noqa: ARG002
        return []

    def handle_done(self, token: int, now_ms: int) -> list[Action]:  # noqa: ARG002
        return []

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:  # noqa: ARG002
        (self.up.add if is_up else self.up.discard)(peer)
        return []

    def handle_deadline(self, now_ms: int) -> list[Action]:  # noqa: ARG002
        return []

    def deadline_ms(self) -> int | None:
        return None


def build(*faults: Fault, detect_ms: int = 10) -> World:
    world = World(1, [Idle] * 4, LinkSettings(), DiskSettings(), detect_ms=detect_ms)
    for index in range(4):
        world.start(index)
    schedule_faults(world, faults, HONEST, Random(1))
    return world


def is_up(world: World) -> list[bool]:
    return [host.node is not None for host in world.hosts]


def run_to(world: World, time_ms: int) -> None:
    world.queue.at(time_ms, lambda: None)
    world.run_until(lambda: world.now_ms >= time_ms, time_ms + 1)


def test_every_fault_ends_before_the_healing_and_crashes_do_not_overlap() -> None:
    seen = set()
    for seed in range(200):
        faults = draw_faults(Random(seed), HONEST, 4, FaultSettings())
        assert faults
        assert all(fault.end_ms <= heal_ms(faults, HONEST) for fault in faults)
        assert all(2 not in fault.nodes for fault in faults if fault.kind in (FaultKind.CRASH, FaultKind.SLOW_DISK))
        crashes = [fault for fault in faults if fault.kind in (FaultKind.CRASH, FaultKind.POWER_CUT)]
        assert all(first.end_ms < second.start_ms for first, second in itertools.pairwise(crashes))
        seen |= {fault.kind for fault in faults}
    assert seen == set(ANYONES)


def test_the_same_random_draws_the_same_schedule() -> None:
    assert draw_faults(Random(3), HONEST, 4, FaultSettings()) == draw_faults(Random(3), HONEST, 4, FaultSettings())
    assert draw_faults(Random(3), HONEST, 4, FaultSettings(kinds=())) == ()


def test_crash_and_power_cut_stop_and_start_nodes() -> None:
    world = build(Fault(FaultKind.CRASH, 100, 200, (1,)), Fault(FaultKind.POWER_CUT, 1_000, 1_100))
    run_to(world, 150)
    assert is_up(world) == [True, False, True, True]
    run_to(world, 250)
    assert is_up(world) == [True] * 4
    run_to(world, 1_050)
    assert is_up(world) == [False, False, True, False]  # the Byzantine node 2 has its own power
    run_to(world, 1_300)
    assert is_up(world) == [True] * 4


def test_a_rollback_loses_what_was_durable() -> None:
    (fault,) = draw_rollbacks(Random(2), (1,), FaultSettings())[:1]
    assert (fault.kind, fault.nodes) == (FaultKind.ROLLBACK, (1,))
    world = build(Fault(FaultKind.ROLLBACK, 100, 200, (1,), 3))
    for number in range(5):
        world.hosts[1].disk.append(bytes([number]), lambda: None)
    run_to(world, 150)
    assert not is_up(world)[1]
    assert world.hosts[1].disk.records() == [b"\x00", b"\x01"]
    assert world.hosts[1].disk.forgotten_count == 3
    run_to(world, 250)
    assert is_up(world) == [True] * 4


def test_a_partition_is_noticed_and_healed() -> None:
    world = build(Fault(FaultKind.PARTITION, 100, 200, (0, 2)))
    nodes = [host.node for host in world.hosts]
    run_to(world, 90)
    assert [node.up for node in nodes] == [{1, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 2}]  # type: ignore[union-attr]
    run_to(world, 150)
    assert [node.up for node in nodes] == [{2}, {3}, {0}, {1}]  # type: ignore[union-attr]
    assert world.network.groups == [1, 0, 1, 0]
    run_to(world, 250)
    assert world.network.groups is None
    assert nodes[0].up == {1, 2, 3}  # type: ignore[union-attr]


def test_loss_delay_and_slow_disks_end() -> None:
    world = build(
        Fault(FaultKind.LOSS, 100, 200, (), 300_000),
        Fault(FaultKind.LOSS, 150, 300, (), 20_000),
        Fault(FaultKind.DELAY, 100, 200, (2,), 50),
        Fault(FaultKind.SLOW_DISK, 100, 200, (3,), 20),
    )
    run_to(world, 160)
    assert (world.network.extra_loss_ppm, world.network.extra_delay_ms) == (320_000, [0, 0, 50, 0])
    assert world.hosts[3].disk.slow_factor == 20
    run_to(world, 400)
    assert (world.network.extra_loss_ppm, world.network.extra_delay_ms) == (0, [0, 0, 0, 0])
    assert world.hosts[3].disk.slow_factor == 1
