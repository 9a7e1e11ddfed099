import asyncio

import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.transport import memory
from synaptic_mesh.transport.links import Frame
from synaptic_mesh.transport.memory import MemoryHub, MemorySettings

A, B, C = PeerId(b"a" * 32), PeerId(b"b" * 32), PeerId(b"c" * 32)


class Listener:
    """A receiver that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.drops: dict[str, int] = {}
        self.arrived = asyncio.Event()

    def on_frames(self, frames: list[Frame]) -> None:
        self.frames += frames
        self.arrived.set()

    async def on_request(self, header: bytes, payload: bytes) -> bytes:
        return header + payload

    def on_peers(self, peers: frozenset[PeerId]) -> None:
        self.peers = peers

    def on_drop(self, reason: str, count: int) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + count


async def heard_by_b(settings: MemorySettings, count: int) -> list[Frame]:
    hub = MemoryHub(settings)
    a, b, listener = hub.attach(A), hub.attach(B), Listener()
    await a.open(Listener())
    await b.open(listener)
    for number in range(count):
        assert a.send(B, (b"%d" % number, b""))
    hub.settings = MemorySettings()
    hub._lines[A, B]._settings = MemorySettings(settings.delay_ms_min, settings.delay_ms_max)
    a.send(B, (b"end", b""))
    while not listener.frames or listener.frames[-1][0] != b"end":
        listener.arrived.clear()
        await listener.arrived.wait()
    return listener.frames


def test_loss_and_order_are_those_of_the_seed() -> None:
    settings = MemorySettings(0.0, 2.0, loss=0.3, seed=5)
    first = asyncio.run(heard_by_b(settings, 300))
    assert first == asyncio.run(heard_by_b(settings, 300))
    assert first != asyncio.run(heard_by_b(MemorySettings(0.0, 2.0, loss=0.3, seed=6), 300))
    numbers = [int(header) for header, _ in first[:-1]]
    assert numbers == sorted(numbers)
    assert 150 < len(numbers) < 270


def test_a_delayed_frame_takes_its_time() -> None:
    async def turns_until_arrival(settings: MemorySettings) -> int:
        hub = MemoryHub(settings)
        a, b, listener = hub.attach(A), hub.attach(B), Listener()
        await a.open(Listener())
        await b.open(listener)
        a.send(B, (b"x", b""))
        turns = 0
        while not listener.frames:
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(turns_until_arrival(MemorySettings())) == 1
    assert asyncio.run(turns_until_arrival(MemorySettings(20.0, 20.0))) > 10


def test_what_is_on_the_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LINE_FRAMES_MAX", 10)

    async def whole() -> None:
        hub = MemoryHub(MemorySettings(1.0, 1.0))
        a, b, listener = hub.attach(A), hub.attach(B), Listener()
        await a.open(Listener())
        await b.open(listener)
        assert [a.send(B, (b"x", b"")) for _ in range(12)] == [True] * 10 + [False] * 2
        while len(listener.frames) < 10:
            await asyncio.sleep(0)
        assert a.send(B, (b"x", b""))

    asyncio.run(whole())


def test_a_flood_leaves_room_for_the_others() -> None:
    async def whole() -> None:
        hub = MemoryHub()
        a, b, c, listener = hub.attach(A), hub.attach(B), hub.attach(C), Listener()
        for links in (a, c):
            await links.open(Listener())
        await b.open(listener)
        b.stall(True)
        for _ in range(10_000):
            a.send(B, (b"flood", b""))
        for number in range(500):
            c.send(B, (b"%d" % number, b""))
        b.stall(False)
        while (b"499", b"") not in listener.frames:
            await asyncio.sleep(0)
        from_c = [header for header, _ in listener.frames if header != b"flood"]
        assert from_c == [b"%d" % number for number in range(500)]
        assert len(listener.frames) - len(from_c) <= 500 + 64  # each had its turns, whoever came first
        # Half of the room took 1,023 frames of the flood: 8,192 + 5 bytes each of 8 MiB.
        assert listener.drops == {"inbox": 10_000 - 1_023}

    asyncio.run(whole())


def test_requests_time_out_when_they_are_lost_or_not_answered() -> None:
    async def whole() -> None:
        hub = MemoryHub()
        a, b = hub.attach(A), hub.attach(B)
        await a.open(Listener())
        with pytest.raises(ResourceError, match="not linked"):
            await a.request(B, (b"", b""), 1)
        await b.open(Listener())
        assert await a.request(B, (b"x", b"y"), 1_000) == b"xy"
        b.stall(True)
        with pytest.raises(ResourceError, match="did not answer within 1 ms"):
            await a.request(B, (b"", b""), 1)
        lossy = MemoryHub(MemorySettings(loss=1.0))
        c, d = lossy.attach(A), lossy.attach(B)
        await c.open(Listener())
        await d.open(Listener())
        with pytest.raises(ResourceError, match="did not answer within 1 ms"):
            await c.request(B, (b"", b""), 1)

    asyncio.run(whole())


def test_one_id_joins_once() -> None:
    async def whole() -> None:
        hub = MemoryHub()
        first, second = hub.attach(A), hub.attach(A)
        await first.open(Listener())
        with pytest.raises(LocalError):
            await first.open(Listener())
        with pytest.raises(ResourceError, match="close it first"):
            await second.open(Listener())
        await first.close()
        await hub.attach(A).open(Listener())

    asyncio.run(whole())


def test_settings_are_checked() -> None:
    for wrong in ({"loss": 1.5}, {"delay_ms_min": 2.0, "delay_ms_max": 1.0}, {"delay_ms_min": -1.0}):
        with pytest.raises(ValueError):
            MemorySettings(**wrong)  # type: ignore[arg-type]
