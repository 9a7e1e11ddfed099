"""What passes between the loop and the threads of a network, and in which portions."""

import asyncio
import threading

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.identity.envelope import EVERYONE
from synaptic_mesh.transport.fair_queue import FRAME_COST, OTHERS_COST_MAX, OTHERS_TURN_COST, QUANTUM
from synaptic_mesh.transport.links import Frame
from synaptic_mesh.transport.mailboxes import Inbox, Outbox, Seats

A, B = PeerId(b"A" * 32), PeerId(b"B" * 32)


class Listener:
    def __init__(self) -> None:
        self.batches: list[list[Frame]] = []
        self.drops: dict[str, int] = {}
        self.end = asyncio.Event()

    def on_frames(self, frames: list[Frame]) -> None:
        self.batches.append(frames)
        if (b"", b"end") in frames:
            self.end.set()

    async def on_request(self, header: bytes, payload: bytes) -> bytes:
        return header + payload

    def on_peers(self, peers: frozenset[PeerId]) -> None:
        raise AssertionError(peers)

    def on_drop(self, reason: str, count: int) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + count


def test_a_flood_is_handed_over_turn_by_turn_and_the_loop_goes_on() -> None:
    async def whole() -> None:
        inbox, listener = Inbox(), Listener()
        inbox.attach(asyncio.get_running_loop(), listener)

        def flood() -> None:
            for _ in range(OTHERS_COST_MAX // FRAME_COST):
                inbox.put(A, (b"", b""))
            inbox.put(B, (b"", b"end"))

        thread = threading.Thread(target=flood)
        thread.start()
        thread.join()
        others = 0
        while not listener.end.is_set():
            await asyncio.sleep(0)  # what else the loop has to do
            others += 1
        assert others <= 3  # B had not to wait for what A had sent
        while sum(map(len, listener.batches)) < OTHERS_COST_MAX // FRAME_COST // 2 + 1:
            await asyncio.sleep(0)
            others += 1
        assert max(map(len, listener.batches)) <= (OTHERS_TURN_COST + QUANTUM) // FRAME_COST
        assert others >= len(listener.batches) > 10
        assert listener.drops == {"inbox": OTHERS_COST_MAX // FRAME_COST // 2}

    asyncio.run(whole())


def test_a_detached_inbox_hands_over_nothing() -> None:
    async def whole() -> None:
        inbox, listener = Inbox(), Listener()
        inbox.attach(asyncio.get_running_loop(), listener)
        inbox.put(A, (b"", b"end"))
        inbox.detach()
        inbox.put(A, (b"", b"end"))
        await asyncio.sleep(0)
        assert listener.batches == []

    asyncio.run(whole())


def test_an_outbox_gives_everyone_a_turn_and_ends_when_it_is_empty() -> None:
    outbox = Outbox()
    while outbox.put(A, (b"", bytes(100_000))):
        pass
    assert outbox.put(B, (b"", b"for b"))
    assert outbox.put(EVERYONE, (b"", b"for all"))
    first = [peer for peer, _ in outbox.take()]
    assert {A, B, EVERYONE} == set(first)
    outbox.close()
    assert not outbox.put(B, (b"", b"late"))
    while turn := outbox.take():
        assert {peer for peer, _ in turn} == {A}


def test_a_thread_that_waits_for_an_outbox_is_woken() -> None:
    outbox = Outbox()
    taken: list[list[tuple[PeerId, Frame]]] = []

    def work() -> None:
        while turn := outbox.take():
            taken.append(turn)

    thread = threading.Thread(target=work)
    thread.start()
    outbox.put(A, (b"x", b"y"))
    outbox.close()
    thread.join()
    assert taken == [[(A, (b"x", b"y"))]]


def test_seats_are_bounded_for_one_and_for_all() -> None:
    seats = Seats(3, 2)
    assert [seats.take(A) for _ in range(3)] == [True, True, False]
    assert [seats.take(B) for _ in range(2)] == [True, False]
    seats.leave(A)
    assert seats.take(B)
    assert not seats.take(A)
