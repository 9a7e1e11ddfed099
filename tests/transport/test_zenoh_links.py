"""Real sockets on loopback: who is let in, and what a link survives. The common promises are in tests/contracts."""

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zenoh

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest, NetworkId, PeerId
from synaptic_mesh.identity.certificates import Credentials, Issuer, make_credentials, trust_bundle
from synaptic_mesh.identity.envelope import Opened
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.transport.mesh import MeshNetwork
from synaptic_mesh.transport.zenoh_links import ZenohLinks, _certified_peers
from synaptic_mesh.transport.zenoh_settings import ZenohSettings

pytestmark = pytest.mark.process

NETWORK = NetworkId(b"zenoh-ln" * 4)
NOW_MS = int(datetime.now(UTC).timestamp()) * 1_000
DAY_MS = 86_400_000
KEYS = [KeyPair(bytes([index + 1]) * 32) for index in range(4)]
ISSUERS = [Issuer(key, NOW_MS) for key in KEYS]
BUNDLE = trust_bundle([issuer.certificate for issuer in ISSUERS[:3]])
PATIENCE_MS = 20_000
REFUSAL_MS = 1_500
"""How long a refused node is watched: several times what an accepted one needs."""


def credentials(index: int, issuer: Issuer | None = None, bundle: bytes = BUNDLE, now_ms: int = NOW_MS) -> Credentials:
    return make_credentials(KEYS[index], issuer or ISSUERS[(index + 1) % 3], bundle, now_ms)


class Ports:
    """Four free ports on loopback."""

    def __init__(self) -> None:
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
        self.numbers = [int(server.getsockname()[1]) for server in held]
        for server in held:
            server.close()
        self.endpoints = tuple(f"127.0.0.1:{number}" for number in self.numbers)

    def network(
        self,
        index: int,
        presented: Credentials | None = None,
        members: tuple[PeerId, ...] | None = None,
        me: PeerId | None = None,
        key: KeyPair | None = None,
    ) -> MeshNetwork:
        settings = ZenohSettings((self.endpoints[index],), self.endpoints, presented or credentials(index), members)
        signing = key or KEYS[index]
        return MeshNetwork(ZenohLinks(settings, NETWORK, me or signing.peer_id), signing, NETWORK, 1)


def ignore(_message: Opened) -> None:
    """For nodes that only need to be there."""


def run(networks: list[MeshNetwork], scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            for network in networks:
                await network.start(ignore)
            await scenario()
        finally:
            for network in networks:
                await network.close()

    asyncio.run(whole())


async def linked(one: MeshNetwork, other: MeshNetwork) -> None:
    assert not await one.wait_for_peers([other.me], PATIENCE_MS)
    assert not await other.wait_for_peers([one.me], PATIENCE_MS)


def refused(stranger: Callable[[Ports], MeshNetwork]) -> None:
    """Start two members and a stranger; the members link, and never count the stranger as linked."""
    ports = Ports()
    a, b, other = ports.network(0), ports.network(1), stranger(ports)

    async def scenario() -> None:
        await linked(a, b)
        assert await a.wait_for_peers([other.me], REFUSAL_MS) == {other.me}
        assert other.me not in b.peers()

    run([a, b, other], scenario)


def test_a_leaf_of_a_stranger_issuer_is_refused() -> None:
    everyone = trust_bundle([issuer.certificate for issuer in ISSUERS])
    refused(lambda ports: ports.network(3, credentials(3, ISSUERS[3], everyone)))


def test_an_expired_leaf_is_refused() -> None:
    issuers = [Issuer(key, NOW_MS - 30 * DAY_MS) for key in KEYS]
    bundle = trust_bundle([issuer.certificate for issuer in issuers])
    ports = Ports()
    a = ports.network(0, make_credentials(KEYS[0], issuers[1], bundle, NOW_MS))
    b = ports.network(1, make_credentials(KEYS[1], issuers[0], bundle, NOW_MS))
    old = ports.network(2, make_credentials(KEYS[2], issuers[0], bundle, NOW_MS - 8 * DAY_MS))

    async def scenario() -> None:
        await linked(a, b)
        assert await a.wait_for_peers([old.me], REFUSAL_MS) == {old.me}

    run([a, b, old], scenario)


def test_a_leaf_of_another_peer_does_not_lend_its_name() -> None:
    # Holds a valid leaf for peer 2, and says it is peer 3 in its zenoh id, token and envelopes.
    refused(lambda ports: ports.network(2, credentials(2), key=KEYS[3]))


def test_a_peer_that_is_no_member_is_not_linked() -> None:
    ports = Ports()
    members = tuple(key.peer_id for key in KEYS[:2])
    a, b, c = ports.network(0, members=members), ports.network(1, members=members), ports.network(2)

    async def scenario() -> None:
        await linked(a, b)
        assert await a.wait_for_peers([c.me], REFUSAL_MS) == {c.me}
        assert c.peers() == frozenset()  # nothing was announced to it either

    run([a, b, c], scenario)


def test_a_link_counts_when_certificate_and_zenoh_id_agree() -> None:
    first, second = KEYS[0].peer_id, KEYS[1].peer_id

    def link(name: str | None, zid: bytes) -> SimpleNamespace:
        return SimpleNamespace(auth_identifier=name, zid=zid.hex().lstrip("0"))

    assert _certified_peers([link(first.hex(), first[:16])]) == {first}
    assert _certified_peers([link(first.hex(), second[:16])]) == set()
    assert _certified_peers([link(None, first[:16]), link("issuer", first[:16])]) == set()
    low = PeerId(bytes(2) + first[2:])
    assert _certified_peers([link(low.hex(), low[:16])]) == {low}


def test_whoever_calls_before_somebody_listens_calls_again() -> None:
    # Nobody calls a client, and this member knows no endpoint: whoever starts before the others must keep calling.
    ports = Ports()
    early = ZenohSettings((), ports.endpoints[1:3], credentials(3, ISSUERS[0]), is_client=True)
    client = MeshNetwork(ZenohLinks(early, NETWORK, KEYS[3].peer_id), KEYS[3], NETWORK, 1)
    quiet = ZenohSettings((ports.endpoints[2],), (), credentials(2))
    a, b = ports.network(1), MeshNetwork(ZenohLinks(quiet, NETWORK, KEYS[2].peer_id), KEYS[2], NETWORK, 1)

    async def scenario() -> None:
        await linked(a, b)
        assert not await client.wait_for_peers([a.me, b.me], PATIENCE_MS)

    run([client, a, b], scenario)


def test_without_a_certificate_and_in_plain_text_nobody_gets_in() -> None:
    ports = Ports()
    a, b = ports.network(0), ports.network(1)
    address = ("127.0.0.1", ports.numbers[0])

    def call_without_certificate() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with socket.create_connection(address, 10) as plain, context.wrap_socket(plain) as secure:
            secure.recv(1)  # TLS 1.3: the refusal comes with the first read

    def call_in_plain_text() -> bytes:
        with socket.create_connection(address, 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
            received = b""
            while part := plain.recv(4_096):
                received += part
            return received

    async def scenario() -> None:
        await linked(a, b)
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            await asyncio.to_thread(call_without_certificate)
        with pytest.raises((ConnectionError, AssertionError)):
            assert len(await asyncio.to_thread(call_in_plain_text)) > 64  # at most a TLS alert, then closed
        assert b.me in a.peers()

    run([a, b], scenario)


def test_a_port_in_use_and_bad_certificates_are_reported() -> None:
    ports = Ports()
    first, second = ports.network(0), ports.network(0)
    broken = ports.network(1, Credentials(b"no certificate", b"no key", b"no bundle"))

    async def scenario() -> None:
        with pytest.raises(ResourceError, match=ports.endpoints[0]):
            await second.start(ignore)
        with pytest.raises(ResourceError, match=ports.endpoints[1]):
            await broken.start(ignore)
        await second.close()
        await broken.close()

    run([first], scenario)


def test_an_endpoint_is_needed() -> None:
    with pytest.raises(LocalError, match="at least one endpoint"):
        ZenohLinks(ZenohSettings((), (), credentials(0)), NETWORK, KEYS[0].peer_id)


CHILD = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import test_zenoh_links as shared
from synaptic_mesh.transport.process_end import end_process

async def main():
    ports = shared.Ports()
    ports.endpoints = tuple(sys.argv[2:])
    network = ports.network(1)
    await network.start(shared.ignore)
    await network.wait_for_peers([shared.KEYS[0].peer_id], shared.PATIENCE_MS)
    await asyncio.to_thread(sys.stdin.read)
    await network.close()
    print("closed", flush=True)

asyncio.run(main())
end_process(0)
"""


@pytest.mark.parametrize("kind", [signal.SIGSTOP, signal.SIGKILL])
def test_a_peer_that_stops_is_noticed_and_the_loop_goes_on(kind: signal.Signals) -> None:
    ports = Ports()
    a = ports.network(0)
    here = __file__.rsplit("/", 1)[0]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, here, *ports.endpoints], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    async def scenario() -> None:
        gone = asyncio.Event()
        assert not await a.wait_for_peers([KEYS[1].peer_id], PATIENCE_MS)
        a._on_peers = lambda peers: None if KEYS[1].peer_id in peers else gone.set()
        child.send_signal(kind)
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            for _ in range(200):
                a.send(KEYS[1].peer_id, "vote", bytes(100_000))
            await gone.wait()
        if kind == signal.SIGSTOP:
            child.send_signal(signal.SIGCONT)
            assert not await a.wait_for_peers([KEYS[1].peer_id], PATIENCE_MS)

    try:
        run([a], scenario)
        if kind == signal.SIGSTOP:
            assert child.communicate(timeout=PATIENCE_MS / 1_000)[0] == b"closed\n"
    finally:
        child.kill()
        child.communicate()


def test_nobody_publishes_or_asks_under_the_name_of_another() -> None:
    # Room and turns are given by the name in the key: a peer that could borrow names would take everyone's.
    ports = Ports()
    members = tuple(key.peer_id for key in KEYS[:3])
    a, b, c = (ports.network(index, members=members) for index in range(3))
    heard: list[Opened] = []

    async def scenario() -> None:
        for pair in ((a, b), (a, c), (b, c)):
            await linked(*pair)
        end = asyncio.Event()
        a._on_message = lambda message: end.set() if message.payload == b"end" else heard.append(message)
        links = c._links
        assert isinstance(links, ZenohLinks)
        name, links.me = links.me, b.me  # what follows is published by c under the name of b
        c.send(a.me, "vote", b"borrowed")
        c.broadcast("vote", b"borrowed too")
        frame = (c._sealer.seal("blob", b"x", a.me), b"x")
        with pytest.raises(ResourceError, match="did not answer"):
            await links.request(a.me, frame, 1_000)
        while links._outbox._frames:
            await asyncio.sleep(0)
        links.me = name
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            while not end.is_set():
                c.send(a.me, "vote", b"end")
                await asyncio.to_thread(int)
        assert heard == []
        assert a.counters.drops == {}  # the access rules end it before anything of ours does

    run([a, b, c], scenario)


def test_a_client_asks_for_no_blobs_and_speaks_to_nobody_but_its_node() -> None:
    ports = Ports()
    members = tuple(key.peer_id for key in KEYS[:2])
    settings = ZenohSettings((ports.endpoints[0],), (), credentials(0), members, clients=(KEYS[1].peer_id,))
    a = MeshNetwork(ZenohLinks(settings, NETWORK, KEYS[0].peer_id), KEYS[0], NETWORK, 1)
    calls = ZenohSettings((), ports.endpoints[:1], credentials(1), is_client=True)
    client = MeshNetwork(ZenohLinks(calls, NETWORK, KEYS[1].peer_id), KEYS[1], NETWORK, 1)
    heard: list[bytes] = []

    async def scenario() -> None:
        assert not await client.wait_for_peers([a.me], PATIENCE_MS)
        end = asyncio.Event()
        a._on_message = lambda message: end.set() if message.payload == b"end" else heard.append(message.payload)
        a.serve(lambda _digest: b"secret")
        client.broadcast("vote", b"to everyone")
        with pytest.raises(ResourceError, match="cannot be fetched"):
            await client.fetch_blob(Digest(bytes(32)), 6, [a.me])
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            while not end.is_set():
                client.send(a.me, "vote", b"end")
                await asyncio.to_thread(int)
        assert heard == []
        assert a.peers() == frozenset()
        assert a.counters.blob_sent_bytes == 0

    run([a, client], scenario)


def test_a_session_that_cannot_be_closed_in_time_ends_the_links_all_the_same() -> None:
    # Seen on a loaded machine after a peer had been suspended: "close operation timed out!".
    ports = Ports()
    a = ports.network(0)

    class Stuck:
        def __init__(self, session: Any) -> None:
            self.session = session

        def close(self) -> None:
            self.session.close()
            raise zenoh.ZError("close operation timed out!")

    async def scenario() -> None:
        links = cast(ZenohLinks, a._links)
        links._session = Stuck(links._session)

    run([a], scenario)  # an exception in a thread is a warning, and warnings are errors
    assert a.peers() == frozenset()
