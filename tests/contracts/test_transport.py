"""What every network promises, asked of both kinds of link."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest, NetworkId, PeerId
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.identity.certificates import Issuer, make_credentials, trust_bundle
from synaptic_mesh.identity.envelope import PAYLOAD_BYTES_MAX, Opened, Sealer
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.transport.exchange import CHUNK_BYTES
from synaptic_mesh.transport.links import Frame, Links
from synaptic_mesh.transport.memory import MemoryHub, MemoryLinks, MemorySettings
from synaptic_mesh.transport.mesh import MeshNetwork
from synaptic_mesh.transport.zenoh_links import ZenohLinks
from synaptic_mesh.transport.zenoh_settings import ZenohSettings

NETWORK = NetworkId(b"contract" * 4)
PATIENCE_MS = 20_000
NOW_MS = int(datetime.now(UTC).timestamp()) * 1_000  # TLS looks at the date; nothing else here does


class Node:
    """A network and what it heard."""

    def __init__(self, links: Links, key: KeyPair, incarnation: int = 1, network: NetworkId = NETWORK) -> None:
        self.links = links
        self.key = key
        self.id = key.peer_id
        self.network = MeshNetwork(links, key, network, incarnation)
        self.heard: asyncio.Queue[Opened] = asyncio.Queue()

    async def start(self) -> None:
        await self.network.start(self.heard.put_nowait)

    async def hear(self) -> Opened:
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            return await self.heard.get()

    async def hear_only(self, sentinel: bytes) -> list[bytes]:
        """Payloads heard before the message `sentinel`."""
        before = []
        while (message := await self.hear()).payload != sentinel:
            before.append(message.payload)
        return before

    def drops(self) -> dict[str, int]:
        return self.network.counters.drops


class Harness:
    """Makes nodes that can reach one another."""

    def links(self, key: KeyPair, *, is_client: bool = False) -> Links:
        raise NotImplementedError

    def stall(self, node: Node, stalled: bool) -> None:
        raise NotImplementedError


class MemoryHarness(Harness):
    def __init__(self) -> None:
        self.hub = MemoryHub(MemorySettings(delay_ms_min=0.1, delay_ms_max=1.0, seed=7))

    def links(self, key: KeyPair, *, is_client: bool = False) -> Links:
        return self.hub.attach(key.peer_id, is_client=is_client)

    def stall(self, node: Node, stalled: bool) -> None:
        cast(MemoryLinks, node.links).stall(stalled)


class ZenohHarness(Harness):
    """Four seats on loopback; each leaf comes from another issuer."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.issuers = [Issuer(keypair(index), NOW_MS) for index in range(4)]
        self.bundle = trust_bundle([issuer.certificate for issuer in self.issuers])
        self.ports = free_ports(4)
        self.seats: dict[PeerId, int] = {}

    def links(self, key: KeyPair, *, is_client: bool = False) -> Links:
        seat = self.seats.setdefault(key.peer_id, len(self.seats))
        endpoints = tuple(f"127.0.0.1:{port}" for port in self.ports)
        credentials = make_credentials(key, self.issuers[(seat + 1) % 4], self.bundle, NOW_MS)
        listen = () if is_client else (endpoints[seat],)
        settings = ZenohSettings(listen, endpoints, credentials, is_client=is_client)
        return ZenohLinks(settings, NETWORK, key.peer_id)

    def stall(self, node: Node, stalled: bool) -> None:
        lock = cast(
            Any, node.links
        )._inbox._lock  # the thread that calls back stops here, and so does the link behind it
        if stalled:
            lock.acquire()
        else:
            lock.release()


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(server.getsockname()[1]) for server in held]
    for server in held:
        server.close()
    return ports


def keypair(index: int) -> KeyPair:
    return KeyPair(bytes([index + 1]) * 32)


@pytest.fixture(params=["memory", pytest.param("zenoh", marks=pytest.mark.process)])
def harness(request: pytest.FixtureRequest) -> Harness:
    return MemoryHarness() if request.param == "memory" else ZenohHarness()


def run(harness: Harness, count: int, scenario: Callable[..., Awaitable[None]]) -> None:
    """Run `scenario` with `count` linked nodes, and close them."""

    async def whole() -> None:
        nodes = [Node(harness.links(keypair(index)), keypair(index)) for index in range(count)]
        try:
            for node in nodes:
                await node.start()
            await link(nodes)
            await scenario(*nodes)
        finally:
            for node in nodes:
                await node.network.close()

    asyncio.run(whole())


async def link(nodes: list[Node]) -> None:
    for node in nodes:
        await link_to(node, nodes)


async def link_to(node: Node, others: list[Node]) -> None:
    missing = await node.network.wait_for_peers((other.id for other in others), PATIENCE_MS)
    assert not missing


def data(size: int) -> bytes:
    return derive_random(1, "blob", size).randbytes(size)


def source_of(*blobs: bytes) -> Callable[[Digest], bytes | None]:
    return {blob_digest(blob): blob for blob in blobs}.get


def test_a_message_arrives_as_it_was_sent(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        a.network.send(b.id, "vote", b"hello")
        assert await b.hear() == Opened(a.id, "vote", b"hello", True)
        b.network.send(a.id, "vote", b"")
        assert await a.hear() == Opened(b.id, "vote", b"", True)
        assert c.heard.empty()
        assert a.network.counters.control_sent_bytes == b.network.counters.control_received_bytes > 0
        with pytest.raises(LocalError):
            a.network.send(a.id, "vote", b"")

    run(harness, 3, scenario)


def test_a_broadcast_reaches_everyone_but_its_sender(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        a.network.broadcast("block", b"for all")
        for node in (b, c):
            assert await node.hear() == Opened(a.id, "block", b"for all", False)
        b.network.send(a.id, "vote", b"end")
        assert await a.hear_only(b"end") == []

    run(harness, 3, scenario)


def test_a_client_asks_and_is_answered_but_is_no_node(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        client = Node(harness.links(keypair(2), is_client=True), keypair(2))
        try:
            await client.start()
            await link_to(client, [a, b])
            client.network.send(a.id, "ask", b"how much")
            assert (await a.hear()).payload == b"how much"
            while not client.heard.qsize():  # its token may still be on the way: then a send is a counted drop
                a.network.send(client.id, "answer", b"enough")
                await asyncio.sleep(0)
            assert (await client.hear()).payload == b"enough"
            a.network.broadcast("block", b"for nodes")
            assert (await b.hear()).payload == b"for nodes"
            a.network.send(client.id, "answer", b"end")
            assert set(await client.hear_only(b"end")) <= {b"enough"}
            assert a.network.peers() == {b.id}
            assert b.network.peers() == {a.id}
        finally:
            await client.network.close()

    run(harness, 2, scenario)


def test_messages_of_one_peer_stay_in_order(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        for number in range(200):
            a.network.send(b.id, "vote", b"%d" % number)
        assert [(await b.hear()).payload for _ in range(200)] == [b"%d" % number for number in range(200)]

    run(harness, 2, scenario)


def test_the_largest_message_passes_and_a_larger_one_is_refused(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        big = data(PAYLOAD_BYTES_MAX)
        a.network.broadcast("block", big)
        assert (await b.hear()).payload == big
        with pytest.raises(LocalError, match="as a blob"):
            a.network.broadcast("block", big + b"x")

    run(harness, 2, scenario)


def test_what_is_not_acceptable_is_dropped_and_counted(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        good = Sealer(a.key, NETWORK, 1_000)
        wrong = Sealer(a.key, NetworkId(b"elsewhere" + bytes(23)), 1_000)
        once: Frame = (good.seal("vote", b"once"), b"once")
        old: Frame = (Sealer(a.key, NETWORK, 999).seal("vote", b"old"), b"old")
        end: Frame = (good.seal("vote", b"end"), b"end")
        forged = Sealer(keypair(9), NETWORK, 2_000).seal("vote", b"x").replace(keypair(9).peer_id, a.id)
        hostile: list[Frame] = [
            once,
            once,
            old,
            (wrong.seal("vote", b"x"), b"x"),
            (forged, b"x"),
            (good.seal("vote", b"x"), b"y"),
            (good.seal("vote", b"x", keypair(8).peer_id), b"x"),
            (b"garbage", b"x"),
            (good.seal("blob", b"x"), b"x"),
            (bytes(1_000), b"x"),
            end,
        ]
        for frame in hostile:
            assert a.links.send(b.id, frame)
        assert await b.hear_only(b"end") == [b"once"]
        assert b.drops() == {
            "replayed": 1,
            "stale": 1,
            "network": 1,
            "signature": 1,
            "payload": 1,
            "recipient": 1,
            "malformed": 1,
            "lane": 1,
            "oversized": 1,
        }

    run(harness, 2, scenario)


@pytest.mark.parametrize("size", [0, 1, 1_000_000, CHUNK_BYTES, CHUNK_BYTES + 1, 20_000_000])
def test_a_blob_is_pulled_by_its_hash(harness: Harness, size: int) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        blob = data(size)
        b.network.serve(source_of(blob))
        c.network.serve(source_of(blob))
        assert await a.network.fetch_blob(blob_digest(blob), size, [b.id, c.id]) == blob
        sent = b.network.counters.blob_sent_bytes + c.network.counters.blob_sent_bytes
        manifests = 2 * 32 * 5 if size > CHUNK_BYTES else 0
        assert size <= sent <= size + manifests

    run(harness, 3, scenario)


def test_a_blob_nobody_serves_fails_with_the_reason(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        b.network.serve(source_of())
        with pytest.raises(ResourceError, match="does not serve it"):
            await a.network.fetch_blob(blob_digest(b"x"), 1, [b.id, c.id])
        with pytest.raises(ResourceError, match="no holder is known"):
            await a.network.fetch_blob(blob_digest(b"x"), 1, [a.id])
        with pytest.raises(ResourceError, match="is not linked"):
            await a.network.fetch_blob(blob_digest(b"x"), 1, [keypair(7).peer_id])
        with pytest.raises(ResourceError, match="0 bytes"):
            await a.network.fetch_blob(blob_digest(b"x"), 0, [b.id])
        with pytest.raises(LocalError, match="out of bounds"):
            await a.network.fetch_blob(blob_digest(b"x"), 1 << 40, [b.id])

    run(harness, 3, scenario)


@pytest.mark.parametrize("size", [1_000, 9_000_000])
def test_a_corrupt_holder_is_skipped(harness: Harness, size: int) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        blob = data(size)
        damaged = blob[:-1] + bytes([blob[-1] ^ 1])
        b.network.serve({blob_digest(blob): damaged}.get)
        c.network.serve(source_of(blob))
        assert await a.network.fetch_blob(blob_digest(blob), size, [b.id, c.id]) == blob
        with pytest.raises(ResourceError, match=r"does not match|of another blob"):
            await a.network.fetch_blob(blob_digest(blob), size, [b.id])
        assert sum(count for reason, count in a.drops().items() if reason.startswith("blob_")) > 0

    run(harness, 3, scenario)


def test_a_holder_with_a_wrong_length_is_skipped(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        blob = data(9_000_000)
        b.network.serve({blob_digest(blob): blob[:5_000_000]}.get)
        c.network.serve(source_of(blob))
        assert await a.network.fetch_blob(blob_digest(blob), len(blob), [b.id, c.id]) == blob

    run(harness, 3, scenario)


def test_a_sealed_blob_is_refused_until_it_is_published(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        blob, published = data(1_000), set[Digest]()
        b.network.serve(lambda digest: blob if digest in published else None)
        with pytest.raises(ResourceError, match="does not serve it"):
            await a.network.fetch_blob(blob_digest(blob), len(blob), [b.id])
        published.add(blob_digest(blob))
        assert await a.network.fetch_blob(blob_digest(blob), len(blob), [b.id]) == blob

    run(harness, 2, scenario)


def test_a_disk_that_fails_while_serving_harms_nobody(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        def failing(_digest: Digest) -> bytes:
            raise ResourceError("the disk is gone")

        b.network.serve(failing)
        c.network.serve(source_of(b"blob"))
        assert await a.network.fetch_blob(blob_digest(b"blob"), 4, [b.id, c.id]) == b"blob"
        assert b.drops() == {"blob_source": 1}

    run(harness, 3, scenario)


def test_a_blob_question_that_makes_no_sense_is_refused(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        b.network.serve(source_of(data(10)))
        sealer = Sealer(a.key, NETWORK, 50)
        for question in (b"garbage", b"\x92\xa5chunk\xc4\x01x", b""):
            frame = (sealer.seal("blob", question, b.id), question)
            assert await a.links.request(b.id, frame, PATIENCE_MS) == b""
        assert await a.links.request(b.id, (b"unsigned", b""), PATIENCE_MS) == b""
        assert b.drops() == {"blob_request": 3, "malformed": 1}

    run(harness, 2, scenario)


def test_a_stalled_receiver_does_not_hold_up_its_senders(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        harness.stall(b, True)
        try:
            async with asyncio.timeout(PATIENCE_MS / 1_000):
                for _ in range(100):
                    for _ in range(100):
                        a.network.send(b.id, "vote", b"x" * 8_000)
                    await asyncio.to_thread(int)  # the loop is alive
            c.network.send(a.id, "vote", b"still here")
            assert (await a.hear()).payload == b"still here"
        finally:
            harness.stall(b, False)
        heard = 0
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            while b.heard.empty() or (await b.hear()).payload != b"end":
                heard += 1
                a.network.send(b.id, "vote", b"end")  # may be dropped while the link is still full
                await asyncio.to_thread(int)
        assert heard < 10_000  # what piled up for b is bounded; the rest was dropped

    run(harness, 3, scenario)


def test_a_peer_that_restarts_with_its_key_is_heard_again(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        b.network.send(a.id, "vote", b"before")
        assert (await a.hear()).payload == b"before"
        await b.network.close()
        again = Node(harness.links(b.key), b.key, incarnation=2)
        await again.start()
        try:
            await link([a, again])
            again.network.send(a.id, "vote", b"after")
            assert await a.hear() == Opened(b.id, "vote", b"after", True)
            a.network.send(b.id, "vote", b"welcome back")
            assert (await again.hear()).payload == b"welcome back"
        finally:
            await again.network.close()

    run(harness, 2, scenario)


def test_close_is_clean_and_can_be_repeated(harness: Harness) -> None:
    async def scenario(a: Node, b: Node) -> None:
        await a.network.close()
        await a.network.close()
        assert a.network.peers() == frozenset()
        a.network.broadcast("vote", b"x")
        a.network.send(b.id, "vote", b"x")
        assert a.drops() == {"unsent": 2}
        with pytest.raises(ResourceError):
            await a.network.fetch_blob(blob_digest(b"x"), 1, [b.id])
        with pytest.raises(LocalError):
            await a.network.start(a.heard.put_nowait)

    run(harness, 2, scenario)


def test_the_unwelcome_are_not_read(harness: Harness) -> None:
    async def scenario(a: Node, b: Node, c: Node) -> None:
        d = keypair(3)
        picky = MeshNetwork(harness.links(d), d, NETWORK, 1, is_welcome=lambda peer: peer == b.id)
        heard: asyncio.Queue[Opened] = asyncio.Queue()
        await picky.start(heard.put_nowait)
        try:
            for node in (a, b):
                assert not await node.network.wait_for_peers([d.peer_id], PATIENCE_MS)
            a.network.send(d.peer_id, "vote", b"ignored")
            async with asyncio.timeout(PATIENCE_MS / 1_000):
                while not picky.counters.drops.get("stranger"):
                    b.network.send(d.peer_id, "vote", b"read")
                    assert (await heard.get()).sender == b.id
        finally:
            await picky.close()
        assert c.heard.empty()

    run(harness, 3, scenario)


def test_one_node_alone_is_a_network(harness: Harness) -> None:
    async def scenario(a: Node) -> None:
        a.network.broadcast("block", b"nobody")
        assert a.network.peers() == frozenset()
        assert a.drops() == {}

    run(harness, 1, scenario)
