"""The shell around an assembly: owns the one task group, the clock, the log writer, the fetches and the compute thread.

It decides nothing. Events reach the assembly one at a time on the event loop; effects are carried out in order. The
first exception from anywhere ends the node: a replica that met a bug must not go on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from synaptic_mesh.base.errors import InvariantBroken, LocalError, MeshError, PeerError
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.collab.messages import (
    BlobFetched,
    BlobMissing,
    CancelCompute,
    Compute,
    Computed,
    Failed,
    FetchBlob,
    PublishBlob,
    Task,
)
from synaptic_mesh.identity.envelope import Opened
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.clock import NodeClock
from synaptic_mesh.node.messages import (
    AppendLog,
    CheckSignatures,
    Effect,
    Event,
    Logged,
    Notice,
    PeerDown,
    PeerUp,
    ReadLog,
    Received,
    SendMessage,
    SignaturesChecked,
)
from synaptic_mesh.node.store import read_log
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.storage.log import WriteAheadLog
from synaptic_mesh.transport.network import Network

Observe = Callable[[Effect], None]
"""Sees every effect in order: journals, progress displays, run recorders."""


class Computer(Protocol):
    """Carries out compute tasks in the one compute thread."""

    def execute(self, key: bytes, task: Task) -> Computed | Failed:
        """Return what the task gives."""

    def close(self) -> None:
        """End what was started for it. Called when no task is left."""


class Checker(Protocol):
    """Checks signatures elsewhere: `workers.signatures.SignatureChecker`."""

    async def check(self, rows: bytes) -> bytes:
        """Return one byte for each row."""

    async def close(self) -> None:
        """End what was started for it."""


class Node:
    """One running node. `run` returns when `stop` was called, and raises what broke it."""

    def __init__(
        self,
        assembly: Assembly,
        network: Network,
        log: WriteAheadLog,
        blobs: BlobStore,
        new_computer: Callable[[], Computer],
        observe: Observe,
        published: Sequence[bytes] = (),
        *,
        is_first_start: bool = False,
        checker: Checker | None = None,
    ) -> None:
        self.assembly = assembly
        self.network = network
        self._log = log
        self._blobs = blobs
        self._new_computer = new_computer
        self._observe = observe
        self._published = set(published)
        self._is_first_start = is_first_start
        self._checker = checker
        self._clock = NodeClock()
        self._appends: asyncio.Queue[AppendLog] = asyncio.Queue()
        self._computing: dict[bytes, Future[Computed | Failed]] = {}
        self._ended: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._computer: Computer | None = None
        self._group: asyncio.TaskGroup | None = None
        self._linked: frozenset[PeerId] = frozenset()
        self._feeding = False
        self._waiting: deque[Event] = deque()

    def stop(self) -> None:
        """Ask the node to end in order. May be called more than once."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def now_ms(self) -> int:
        """Return the node's clock in milliseconds since 1970."""
        return self._clock.now_ms()

    def say(self, text: str) -> None:
        """Tell the operator a sentence. May be called from any thread while the node runs."""
        if self._ended is not None and not self._ended.done():
            self._ended.get_loop().call_soon_threadsafe(self._observe, Notice(text))

    def submit(self, event: Event) -> None:
        """Hand the assembly an event of the operator's (e.g. `Submit`). Call it on the event loop."""
        self._feed(event)

    async def run(self, on_started: Callable[[], None] = lambda: None) -> None:
        """Run until `stop`. Closes links, log and thread whatever happens."""
        self._ended = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as self._group:
                writer = self._group.create_task(self._write_log())
                self._recover(await asyncio.to_thread(lambda: list(self._log.records())))
                self.network.serve(self._serve)
                await self.network.start(self._on_message, self._on_peers)
                self._arm()
                on_started()
                await self._ended
                writer.cancel()
                for future in self._computing.values():
                    future.cancel()
        except BaseExceptionGroup as group:
            raise first_cause(group) from group
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self.network.close()
            if self._checker is not None:
                await self._checker.close()
            await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)
            if self._computer is not None:
                await asyncio.to_thread(self._computer.close)
            await self._log.close()

    def _recover(self, records: Sequence[bytes]) -> None:
        """Start from the log. What a damaged log lost was perhaps sent: then peers are asked before proposing. The same
        holds for a log that was put back from an older copy, which nobody can tell by looking at it: so every start but
        the first asks.
        """
        damage = self._log.damage
        if damage is not None:
            self._log.repair()
            text = f"the log is damaged at record {damage.position} ({damage.reason}): what follows is fetched again"
            self._observe(Notice(text))
        is_trusted = damage is None and self._is_first_start
        try:
            effects = self.assembly.start(records, self._clock.now_ms(), is_log_whole=is_trusted)
        except PeerError as error:
            raise LocalError(
                f"{self._log.directory} does not belong to this node's genesis ({error}): put back the right genesis "
                "file, or move the log away and start as a new member"
            ) from None
        self._carry_out(effects)

    # --- events in

    def _feed(self, event: Event) -> None:
        """Give one event to the assembly. An event that arises while another is handled waits its turn."""
        if self._ended is None or self._ended.done():
            return
        self._waiting.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._waiting:
                self._carry_out(self.assembly.handle(self._waiting.popleft(), self._clock.now_ms()))
        except Exception as error:  # the node ends; `run` raises it
            self._fail(error)
        finally:
            self._feeding = False
        self._arm()

    def _fail(self, error: Exception) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _arm(self) -> None:
        """See to it that a timer rings no later than the next deadline. One that rings too early does no harm, so it is
        left alone when the deadline has moved away, as it does with most events.
        """
        deadline_ms = self.assembly.deadline_ms()
        if deadline_ms is None or self._ended is None or self._ended.done():
            return
        if self._timer is not None:
            if self._armed_ms <= deadline_ms:
                return
            self._timer.cancel()
        delay_s = max(deadline_ms - self._clock.now_ms(), 0) / 1_000
        self._armed_ms = deadline_ms
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        try:
            self._carry_out(self.assembly.handle_deadline(self._clock.now_ms()))
        except Exception as error:
            self._fail(error)
        self._arm()

    def _on_message(self, message: Opened) -> None:
        self._feed(Received(message.sender, message.topic, message.payload))

    def _on_peers(self, peers: frozenset[PeerId]) -> None:
        for peer in sorted(self._linked - peers):
            self._feed(PeerDown(peer))
        for peer in sorted(peers - self._linked):
            self._feed(PeerUp(peer))
        self._linked = peers

    # --- effects out

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._observe(effect)
            match effect:
                case AppendLog():
                    self._appends.put_nowait(effect)
                case SendMessage(None, topic, payload):
                    self.network.broadcast(topic, payload)
                case SendMessage(peer, topic, payload) if peer is not None:
                    self.network.send(peer, topic, payload)
                case ReadLog():
                    self._spawn(self._read_log(effect))
                case CheckSignatures():
                    self._spawn(self._check(effect))
                case FetchBlob():
                    self._spawn(self._fetch(effect))
                case Compute(key, task):
                    self._compute(key, task)
                case CancelCompute(key):
                    future = self._computing.get(key)
                    if future is not None:
                        future.cancel()
                case PublishBlob(digest):
                    self._published.add(digest)
                case _:
                    pass

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            raise InvariantBroken("effects come before the node runs")
        self._group.create_task(work)

    async def _check(self, effect: CheckSignatures) -> None:
        if self._checker is None:
            raise InvariantBroken("signatures are to be checked elsewhere, and there is no such place")
        answer = await self._checker.check(effect.rows)
        self._feed(SignaturesChecked(effect.token, answer))

    async def _write_log(self) -> None:
        """Write appended records in order; whatever has gathered during one fsync goes into the next."""
        while True:
            batch = [await self._appends.get()]
            while not self._appends.empty():
                batch.append(self._appends.get_nowait())
            await self._log.append([append.record for append in batch])
            for append in batch:
                self._feed(Logged(append.token))

    async def _read_log(self, effect: ReadLog) -> None:
        self._feed(await asyncio.to_thread(read_log, self._log.read, effect))

    async def _fetch(self, effect: FetchBlob) -> None:
        digest = Digest(effect.blob.digest)
        try:
            if await asyncio.to_thread(self._blobs.get, digest) is None:  # not there, or damaged and now removed
                holders = [PeerId(holder) for holder in effect.holders]
                data = await self.network.fetch_blob(digest, effect.blob.size, holders)
                await asyncio.to_thread(self._blobs.put, data)
        except MeshError:
            self._feed(BlobMissing(digest))
        else:
            self._feed(BlobFetched(digest))

    def _serve(self, digest: Digest) -> bytes | None:
        return self._blobs.get(digest) if digest in self._published else None

    def _compute(self, key: bytes, task: Task) -> None:
        future = self._computing[key] = self._thread.submit(self._execute, key, task)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(partial(self._computed, key, done)))

    def _execute(self, key: bytes, task: Task) -> Computed | Failed:
        # Made here because compiled programs belong to the thread that runs them.
        if self._computer is None:
            self._computer = self._new_computer()
        return self._computer.execute(key, task)

    def _computed(self, key: bytes, done: "Future[Computed | Failed]") -> None:
        if self._computing.get(key) is done:
            del self._computing[key]
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, Exception):
            self._fail(error)
        elif error is None:
            self._feed(done.result())


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception inside nested groups: what broke, instead of what it broke."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
