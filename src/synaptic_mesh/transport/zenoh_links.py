"""Links over zenoh: TCP and TLS 1.3 with client certificates between processes. The only file that imports zenoh.

Threads. zenoh calls back on its own threads; what comes in waits in an inbox and is handed over turn by turn. What
goes out passes an outbox to one sending thread, because a put can block (`mailboxes.py`). Questions, answers and looks
at the links have small pools of their own, so that a peer that does not read holds up its own answers at most. Control
is REAL_TIME and express with DROP, bulk is BACKGROUND with BLOCK: a put that blocks on a stalled peer would end with a
closed link and no error.

Whose turn. Every peer publishes under a key that ends with its name, and the access rules tie names to certificates. So
whoever floods fills its own share of room and time, whatever its envelopes claim.

Who is linked. `open()` does not raise when peers refuse us, so links are watched: a peer counts as linked when it holds
its liveliness token (declared after its subscriptions) and a link exists whose certificate names it and whose zenoh id
is the first 16 bytes of that name. A zenoh id is not bound to a certificate by itself, and samples carry no
authenticated sender: the access rules tie announcements to certificate names, and every frame proves its sender by its
own envelope. A client holds a token of another kind: it can be answered, and is not counted as linked.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any

import zenoh

from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import NetworkId, PeerId, short
from synaptic_mesh.identity.certificates import peer_of_name_untrusted
from synaptic_mesh.identity.envelope import EVERYONE, HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX
from synaptic_mesh.transport.daemon_pool import DaemonPool
from synaptic_mesh.transport.links import REPLY_BYTES_MAX, Frame, Receiver
from synaptic_mesh.transport.mailboxes import Inbox, Outbox, Seats
from synaptic_mesh.transport.zenoh_settings import (
    ANYONE,
    ZenohSettings,
    alive_key,
    broadcast_key,
    bulk_key,
    client_key,
    control_key,
    options_json,
    zenoh_options,
)

REQUESTS_MAX = 64
REQUESTS_PER_PEER_MAX = 8
"""Requests that are answered at the same time, of all peers and of one; more are refused. An answer has up to 4 MiB."""
QUESTION_BYTES_MAX = 1 << 10
"""Largest payload of a request: ours have 50 bytes."""
BULK_THREADS = 4
LOOKS_MAX = 4
"""Looks at the links under way: one may hang. More that are asked for become one, afterwards."""
NAMED_KEYS_MAX = 256
"""Members that are listened to by name; with more of them, one subscription is for all names."""
LOOK_S = 2.0
"""Links are looked at this often although nothing was announced: an event may be lost, a link must not."""
SOURCE_PLACES = re.compile(r"\s+at \S+\.rs:\d+\.?")
"""Where in its own sources zenoh met an error: nothing a user can act on."""

_CONTROL: dict[str, Any] = {
    "priority": zenoh.Priority.REAL_TIME,
    "express": True,
    "congestion_control": zenoh.CongestionControl.DROP,
}
_BULK: dict[str, Any] = {
    "priority": zenoh.Priority.BACKGROUND,
    "express": False,
    "congestion_control": zenoh.CongestionControl.BLOCK,
}


class ZenohLinks:
    """Implements `Links` over one zenoh session."""

    def __init__(self, settings: ZenohSettings, network: NetworkId, me: PeerId) -> None:
        if not settings.listen and not settings.is_client:
            raise LocalError("a node listens on at least one endpoint, such as 127.0.0.1:7450")
        self.me = me
        self._settings = settings
        self._network = network
        self._inbox = Inbox(settings.first)
        self._outbox = Outbox(settings.first)
        self._asks = DaemonPool(BULK_THREADS, "mesh-ask")
        self._replies = DaemonPool(BULK_THREADS, "mesh-reply")
        self._lookers = DaemonPool(LOOKS_MAX, "mesh-look")
        self._sender = threading.Thread(target=self._send_all, name="mesh-send", daemon=True)
        self._session: Any = None
        self._declared: list[Any] = []
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alive: set[PeerId] = set()
        self._clients: set[PeerId] = set()
        self._linked: frozenset[PeerId] = frozenset()
        self._linked_clients: frozenset[PeerId] = frozenset()
        self._looks = self._newest_look = self._looking = 0
        self._look_wanted = False
        self._timer: asyncio.TimerHandle | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._seats = Seats(REQUESTS_MAX, REQUESTS_PER_PEER_MAX)
        self._closed = False

    async def open(self, receiver: Receiver) -> None:
        """See `Links.open`. Raises ResourceError when an endpoint cannot be bound or a certificate not be loaded."""
        if self._receiver is not None or self._closed:
            raise LocalError("these links were opened before: make new ones")
        self._loop = asyncio.get_running_loop()
        self._receiver = receiver
        self._inbox.attach(self._loop, receiver)
        await self._loop.run_in_executor(self._lookers, self._open_session)
        self._sender.start()
        self._look_again()

    def send(self, peer: PeerId, frame: Frame) -> bool:
        """See `Links.send`."""
        is_linked = peer in self._linked or peer in self._linked_clients
        return is_linked and not self._closed and self._outbox.put(peer, frame)

    def broadcast(self, frame: Frame) -> bool:
        """See `Links.broadcast`."""
        return not self._closed and self._outbox.put(EVERYONE, frame)

    async def request(self, peer: PeerId, frame: Frame, timeout_ms: int) -> bytes:
        """See `Links.request`."""
        if self._closed or self._loop is None:
            raise ResourceError("the links are closed")
        if peer not in self._linked:
            raise ResourceError(f"peer {short(peer)} is not linked")
        question = _Question(self._loop)
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self._loop.run_in_executor(self._asks, self._ask, peer, frame, timeout_ms, question)
                answer = await question.answer
        except TimeoutError:
            raise ResourceError(f"peer {short(peer)} did not answer within {timeout_ms} ms") from None
        except zenoh.ZError as error:
            raise ResourceError(f"cannot ask peer {short(peer)}: {error}") from None
        if answer is None:
            raise ResourceError(f"peer {short(peer)} did not answer")
        return answer

    async def close(self) -> None:
        """See `Links.close`."""
        if self._closed:
            return
        self._closed = True
        self._inbox.detach()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._answers:
            task.cancel()
        if self._loop is not None and self._session is not None:
            closing = threading.Thread(target=self._close_session, name="mesh-close", daemon=True)
            closing.start()
            await self._loop.run_in_executor(None, closing.join, self._settings.close_timeout_s)
        self._outbox.close()
        for pool in (self._asks, self._replies, self._lookers):
            pool.shutdown(wait=False, cancel_futures=True)

    # On the event loop.

    def _note_linked(self, linked: frozenset[PeerId], clients: frozenset[PeerId]) -> None:
        self._linked_clients = clients
        if self._receiver is not None and not self._closed and linked != self._linked:
            self._linked = linked
            self._receiver.on_peers(linked)

    def _note_request(self, asker: PeerId, query: Any, frame: Frame) -> None:
        if self._receiver is None or self._closed:
            self._end_request(asker, query)
            return
        task = asyncio.ensure_future(self._answer(self._receiver, asker, query, frame))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, receiver: Receiver, asker: PeerId, query: Any, frame: Frame) -> None:
        try:
            answer = await receiver.on_request(*frame)
            await asyncio.get_running_loop().run_in_executor(self._replies, self._reply, asker, query, answer)
        finally:
            self._end_request(asker, query)

    def _end_request(self, asker: PeerId, query: Any) -> None:
        self._seats.leave(asker)
        try:
            self._replies.submit(query.drop)
        except RuntimeError:  # the pool is shut down: so is the session
            query.drop()

    # On other threads.

    def _open_session(self) -> None:
        config = zenoh.Config()
        for path, text in options_json(zenoh_options(self._settings, self._network, self.me)).items():
            config.insert_json5(path, text)
        try:
            session = zenoh.open(config)
        except zenoh.ZError as error:
            where = ", ".join(self._settings.listen)
            why = SOURCE_PLACES.sub("", str(error)).strip()
            raise ResourceError(f"cannot open the network on {where}: {why}") from None
        self._session = session
        remote = zenoh.Locality.REMOTE
        for key in self._heard_keys():
            self._declared.append(session.declare_subscriber(key, _direct(self._on_sample), allowed_origin=remote))
        if not self._settings.is_client:
            mine = bulk_key(self._network, self.me, ANYONE)
            self._declared.append(session.declare_queryable(mine, _direct(self._on_query), allowed_origin=remote))
        # The token comes last: whoever sees it knows that the subscriptions above are in place.
        for kind in (alive_key, client_key):
            everyone = kind(self._network, ANYONE)
            watch = session.liveliness().declare_subscriber(everyone, self._on_token, history=True)
            self._declared.append(watch)
        mine = (client_key if self._settings.is_client else alive_key)(self._network, self.me)
        self._declared.append(session.liveliness().declare_token(mine))
        self._declared.append(session.info.declare_link_events_listener(self._on_link))

    def _heard_keys(self) -> list[str]:
        """Where frames for this node come in. A key for each member, while they are few: a subscription to all names at
        once costs twice the time for every frame (measured: 115 us against 70, both sides together).
        """
        names = set(self._settings.members or ()) - {self.me}
        if not 0 < len(names) <= NAMED_KEYS_MAX:
            names = {ANYONE}
        keys = [control_key(self._network, self.me, name) for name in sorted(names)]
        if not self._settings.is_client:
            speakers = names - set(self._settings.clients)
            keys += [broadcast_key(self._network, name) for name in sorted(speakers)]
        return keys

    def _close_session(self) -> None:
        self._outbox.close()
        if self._sender.is_alive():
            self._sender.join(self._settings.close_timeout_s / 2)  # it may hang in a put; closing the session frees it
        try:
            self._session.close()
        except zenoh.ZError:  # it gives up after a time of its own; the rest is left to the process's end
            self._inbox.drop("close")

    def _send_all(self) -> None:
        while turn := self._outbox.take():
            for peer, (header, payload) in turn:
                everyone = peer == EVERYONE
                key = broadcast_key(self._network, self.me) if everyone else control_key(self._network, peer, self.me)
                try:
                    self._session.put(key, payload, attachment=header, **_CONTROL)
                except zenoh.ZError:
                    self._inbox.drop("link")

    def _ask(self, peer: PeerId, frame: Frame, timeout_ms: int, question: "_Question") -> None:
        handler = zenoh.handlers.Callback(question.take, question.finish, indirect=False)
        self._session.get(
            bulk_key(self._network, peer, self.me),
            handler,
            payload=frame[1],
            attachment=frame[0],
            target=zenoh.QueryTarget.ALL,
            timeout=timeout_ms / 1_000,
            **_BULK,
        )

    def _reply(self, asker: PeerId, query: Any, answer: bytes) -> None:
        try:
            query.reply(bulk_key(self._network, self.me, asker), answer)
        except zenoh.ZError:
            self._inbox.drop("link")

    def _on_sample(self, sample: Any) -> None:
        received = self._received(sample, PAYLOAD_BYTES_MAX)
        if received is not None:
            self._inbox.put(*received)

    def _on_query(self, query: Any) -> None:
        received = self._received(query, QUESTION_BYTES_MAX)
        if received is None:
            query.drop()
        elif self._seats.take(received[0]):
            self._inbox.call(self._note_request, received[0], query, received[1])
        else:
            self._inbox.drop("requests")
            query.drop()

    def _received(self, message: Any, payload_bytes_max: int) -> tuple[PeerId, Frame] | None:
        """The name in the key of a sample or query, and its frame; None, and counted, if one of them is not right."""
        try:
            peer = peer_of_name_untrusted(str(message.key_expr).rpartition("/")[2])
        except PeerError:
            self._inbox.drop("stranger")
            return None
        header, payload = message.attachment, message.payload
        if header is None or payload is None or len(header) > HEADER_BYTES_MAX or len(payload) > payload_bytes_max:
            self._inbox.drop("oversized")  # before it is copied
            return None
        return peer, (header.to_bytes(), payload.to_bytes())

    def _on_token(self, sample: Any) -> None:
        _, _, name, kind = str(sample.key_expr).split("/")
        try:
            peer = peer_of_name_untrusted(name)
        except PeerError:
            self._inbox.drop("stranger")
            return
        present = sample.kind == zenoh.SampleKind.PUT
        self._inbox.call(self._note_token, peer, self._clients if kind == "client" else self._alive, present)

    def _on_link(self, _event: Any) -> None:
        self._inbox.call(self._look_at_links)

    def _note_token(self, peer: PeerId, holders: set[PeerId], present: bool) -> None:
        (holders.add if present else holders.discard)(peer)
        self._look_at_links()

    def _look_again(self) -> None:
        if not self._closed and self._loop is not None:
            self._look_at_links()
            self._timer = self._loop.call_later(LOOK_S, self._look_again)

    def _look_at_links(self) -> None:
        if self._closed:
            return
        if self._looking >= LOOKS_MAX:
            self._look_wanted = True
            return
        self._looks += 1
        self._looking += 1
        self._lookers.submit(self._refresh, self._looks)

    def _refresh(self, look: int) -> None:
        try:
            named = _certified_peers(self._session.info.links())
        except zenoh.ZError:  # the session is closed
            named = set()
        self._inbox.call(self._note_look, look, named)

    def _note_look(self, look: int, named: set[PeerId]) -> None:
        """Take in what a look at the links found. Looks run side by side: one that was overtaken is out of date."""
        self._looking -= 1
        if look > self._newest_look:
            self._newest_look = look
            self._note_linked(frozenset(self._alive & named), frozenset(self._clients & named))
        if self._look_wanted:
            self._look_wanted = False
            self._look_at_links()


class _Question:
    """One request and the first answer to it, None if there is none. Anyone may answer: the caller checks the bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.answer: asyncio.Future[bytes | None] = loop.create_future()

    def take(self, reply: Any) -> None:
        sample = reply.ok
        if sample is not None and len(sample.payload) <= REPLY_BYTES_MAX:
            self._settle(sample.payload.to_bytes())

    def finish(self) -> None:
        self._settle(None)

    def _settle(self, answer: bytes | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set, answer)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _set(self, answer: bytes | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


def _direct(callback: Callable[[Any], None]) -> Any:
    """Have zenoh call on its network thread: one hop between threads less, and what is not taken in time stays in the
    socket, where the sender notices it."""
    return zenoh.handlers.Callback(callback, indirect=False)


def _certified_peers(links: list[Any]) -> set[PeerId]:
    """Peers whose link shows a certificate with their name and the zenoh id that belongs to it."""
    peers: set[PeerId] = set()
    for link in links:
        try:
            peer = peer_of_name_untrusted(link.auth_identifier or "")
        except PeerError:
            continue
        if int(str(link.zid), 16) == int.from_bytes(peer[:16], "big"):
            peers.add(peer)
    return peers
