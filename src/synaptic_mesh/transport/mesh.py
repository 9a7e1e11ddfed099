"""A network over any links: envelopes around every frame, counters, and the blob exchange."""

import asyncio
from collections.abc import Callable, Iterable

from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import Digest, NetworkId, PeerId, short
from synaptic_mesh.identity.envelope import EVERYONE, EnvelopeRejected, Opened, Opener, Sealer
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.transport.exchange import BLOB_TOPIC, REQUEST_TIMEOUT_MS, BlobFetcher, BlobServer
from synaptic_mesh.transport.links import Frame, Links
from synaptic_mesh.transport.network import BlobSource, Counters, OnPeers


def welcome_all(peer: PeerId) -> bool:
    """Accept every signer: for networks whose links already admit members only."""
    return len(peer) > 0


class MeshNetwork:
    """Implements `Network` over `Links`.

    `incarnation` must grow with every start of this key (storage/incarnation.py keeps it). `is_welcome` says whose
    messages are read at all: membership is ledger state and the caller knows it. It is asked on the event loop before
    any signature is checked.
    """

    def __init__(
        self,
        links: Links,
        key: KeyPair,
        network: NetworkId,
        incarnation: int,
        is_welcome: Callable[[PeerId], bool] = welcome_all,
    ) -> None:
        self.counters = Counters()
        self.me = key.peer_id
        self._links = links
        self._sealer = Sealer(key, network, incarnation)
        self._opener = Opener(network, key.peer_id, is_welcome)
        self._server = BlobServer(self.counters)
        self._fetcher = BlobFetcher(self._ask, self.counters)
        self._peers: frozenset[PeerId] = frozenset()
        self._peers_changed = asyncio.Event()
        self._on_message: Callable[[Opened], None] | None = None
        self._on_peers: OnPeers | None = None
        self._closed = False

    async def start(self, on_message: Callable[[Opened], None], on_peers: OnPeers | None = None) -> None:
        """See `Network.start`. Raises LocalError when started before."""
        if self._on_message is not None or self._closed:
            raise LocalError("a network can be started once: make a new one")
        self._on_message = on_message
        self._on_peers = on_peers
        await self._links.open(self)

    def send(self, peer: PeerId, topic: str, payload: bytes) -> None:
        """See `Network.send`."""
        if peer == self.me:
            raise LocalError(f"peer {short(peer)} cannot send to itself: handle the message directly")
        frame = self._seal(topic, payload, peer)
        self._count_sent(frame, not self._closed and self._links.send(peer, frame), 1)

    def broadcast(self, topic: str, payload: bytes) -> None:
        """See `Network.broadcast`."""
        frame = self._seal(topic, payload, EVERYONE)
        self._count_sent(frame, not self._closed and self._links.broadcast(frame), len(self._peers))

    async def fetch_blob(self, digest: Digest, size: int, holders: Iterable[PeerId]) -> bytes:
        """See `Network.fetch_blob`."""
        return await self._fetcher.fetch(digest, size, [peer for peer in holders if peer != self.me])

    def serve(self, source: BlobSource) -> None:
        """See `Network.serve`."""
        self._server.source = source

    def peers(self) -> frozenset[PeerId]:
        """See `Network.peers`."""
        return self._peers

    async def wait_for_peers(self, peers: Iterable[PeerId], timeout_ms: int) -> frozenset[PeerId]:
        """See `Network.wait_for_peers`."""
        wanted = frozenset(peers) - {self.me}
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                while not wanted <= self._peers:
                    self._peers_changed.clear()
                    await self._peers_changed.wait()
        except TimeoutError:
            pass
        return wanted - self._peers

    async def close(self) -> None:
        """See `Network.close`."""
        self._closed = True
        await self._links.close()
        self.on_peers(frozenset())

    # What the links call (`Receiver`).

    def on_frames(self, frames: list[Frame]) -> None:
        """Open each frame; hand up the messages, count the rest."""
        if self._on_message is None or self._closed:
            return
        for header, payload in frames:
            opened = self._open(header, payload)
            if opened is None:
                continue
            self.counters.control_received += 1
            self.counters.control_received_bytes += len(header) + len(payload)
            if opened.topic == BLOB_TOPIC:
                self.counters.drop("lane")  # blob questions have their own lane
            else:
                self._on_message(opened)

    async def on_request(self, header: bytes, payload: bytes) -> bytes:
        """Answer a blob question that is signed by a welcome peer; b"" refuses."""
        opened = None if self._closed else self._open(header, payload)
        if opened is None or opened.topic != BLOB_TOPIC or not opened.direct:
            return b""
        try:
            return await self._server.answer_untrusted(opened.sender, opened.payload)
        except PeerError:
            self.counters.drop("blob_request")
        except ResourceError:
            self.counters.drop("blob_source")  # our disk failed, not the peer: it asks another holder
        return b""

    def on_peers(self, peers: frozenset[PeerId]) -> None:
        """Take the new set of linked peers."""
        if peers == self._peers:
            return
        self._peers = peers
        self._peers_changed.set()
        if self._on_peers is not None:
            self._on_peers(peers)

    def on_drop(self, reason: str, count: int) -> None:
        """Count what the links dropped."""
        self.counters.drop(reason, count)

    def _seal(self, topic: str, payload: bytes, recipient: PeerId) -> Frame:
        if topic == BLOB_TOPIC:
            raise LocalError(f"topic {topic!r} is kept for blobs: use another, or fetch_blob")
        return self._sealer.seal(topic, payload, recipient), payload

    def _open(self, header: bytes, payload: bytes) -> Opened | None:
        try:
            return self._opener.open_untrusted(header, payload)
        except EnvelopeRejected as rejected:
            self.counters.drop(rejected.reason.value)
            return None

    async def _ask(self, peer: PeerId, question: bytes) -> bytes:
        if self._closed:
            raise ResourceError("the network is closed")
        frame = (self._sealer.seal(BLOB_TOPIC, question, peer), question)
        return await self._links.request(peer, frame, REQUEST_TIMEOUT_MS)

    def _count_sent(self, frame: Frame, queued: bool, copies: int) -> None:
        if queued:
            self.counters.control_sent += copies
            self.counters.control_sent_bytes += copies * (len(frame[0]) + len(frame[1]))
        else:
            self.counters.drop("unsent")
