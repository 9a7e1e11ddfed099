"""Links inside one process: the whole network in the tests, and a mesh of one in production.

Delay and loss are injected per direction of each link from a seed. Frames of one direction stay in order. Nothing is
encrypted, since nothing leaves the process; envelopes are checked as on any other link.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

import msgspec

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import PeerId, short
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.transport.fair_queue import FairQueue
from synaptic_mesh.transport.links import REPLY_BYTES_MAX, Frame, Receiver

LINE_FRAMES_MAX = 4_096
"""Frames on their way from one node to another; further ones are dropped. Those that have arrived wait in a fair queue.
"""


class MemorySettings(msgspec.Struct, frozen=True):
    """What the links between all pairs do to frames."""

    delay_ms_min: float = 0.0
    delay_ms_max: float = 0.0
    """Each frame takes a time drawn evenly from this range."""
    loss: float = 0.0
    """Share of control frames that vanish, 0 to 1. Requests vanish as often, and then time out."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.delay_ms_min <= self.delay_ms_max and 0 <= self.loss <= 1):
            raise ValueError(f"delay {self.delay_ms_min}..{self.delay_ms_max} ms, loss {self.loss} make no sense")


class MemoryHub:
    """The medium between nodes of one process. One hub is one network segment on one event loop."""

    def __init__(self, settings: MemorySettings | None = None) -> None:
        self.settings = settings or MemorySettings()
        self._nodes: dict[PeerId, MemoryLinks] = {}
        self._lines: dict[tuple[PeerId, PeerId], _Line] = {}

    def attach(self, me: PeerId, *, is_client: bool = False, first: Iterable[PeerId] = ()) -> "MemoryLinks":
        """Return the links of one node; they come up when they are opened. A client hears no broadcasts, and nobody
        counts it among the nodes. Frames of the peers in `first` have room and turns of their own.
        """
        return MemoryLinks(self, me, is_client, frozenset(first))

    def peers_of(self, me: PeerId) -> list["MemoryLinks"]:
        """Open nodes other than `me` and clients, sorted by peer id."""
        nodes = [self._nodes[peer] for peer in sorted(self._nodes) if peer != me]
        return [node for node in nodes if not node.is_client]

    def find(self, peer: PeerId) -> "MemoryLinks | None":
        """The open node of that id."""
        return self._nodes.get(peer)

    def join(self, node: "MemoryLinks") -> None:
        """Bring a node up. Raises ResourceError if its id is up already."""
        if node.me in self._nodes:
            raise ResourceError(f"peer {short(node.me)} is in this network already: close it first")
        self._nodes[node.me] = node
        self._announce()

    def leave(self, node: "MemoryLinks") -> None:
        """Take a node down; harmless if it is not up."""
        if self._nodes.get(node.me) is node:
            del self._nodes[node.me]
            self._announce()

    def line(self, source: PeerId, target: PeerId) -> "_Line":
        """One direction between two nodes."""
        line = self._lines.get((source, target))
        if line is None:
            line = self._lines[source, target] = _Line(self.settings, source, target)
        return line

    def _announce(self) -> None:
        everyone = frozenset(peer for peer, node in self._nodes.items() if not node.is_client)
        for peer in sorted(self._nodes):
            self._nodes[peer].receive_peers(everyone - {peer})


class MemoryLinks:
    """Implements `Links` over a hub."""

    def __init__(
        self, hub: MemoryHub, me: PeerId, is_client: bool = False, first: frozenset[PeerId] = frozenset()
    ) -> None:
        self.me = me
        self.is_client = is_client
        self._hub = hub
        self._receiver: Receiver | None = None
        self._inbox = FairQueue(first)
        self._stalled = False
        self._wake_planned = False

    async def open(self, receiver: Receiver) -> None:
        """See `Links.open`."""
        if self._receiver is not None:
            raise LocalError("these links are open already")
        self._receiver = receiver
        self._hub.join(self)

    def send(self, peer: PeerId, frame: Frame) -> bool:
        """See `Links.send`."""
        node = self._hub.find(peer)
        return node is not None and node is not self and self._is_open() and self._deliver(node, frame)

    def broadcast(self, frame: Frame) -> bool:
        """See `Links.broadcast`."""
        if not self._is_open():
            return False
        delivered = [self._deliver(node, frame) for node in self._hub.peers_of(self.me)]
        return all(delivered)

    async def request(self, peer: PeerId, frame: Frame, timeout_ms: int) -> bytes:
        """See `Links.request`."""
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self._travel(self.me, peer)
                node = self._hub.find(peer)
                if node is None or not self._is_open():
                    raise ResourceError(f"peer {short(peer)} is not linked")
                answer = await node.answer(frame)
                await self._travel(peer, self.me)
        except TimeoutError:
            raise ResourceError(f"peer {short(peer)} did not answer within {timeout_ms} ms") from None
        if len(answer) > REPLY_BYTES_MAX:
            raise ResourceError(f"peer {short(peer)} answered with {len(answer)} bytes, over {REPLY_BYTES_MAX}")
        return answer

    async def close(self) -> None:
        """See `Links.close`."""
        self._hub.leave(self)
        self._receiver = None
        self._inbox.clear()

    def stall(self, stalled: bool) -> None:
        """Stop reading, or read on, as a process does that is suspended: tests of back pressure."""
        self._stalled = stalled
        self._plan_wake()

    # What the hub and other nodes call.

    def receive_peers(self, peers: frozenset[PeerId]) -> None:
        """Tell this node who is up."""
        if self._receiver is not None:
            self._receiver.on_peers(peers)

    def accept(self, frame: Frame, line: "_Line") -> bool:
        """Take a frame that comes over `line`; False when too many are on their way."""
        if self._receiver is None or len(line.waiting) >= LINE_FRAMES_MAX:
            return False
        loop = asyncio.get_running_loop()
        delay_s = line.delay_s(loop.time())
        line.waiting.append((self._receiver, frame))
        if delay_s > 0:
            loop.call_later(delay_s, self._arrive, line)
        else:
            self._arrive(line)
        return True

    async def answer(self, frame: Frame) -> bytes:
        """Answer a request; one that reaches a stalled or closed node waits for its time-out."""
        if self._receiver is None or self._stalled:
            silence: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            return await silence
        return await self._receiver.on_request(*frame)

    def _arrive(self, line: "_Line") -> None:
        # The oldest frame arrives, whichever timer rang: the loop does not keep timers of equal time in order.
        receiver, frame = line.waiting.popleft()
        if self._receiver is not receiver:
            return  # closed, perhaps opened again meanwhile
        if not self._inbox.put(line.source, frame):
            receiver.on_drop("inbox", 1)
        self._plan_wake()

    def _plan_wake(self) -> None:
        if self._inbox and not self._stalled and not self._wake_planned:
            self._wake_planned = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._wake_planned = False
        if self._stalled or self._receiver is None:
            return
        turn = self._inbox.take()
        self._plan_wake()
        self._receiver.on_frames([frame for _, frame in turn])

    def _is_open(self) -> bool:
        return self._receiver is not None

    def _deliver(self, node: "MemoryLinks", frame: Frame) -> bool:
        line = self._hub.line(self.me, node.me)
        if line.loses():
            return True  # as on a real wire: the sender does not see it
        return node.accept(frame, line)

    async def _travel(self, source: PeerId, target: PeerId) -> None:
        line = self._hub.line(source, target)
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[None] = loop.create_future()
        if not line.loses():
            delay_s = line.delay_s(loop.time())
            if delay_s <= 0:
                return
            handle = loop.call_later(delay_s, arrived.set_result, None)
            arrived.add_done_callback(lambda _: handle.cancel())
        await arrived


class _Line:
    """One direction between two nodes: its own stream of randomness, and when its last frame arrives."""

    def __init__(self, settings: MemorySettings, source: PeerId, target: PeerId) -> None:
        self.source = source
        self._settings = settings
        self._random = derive_random(settings.seed, "memory", source, target)
        self._last_arrival_s = 0.0
        self.waiting: deque[tuple[Receiver, Frame]] = deque()

    def loses(self) -> bool:
        return self._settings.loss > 0 and self._random.random() < self._settings.loss

    def delay_s(self, now_s: float) -> float:
        """Seconds until the frame arrives: never before the one ahead of it."""
        settings = self._settings
        if settings.delay_ms_max <= 0:
            return 0.0
        arrival_s = now_s + self._random.uniform(settings.delay_ms_min, settings.delay_ms_max) / 1_000
        self._last_arrival_s = max(arrival_s, self._last_arrival_s)
        return self._last_arrival_s - now_s
