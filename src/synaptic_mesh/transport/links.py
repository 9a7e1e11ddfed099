"""The lower half of a network: frames between peers that are not yet believed.

A frame is (header, payload). Links carry two lanes. Control is small, urgent and may be lost: `send` and `broadcast`
never block and say only whether the frame was queued. Bulk is a question with one answer: `request`. Nothing on a link
proves who sent a frame; the envelope in the header does. Whatever a link calls on its `Receiver` runs on the event
loop.
"""

from typing import Protocol

from synaptic_mesh.base.ids import PeerId

Frame = tuple[bytes, bytes]
"""(header, payload) as they came off the wire."""

REPLY_BYTES_MAX = 16 << 20
"""Largest answer to a request: a blob chunk with room to spare."""


class Receiver(Protocol):
    """What a link calls, always on the event loop."""

    def on_frames(self, frames: list[Frame]) -> None:
        """Frames of the control lane, in order of arrival for each peer."""

    async def on_request(self, header: bytes, payload: bytes) -> bytes:
        """Answer a question of the bulk lane; b"" refuses it."""

    def on_peers(self, peers: frozenset[PeerId]) -> None:
        """The set of peers that can be reached has changed to `peers`."""

    def on_drop(self, reason: str, count: int) -> None:
        """`count` frames were dropped by the link itself."""


class Links(Protocol):
    """One node's links to its peers."""

    async def open(self, receiver: Receiver) -> None:
        """Begin listening and connecting. Raises ResourceError if the machine refuses (a port in use)."""

    def send(self, peer: PeerId, frame: Frame) -> bool:
        """Queue a control frame for one peer; False if the peer cannot be reached or the queue is full."""

    def broadcast(self, frame: Frame) -> bool:
        """Queue a control frame for every peer that can be reached, never for this node itself."""

    async def request(self, peer: PeerId, frame: Frame, timeout_ms: int) -> bytes:
        """Ask one peer and return its answer, b"" if it refuses. Raises ResourceError if none comes in time."""

    async def close(self) -> None:
        """Close every link. Calling it twice is harmless. It ends within a few seconds whatever the peers do."""
