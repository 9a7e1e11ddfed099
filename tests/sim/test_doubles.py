"""Twins hear different parts of the network, an obstinate core goes on, and one that stops is silent for good."""

from collections.abc import Sequence
from random import Random

from synaptic_mesh.base.errors import broken
from synaptic_mesh.sim.doubles import BOTH, FIRST, SECOND, TICK_TOKEN, Stoppable, TwinPair, Unheard
from synaptic_mesh.sim.node import Action, Send, Work, Write
from synaptic_mesh.sim.plan import Settings
from synaptic_mesh.sim.roles import Role
from synaptic_mesh.sim.scenario import Run


class Echo:
    """Sends what it hears to everybody, writes it, and wakes at its own time; b"stop" breaks it."""

    def __init__(self, wake_ms: int) -> None:
        self.heard: list[bytes] = []
        self.done: list[int] = []
        self.wake_ms = wake_ms

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:  # noqa: ARG002
        return [Work(5, 1)]

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:  # noqa: ARG002
        if data == b"stop":
            broken("told to")
        self.heard.append(data)
        return [Send((0, 1, 2), data), Write(data, 7)]

    def handle_done(self, token: int, now_ms: int) -> list[Action]:  # noqa: ARG002
        self.done.append(token)
        return []

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:  # noqa: ARG002
        return []

    def handle_deadline(self, now_ms: int) -> list[Action]:
        self.wake_ms = now_ms + 100
        return [Send((0,), b"woke")]

    def deadline_ms(self) -> int | None:
        return self.wake_ms


def test_twins_talk_to_their_own_sides_and_get_their_own_tokens_back() -> None:
    first, second = Echo(10), Echo(20)
    pair = TwinPair((first, second), 4, Random(1))
    assert [action.token for action in pair.start((), 0) if isinstance(action, Work)] == [2, 3, TICK_TOKEN]
    pair._sides = [FIRST, SECOND, BOTH, BOTH]
    assert pair.receive(0, b"a", 1) == [Send((0, 2), b"a"), Write(b"a", 14)]
    assert pair.receive(1, b"b", 1) == [Send((1, 2), b"b"), Write(b"b", 15)]
    assert len(pair.receive(2, b"c", 1)) == 4
    assert (first.heard, second.heard) == ([b"a", b"c"], [b"b", b"c"])
    pair.handle_done(14, 2)
    pair.handle_done(15, 2)
    assert (first.done, second.done) == ([7], [7])


def test_twins_wake_each_at_its_own_time_and_their_sides_change() -> None:
    pair = TwinPair((Echo(10), Echo(20)), 4, Random(1))
    assert pair.deadline_ms() == 10
    assert pair.handle_deadline(15) == [Send((0,), b"woke")]
    assert pair.deadline_ms() == 20
    seen = set()
    for _ in range(30):
        (again,) = pair.handle_done(TICK_TOKEN, 20)
        assert isinstance(again, Work)
        seen.add(tuple(pair._sides))
    assert len(seen) > 5


def test_a_broken_state_stops_a_faulty_node_for_good() -> None:
    node = Stoppable(Echo(10))
    assert node.receive(0, b"a", 1) != []
    assert node.receive(0, b"stop", 1) == []
    assert node.failure == "told to"
    assert (
        node.receive(0, b"a", 1)
        == node.handle_done(1, 1)
        == node.handle_deadline(1)
        == node.handle_link(1, True, 1)
        == []
    )
    assert node.deadline_ms() is None


def test_twins_really_sign_two_blocks_of_a_round_and_go_on() -> None:
    run = Run(2, Settings(node_count=4, byzantine_count=1, role=Role.TWINS, rounds_min=40), None)
    run.play()
    (unheard,) = run._unheard.values()
    assert isinstance(unheard, Unheard)
    assert unheard.doubled_count > 3
    (twins,) = (run.world.hosts[index].node for index in run.plan.roles)
    assert isinstance(twins, TwinPair)
    for twin in twins._twins:
        assert isinstance(twin, Stoppable)
        assert twin.failure == ""
