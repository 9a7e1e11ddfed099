"""The driver: actions are carried out, crashes drop what was pending, clocks are skewed, one seed gives one run."""

from collections.abc import Sequence

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.node import Action, Send, Work, Write
from synaptic_mesh.sim.world import EPOCH_MS, World


class Counter:
    """Counts to `len(log)` durable steps; tells the other node of each; wakes every 10 ms of its own clock."""

    def __init__(self, other: int) -> None:
        self.other = other
        self.records: list[bytes] = []
        self.heard: list[bytes] = []
        self.done: list[int] = []
        self.wakes: list[int] = []
        self.links: list[tuple[int, int, bool]] = []
        self.next_ms = 0

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:
        self.records = list(records)
        self.next_ms = now_ms + 10
        return [Write(b"step %d" % len(records), len(records)), Work(30, 1000)]

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:  # noqa: ARG002
        self.heard.append(data)
        return []

    def handle_done(self, token: int, now_ms: int) -> list[Action]:  # noqa: ARG002
        self.done.append(token)
        return [Send((self.other,), b"done %d" % token)]

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:
        self.links.append((now_ms - EPOCH_MS, peer, is_up))
        return []

    def handle_deadline(self, now_ms: int) -> list[Action]:
        self.wakes.append(now_ms)
        self.next_ms = now_ms + 10
        return []

    def deadline_ms(self) -> int | None:
        return self.next_ms


def build(seed: int = 1, skews_ms: Sequence[int] = (0, 25)) -> tuple[World, list[Counter]]:
    nodes: list[Counter] = []

    def builder(other: int) -> Counter:
        nodes.append(Counter(other))
        return nodes[-1]

    link = LinkSettings(base_ms=5, spread_ms=0, tail_ppm=0)
    world = World(seed, [lambda: builder(1), lambda: builder(0)], link, DiskSettings(base_ms=7, spread_ms=0), skews_ms)
    return world, nodes


def test_actions_are_carried_out_in_time_and_order() -> None:
    world, nodes = build()
    world.start(0)
    world.start(1)
    assert not world.run_until(lambda: False, horizon_ms=50)
    assert nodes[0].done == [0, 1000]
    assert nodes[1].heard == [b"done 0", b"done 1000"]
    assert nodes[0].wakes[:3] == [EPOCH_MS + 10, EPOCH_MS + 20, EPOCH_MS + 30]
    assert nodes[1].wakes[0] == EPOCH_MS + 25 + 10  # on its own clock


def test_a_crash_drops_pending_work_and_a_restart_reads_the_disk() -> None:
    world, nodes = build()
    world.start(0)
    world.start(1)
    world.queue.at(20, lambda: world.crash(0))
    world.queue.at(25, lambda: world.start(0))
    assert not world.run_until(lambda: False, horizon_ms=45)
    assert nodes[0].done == [0]  # the work of 30 ms never came back
    assert nodes[2].records == [b"step 0"]
    assert nodes[2].done == [1]
    assert world.hosts[0].disk.records() == [b"step 0", b"step 1"]


def test_one_seed_gives_one_fingerprint() -> None:
    prints = []
    for seed in (1, 1, 2):
        world, _ = build(seed)
        world.network.settings = LinkSettings()
        world.start(0)
        world.start(1)
        world.run_until(lambda: False, horizon_ms=100)
        prints.append(world.fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_a_deadline_that_stays_in_the_past_is_an_error() -> None:
    world, nodes = build()
    world.start(0)
    nodes[0].handle_deadline = lambda now_ms: []  # type: ignore[method-assign]  # noqa: ARG005
    with pytest.raises(InvariantBroken, match="node 0 keeps a deadline in the past"):
        world.run_until(lambda: False, horizon_ms=100)
