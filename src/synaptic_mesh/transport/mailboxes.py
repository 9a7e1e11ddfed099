"""Where frames and requests wait between the event loop and the network's threads: fairly shared, bounded, safe
between threads.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.identity.envelope import EVERYONE
from synaptic_mesh.transport.fair_queue import FairQueue
from synaptic_mesh.transport.links import Frame, Receiver


class Inbox:
    """Hands what arrives on the network's threads to the event loop, turn by turn: between two turns the loop does
    everything else that is due, so a flood delays timers and disk by one turn at most.
    """

    def __init__(self, first: Iterable[PeerId] = ()) -> None:
        self._lock = threading.Lock()
        self._frames = FairQueue(frozenset(first))
        self._drops: dict[str, int] = {}
        self._planned = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receiver: Receiver | None = None

    def attach(self, loop: asyncio.AbstractEventLoop, receiver: Receiver) -> None:
        """From now on hand over to `receiver`, on `loop`."""
        self._loop, self._receiver = loop, receiver

    def detach(self) -> None:
        """Hand over nothing more."""
        self._receiver = None

    def put(self, sender: PeerId, frame: Frame) -> None:
        """Take a frame that came over the link of `sender`; drop and count it when the sender has too many here."""
        with self._lock:
            if not self._frames.put(sender, frame):
                self._count("inbox")
            self._plan()

    def drop(self, reason: str) -> None:
        """Count a frame that is not handed over."""
        with self._lock:
            self._count(reason)
            self._plan()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call on the loop; silently not when the loop is closed, which ends everything here."""
        try:
            if self._loop is not None and self._receiver is not None:
                self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._receiver = None

    def _count(self, reason: str) -> None:
        self._drops[reason] = self._drops.get(reason, 0) + 1

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self.call(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            turn = self._frames.take()
            drops, self._drops = self._drops, {}
            self._planned = False
            if self._frames:
                self._plan()
        if self._receiver is None:
            return
        for reason, count in sorted(drops.items()):
            self._receiver.on_drop(reason, count)
        if turn:
            self._receiver.on_frames([frame for _, frame in turn])


class Outbox:
    """Hands frames to the one thread that sends them. A peer that reads slowly holds up its own frames first: what is
    for others has room and turns of its own.
    """

    def __init__(self, first: Iterable[PeerId] = ()) -> None:
        self._changed = threading.Condition()
        self._frames = FairQueue(frozenset((EVERYONE, *first)))
        self._closed = False

    def put(self, peer: PeerId, frame: Frame) -> bool:
        """Queue a frame for a peer or `EVERYONE`; False when too many wait for it, or the box is closed."""
        with self._changed:
            taken = not self._closed and self._frames.put(peer, frame)
            if taken:
                self._changed.notify()
            return taken

    def take(self) -> list[tuple[PeerId, Frame]]:
        """Wait for the next turn and return it; empty when the box is closed and everything was taken."""
        with self._changed:
            while not self._frames and not self._closed:
                self._changed.wait()
            return self._frames.take()

    def close(self) -> None:
        """Take nothing more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Seats:
    """Requests that are under way, of all peers at most `all_max` and of one at most `peer_max`."""

    def __init__(self, all_max: int, peer_max: int) -> None:
        self._lock = threading.Lock()
        self._all_max = all_max
        self._peer_max = peer_max
        self._count = 0
        self._by_peer: dict[PeerId, int] = {}

    def take(self, peer: PeerId) -> bool:
        """Seat a request of `peer`; False when there is no room."""
        with self._lock:
            mine = self._by_peer.get(peer, 0)
            if self._count >= self._all_max or mine >= self._peer_max:
                return False
            self._count += 1
            self._by_peer[peer] = mine + 1
            return True

    def leave(self, peer: PeerId) -> None:
        """One request of `peer` is over."""
        with self._lock:
            self._count -= 1
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]
