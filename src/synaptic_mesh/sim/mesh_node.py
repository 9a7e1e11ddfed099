"""A whole node assembly under simulation: consensus, ledger and participants, with blobs pulled over the virtual
network.

The engine runs for real, once per task: exactness makes one execution serve every node (`SharedComputer`). What a node
keeps over a crash lies in `MeshDisk`; its log lies on the simulated disk.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import PeerError, ResourceError
from synaptic_mesh.base.ids import PeerId
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
from synaptic_mesh.collab.strategy import Strategy
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.ledger.checkpoint import Checkpoint, CheckpointVote
from synaptic_mesh.node import messages
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.store import read_log
from synaptic_mesh.sim.node import Action, Send, Work, Write
from synaptic_mesh.workers.compute import ComputeShell

FETCH_TIMEOUT_MS = 400
CONTROL_BYTES_MAX = 64 << 20

Event = messages.Event
Observe = Callable[[int, messages.Effect], None]


class Control(Record, tag="control"):
    """A control message."""

    topic: str
    payload: bytes


class BlobRequest(Record, tag="ask"):
    """Give me this blob."""

    digest: bytes


class BlobAnswer(Record, tag="blob"):
    """The blob, or nothing when it may not be served."""

    digest: bytes
    data: bytes | None


Wire = Control | BlobRequest | BlobAnswer


class MeshDisk:
    """What survives a crash of one node beside its log: blobs, and how often it was started."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self.incarnation = 0

    def get(self, digest: bytes) -> bytes:
        """Return a blob. Raises ResourceError when it is not there."""
        if digest not in self.blobs:
            raise ResourceError(f"blob {digest[:4].hex()} is not stored")
        return self.blobs[digest]

    def put(self, data: bytes) -> bytes:
        """Store a blob; return its digest."""
        digest = blob_digest(data)
        self.blobs[digest] = data
        return digest


class SharedComputer:
    """Results of tasks by key, with the blobs that computing them stored: one engine run for all simulated nodes."""

    def __init__(self, backend: Backend, semantics_id: bytes) -> None:
        self._backend = backend
        self._semantics_id = semantics_id
        self._known: dict[tuple[bytes, int], tuple[Computed, list[bytes]]] = {}

    def execute(self, key: bytes, task: Task, disk: MeshDisk, strategy: Strategy | None) -> Computed | Failed:
        """Return the task's result and put its blobs on `disk`. A strategy has results of its own."""
        name = (key, id(strategy) if strategy is not None else 0)
        if name not in self._known:
            stored: list[bytes] = []

            def put(data: bytes) -> bytes:
                stored.append(data)
                return blob_digest(data)

            shell = ComputeShell(self._backend, disk.get, put, self._semantics_id, strategy)
            result = shell.execute(key, task)
            if isinstance(result, Failed):
                return result
            self._known[name] = (result, stored)
        computed, blobs = self._known[name]
        for data in blobs:
            disk.put(data)
        return computed


class MeshNode:
    """The SimNode of a whole assembly. `peers` gives every node's id by position."""

    def __init__(
        self,
        assembly: Assembly,
        index: int,
        peers: Sequence[PeerId],
        disk: MeshDisk,
        computer: SharedComputer,
        random: Random,
        observe: Observe,
        strategy: Strategy | None = None,
        published: Sequence[bytes] = (),
        first_events: Sequence[Event] = (),
    ) -> None:
        self.assembly = assembly
        self._index = index
        self._peers = list(peers)
        self._disk = disk
        self._computer = computer
        self._random = random
        self._observe = observe
        self._strategy = strategy
        self._published = set(published)
        self._first_events = list(first_events)
        self._next_token = 0
        self._pending: dict[int, Event | None] = {}
        self._fetching: dict[bytes, int] = {}
        self._log: list[bytes] = []  # durable records
        self._unwritten: dict[int, bytes] = {}  # by the assembly's token

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:
        """Rebuild from the log, hand in the operator's wishes."""
        self._log = list(records)
        effects = self.assembly.start(records, now_ms)
        for event in self._first_events:
            effects += self.assembly.handle(event, now_ms)
        return self._act(effects, now_ms)

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:
        """Take a control message, a question for a blob, or an answer."""
        try:
            message = cast(Wire, decode_untrusted(cast(Any, Wire), data, CONTROL_BYTES_MAX))
        except PeerError:
            return []
        match message:
            case Control(topic, payload):
                return self._handle(messages.Received(self._peers[sender], topic, payload), now_ms)
            case BlobRequest(digest):
                found = self._disk.blobs.get(digest) if digest in self._published else None
                return [Send((sender,), encode(BlobAnswer(digest, found)))]
            case BlobAnswer(digest, found):
                return self._take_blob(digest, found, now_ms)

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:
        """The link to the node at position `peer` came up or went down."""
        other = self._peers[peer]
        return self._handle(messages.PeerUp(other) if is_up else messages.PeerDown(other), now_ms)

    def handle_done(self, token: int, now_ms: int) -> list[Action]:
        """A record is durable, a computation has taken its time, or a fetch has taken too long."""
        event = self._pending.pop(token, None)
        if event is None:
            return []
        if isinstance(event, BlobMissing):
            if self._fetching.get(event.digest) != token:
                return []
            del self._fetching[event.digest]
        elif isinstance(event, messages.Logged):
            self._log.append(self._unwritten.pop(event.token))
        return self._handle(event, now_ms)

    def handle_deadline(self, now_ms: int) -> list[Action]:
        """The assembly's deadline has passed."""
        return self._act(self.assembly.handle_deadline(now_ms), now_ms)

    def deadline_ms(self) -> int | None:
        """The assembly's."""
        return self.assembly.deadline_ms()

    def _handle(self, event: Event, now_ms: int) -> list[Action]:
        return self._act(self.assembly.handle(event, now_ms), now_ms)

    def _take_blob(self, digest: bytes, data: bytes | None, now_ms: int) -> list[Action]:
        if digest not in self._fetching or data is None or blob_digest(data) != digest:
            return []  # the time-out says so when nobody else answers
        del self._fetching[digest]
        self._disk.put(data)
        return self._handle(BlobFetched(digest), now_ms)

    def _act(self, effects: Sequence[messages.Effect], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        for effect in effects:
            self._observe(self._index, effect)
            match effect:
                case messages.AppendLog(token, record):
                    self._unwritten[token] = record
                    actions.append(Write(record, self._token(messages.Logged(token))))
                case messages.ReadLog():
                    found = read_log(lambda start, count: self._log[start : start + count], effect)
                    actions.append(Work(1, self._token(found)))
                case messages.SendMessage(peer, topic, payload):
                    actions.append(Send(self._receivers(peer), encode(Control(topic, payload))))
                case FetchBlob():
                    actions += self._fetch(effect, now_ms)
                case Compute(key, task):
                    result = self._computer.execute(key, task, self._disk, self._strategy)
                    actions.append(Work(self._random.randint(1, 30), self._token(result)))
                case PublishBlob(digest):
                    self._published.add(digest)
                case CancelCompute() | _:
                    pass
        return actions

    def _fetch(self, effect: FetchBlob, now_ms: int) -> list[Action]:
        digest = effect.blob.digest
        if digest in self._disk.blobs:
            return self._handle(BlobFetched(digest), now_ms)
        token = self._token(BlobMissing(digest))
        self._fetching[digest] = token
        holders = tuple(self._peers.index(PeerId(h)) for h in effect.holders if h in self._peers)
        receivers = tuple(position for position in holders if position != self._index)
        question: list[Action] = [Send(receivers, encode(BlobRequest(digest)))] if receivers else []
        return [*question, Work(FETCH_TIMEOUT_MS, token)]

    def _receivers(self, peer: PeerId | None) -> tuple[int, ...]:
        if peer is not None:
            return (self._peers.index(peer),)
        return tuple(position for position in range(len(self._peers)) if position != self._index)

    def _token(self, event: Event) -> int:
        self._next_token += 1
        self._pending[self._next_token] = event
        return self._next_token


class MeshLog:
    """Compares what nodes make of each commit: with one another, and with what a node made of it before a crash."""

    def __init__(self) -> None:
        self.roots: dict[int, bytes] = {}
        """Commit index -> the first state root that a node computed for it."""
        self.disagreements: list[str] = []
        self.highest: dict[int, int] = {}
        """Node -> its newest commit."""
        self.votes: dict[tuple[int, int], Checkpoint] = {}
        """Node and commit -> the checkpoint that it signed, in any of its lives."""
        self.certified: dict[int, Checkpoint] = {}
        """Commit -> the checkpoint that a quorum signed."""

    def observe(self, index: int, effect: messages.Effect) -> None:
        """Look at one effect of node `index`."""
        if isinstance(effect, messages.CommitExecuted):
            if self.roots.setdefault(effect.index, effect.state_root) != effect.state_root:
                self.disagreements.append(f"commit {effect.index}: node {index} has another state root")
            self.highest[index] = effect.index
        elif isinstance(effect, messages.CheckpointNote):
            checkpoint = effect.certificate.checkpoint
            if self.certified.setdefault(checkpoint.index, checkpoint) != checkpoint:
                self.disagreements.append(f"commit {checkpoint.index}: two checkpoints are certified")
            if self.roots.get(checkpoint.index, checkpoint.state_root) != checkpoint.state_root:
                self.disagreements.append(f"commit {checkpoint.index}: the certified root is another")
        elif isinstance(effect, messages.SendMessage) and effect.topic == messages.TOPIC_CHECKPOINT:
            self._observe_vote(index, effect.payload)

    def _observe_vote(self, index: int, payload: bytes) -> None:
        try:
            checkpoint = decode_untrusted(CheckpointVote, payload).checkpoint
        except PeerError:  # a certificate or a question
            return
        if self.votes.setdefault((index, checkpoint.index), checkpoint) != checkpoint:
            self.disagreements.append(f"commit {checkpoint.index}: node {index} signed two states")
