"""What the rest of the node sees of the network.

Control messages are small and may be lost, doubled never, reordered sometimes: each protocol repeats what it needs to.
Bulk data travels as blobs, pulled by their BLAKE3. Every message handed up was signed by its sender for this network
and this peer.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.identity.envelope import Opened

BlobSource = Callable[[Digest], bytes | memoryview | None]
"""Gives the bytes of a blob that may be served now, or None: missing, damaged, or sealed until it is published.

It is called on a worker thread, so it may read a disk; it must be safe to call beside the event loop.
"""


OnPeers = Callable[[frozenset[PeerId]], None]
"""Called on the event loop with the new set whenever the linked peers have changed."""


class Counters(msgspec.Struct):
    """What a network has done since it was started. Bytes are payload and header, without TLS or framing."""

    control_sent: int = 0
    control_sent_bytes: int = 0
    control_received: int = 0
    control_received_bytes: int = 0
    blob_sent_bytes: int = 0
    blob_received_bytes: int = 0
    drops: dict[str, int] = {}
    """Frames and answers that were dropped, by reason."""

    def drop(self, reason: str, count: int = 1) -> None:
        """Count a drop."""
        self.drops[reason] = self.drops.get(reason, 0) + count


class Network(Protocol):
    """One node's place in one network."""

    counters: Counters

    async def start(self, on_message: Callable[[Opened], None], on_peers: OnPeers | None = None) -> None:
        """Open the links. From here on `on_message` is called on the event loop for every message that passes, and
        `on_peers` whenever the set of linked peers has changed."""

    def send(self, peer: PeerId, topic: str, payload: bytes) -> None:
        """Sign and queue a control message for one peer. Never blocks; a drop is counted, not raised.

        Raises LocalError for a topic or size that no peer would accept, or when `peer` is this node itself.
        """

    def broadcast(self, topic: str, payload: bytes) -> None:
        """Sign once and queue for every linked peer except this one; like `send` otherwise."""

    async def fetch_blob(self, digest: Digest, size: int, holders: Iterable[PeerId]) -> bytes:
        """Return the blob of exactly `size` bytes whose BLAKE3 is `digest`, pulled from any of `holders`.

        Raises ResourceError when no holder gives it, LocalError when `size` is out of bounds.
        """

    def serve(self, source: BlobSource) -> None:
        """From now on answer peers' requests for blobs from `source`. Until it is called every request is refused."""

    def peers(self) -> frozenset[PeerId]:
        """Peers that are linked now."""

    async def wait_for_peers(self, peers: Iterable[PeerId], timeout_ms: int) -> frozenset[PeerId]:
        """Wait until all of `peers` are linked or the time is over; return those that are not."""

    async def close(self) -> None:
        """Close the links. Calling it twice is harmless; afterwards nothing is sent or received."""
