"""A consensus core as a node under simulation: real bytes, real signatures, a log on the simulated disk, a small
application.

Blocks are verified once, and messages decoded once: both are pure functions of the bytes, so all nodes of a run share
one memo of each (refusals too). The application on top executes commits and remembers durably how far it came,
sometimes a few commits late, so that a restart replays some.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError, broken
from synaptic_mesh.consensus import messages
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.messages import Commit, Committed, Effect, Message, Verify
from synaptic_mesh.consensus.stored import StoredIndex, read_blocks
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.sim.adversaries import Decode, decode_message
from synaptic_mesh.sim.checker import Checker, describe
from synaptic_mesh.sim.node import Action, Send, Work, Write

CLIENT_TOKEN = -1
"""Token of the Work that stands for the node's clients: when it is done they submit again."""


DECODED_MAX = 4_096
"""Messages of which the decoded form is kept."""


class LogRecord(Record):
    """One Append as it lies in the log."""

    blocks: tuple[bytes, ...]
    commits: tuple[Commit, ...]


class ClientSettings(msgspec.Struct, frozen=True):
    """The load: `transactions` of `transaction_bytes` bytes at each node every `every_ms`; none before the first
    interval."""

    every_ms: int = 40
    transactions: int = 2
    transaction_bytes: int = 24


class VerifyMemo:
    """Verification of one network's blocks, done once per byte string and shared by all simulated nodes."""

    def __init__(self, verify: Verify) -> None:
        self.verified_count = self.refused_count = 0
        self._verify = verify
        self._known: dict[bytes, VerifiedBlock | str] = {}

    def __call__(self, data: bytes) -> VerifiedBlock:
        """Return the verified block; raises PeerError as the first time."""
        known = self._known.get(data)
        if known is None:
            known = self._known[data] = self._first(data)
        if isinstance(known, str):
            raise PeerError(known)
        return known

    def _first(self, data: bytes) -> VerifiedBlock | str:
        try:
            block = self._verify(data)
        except PeerError as error:
            self.refused_count += 1
            return str(error)
        self.verified_count += 1
        return block


class DecodeMemo:
    """Decoded messages by their bytes; forgotten when there are many, since nobody decodes an old one again."""

    def __init__(self) -> None:
        self._known: dict[bytes, Message | str] = {}

    def __call__(self, data: bytes) -> Message:
        """Return the message; raises PeerError as the first time."""
        known = self._known.get(data)
        if known is None:
            if len(self._known) >= DECODED_MAX:
                self._known.clear()
            try:
                known = decode_message(data)
            except PeerError as error:
                known = str(error)
            self._known[data] = known
        if isinstance(known, str):
            raise PeerError(known)
        return known


class NodeFile:
    """What survives a crash beside the log: the monotonic start count, and how far the application came."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.executed_index = 0


class Counts:
    """What all honest nodes of a run did, for the table of the mix."""

    def __init__(self) -> None:
        self.skips_direct = self.skips_indirect = self.evidence = self.dropped = self.refused_messages = 0
        self.stored_blocks = 0
        self.reasons: dict[str, int] = {}


@dataclass(frozen=True)
class Surroundings:
    """What all honest nodes of a run share. `held_stake` is the stake of those that have a block safe; `note` writes
    the story of the run, when somebody reads it.
    """

    committee: Committee
    verify: Verify
    decode: Decode
    client: ClientSettings
    checker: Checker
    counts: Counts
    held_stake: Callable[[bytes], int] = lambda _: 0
    note: Callable[[str], None] | None = None


class ValidatorNode:
    """The SimNode of one honest validator. Tells the checker everything. `is_trusting` breaks a rule: it believes its
    log at every start, as only an amnesiac does. `label` tells transactions of twins apart.
    """

    def __init__(
        self,
        core: Consensus,
        index: int,
        file: NodeFile,
        random: Random,
        around: Surroundings,
        *,
        is_trusting: bool = False,
        label: str = "",
    ) -> None:
        self.core = core
        self.durable_blocks: set[bytes] = set()
        self._is_trusting = is_trusting
        self._label = label
        self._index = index
        self._peers = around.committee.peers
        self._position = {peer: position for position, peer in enumerate(around.committee.peers)}
        self._verify = around.verify
        self._decode = around.decode
        self._faulty_stake_max = around.committee.faulty_stake_max
        self._held_stake = around.held_stake
        self._file = file
        self._client = around.client
        self._random = random
        self._checker = around.checker
        self._counts = around.counts
        self._note = around.note
        self._connected: tuple[int, ...] = ()
        self._submitted_count = 0
        self._pending: dict[int, LogRecord] = {}  # appended, not yet known durable
        self._durable_index = 0  # highest durable commit
        self._now_ms = 0
        self._stored: list[tuple[bytes, ...]] = []  # blocks of each durable record
        self._stored_index = StoredIndex()

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:
        """Rebuild the core from the log, then let the clients begin."""
        blocks: list[VerifiedBlock] = []
        commits: list[Commit] = []
        for data in records:
            record = decode_untrusted(LogRecord, data)
            self._note_durable(record)
            blocks += [self._verify(block) for block in record.blocks]
            commits += record.commits
        own = {block.digest for block in blocks if block.author == self._index}
        for round_, digest in self._checker.started(self._index, own):
            if self._held_stake(digest) > self._faulty_stake_max:
                self._checker.protect(self._index, round_)
        self._file.executed_index = max(0, min(self._file.executed_index, self._durable_index))
        effects = self.core.start(
            now_ms,
            blocks=tuple(blocks),
            commits=tuple(commits),
            executed_index=self._file.executed_index,
            is_store_trusted=self._is_trusting or self._file.incarnation == 1,
            stored_round=1,
        )
        return [*self._act(effects), Work(self._client.every_ms, CLIENT_TOKEN)]

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:
        """Decode and verify; count what is refused."""
        try:
            event = messages.to_event(self._peers[sender], self._decode(data), self._verify)
        except PeerError:
            self._counts.refused_messages += 1
            return []
        return self._handle(event, now_ms)

    def handle_done(self, token: int, now_ms: int) -> list[Action]:
        """A record is durable, or the clients submit again."""
        if token == CLIENT_TOKEN:
            transactions = self._next_transactions()
            self._checker.submitted(self._index, transactions)
            submitted = messages.TransactionsSubmitted(transactions)
            return [*self._handle(submitted, now_ms), Work(self._client.every_ms, CLIENT_TOKEN)]
        self._note_durable(self._pending.pop(token))
        return self._handle(messages.Appended(token), now_ms)

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:
        """Tell the core; broadcasts go to connected peers only."""
        peer_id = self._peers[peer]
        if is_up:
            self._connected = tuple(sorted({*self._connected, peer}))
            return self._handle(messages.PeerConnected(peer_id), now_ms)
        self._connected = tuple(other for other in self._connected if other != peer)
        return self._handle(messages.PeerDisconnected(peer_id), now_ms)

    def handle_deadline(self, now_ms: int) -> list[Action]:
        """Pass it on."""
        return self._act(self.core.handle_deadline(now_ms))

    def deadline_ms(self) -> int | None:
        """The core's."""
        return self.core.deadline_ms()

    def _handle(self, event: messages.Event, now_ms: int) -> list[Action]:
        self._now_ms = now_ms
        return self._act(self.core.handle(event, now_ms))

    def _read_stored(self, effect: messages.ReadStored) -> list[Action]:
        begin = self._stored_index.begin(effect.place, effect.floor_round)
        blocks, place = read_blocks(self._stored[begin[0] :], begin, effect.blocks_max, effect.bytes_max)
        self._counts.stored_blocks += len(blocks)
        return self._handle(messages.StoredRead(effect.peer, blocks, place), self._now_ms)

    def _act(self, effects: list[Effect]) -> list[Action]:
        actions: list[Action] = []
        for effect in effects:
            if isinstance(effect, messages.Append):
                record = LogRecord(tuple(block.encoded for block in effect.blocks), effect.commits)
                self._pending[effect.token] = record
                actions.append(Write(encode(record), effect.token))
            elif isinstance(effect, messages.ReadStored):
                actions += self._read_stored(effect)
            elif isinstance(effect, messages.Broadcast):
                actions.append(Send(self._connected, self._encode(effect.message)))
            elif isinstance(effect, messages.Send):
                actions.append(Send((self._position[effect.peer],), self._encode(effect.message)))
            else:
                self._count(effect)
        return actions

    def _count(self, effect: Effect) -> None:
        if self._note is not None:
            self._tell(effect, self._note)
        if isinstance(effect, Committed):
            self._checker.committed(self._index, effect, effect.commit.index <= self._durable_index)
            if self._random.randrange(4) == 0:  # the application's own durability lags behind
                self._file.executed_index = effect.commit.index
        elif isinstance(effect, messages.Skipped):
            self._counts.skips_direct += effect.direct
            self._counts.skips_indirect += not effect.direct
        elif isinstance(effect, messages.Evidence):
            self._counts.evidence += 1
        elif isinstance(effect, messages.Dropped):
            self._counts.dropped += effect.count
            self._counts.reasons[effect.reason] = self._counts.reasons.get(effect.reason, 0) + effect.count
        elif isinstance(effect, messages.TransactionsRefused):
            self._checker.refused(self._index, effect.transactions)
        else:
            broken(f"the core returned {type(effect).__name__}, which the simulator does not know")

    def _tell(self, effect: Effect, note: Callable[[str], None]) -> None:
        """Write commits, skips and evidence into the trace, indented: they are told on demand only."""
        name = f"node {self._index}"
        if isinstance(effect, Committed):
            note(f"  {name} {'direct' if effect.direct else 'indirect'} {describe(effect.commit)}")
        elif isinstance(effect, messages.Skipped):
            note(f"  {name} {'direct' if effect.direct else 'indirect'} skip of {effect.author}@{effect.round}")
        elif isinstance(effect, messages.Evidence):
            note(f"  {name} can prove two blocks of {effect.author}@{effect.round}")

    def _encode(self, message: Message) -> bytes:
        if isinstance(message, messages.Blocks):
            for data in message.blocks:
                block = self._verify(data)  # an honest node never sends a block that others refuse
                if block.author == self._index:
                    self._checker.sent_own_block(self._index, block, block.digest in self.durable_blocks)
        return messages.encode_message(message)

    def _note_durable(self, record: LogRecord) -> None:
        self._stored.append(record.blocks)
        self._stored_index.note(max((self._verify(data).round for data in record.blocks), default=0))
        for data in record.blocks:
            block = self._verify(data)
            self.durable_blocks.add(block.digest)
            if block.author == self._index:
                self._checker.promised(self._index, block.transactions)
        for commit in record.commits:
            self._durable_index = max(self._durable_index, commit.index)

    def _next_transactions(self) -> tuple[bytes, ...]:
        """Transactions that no other node, life or submission has: all bytes differ."""
        first = self._submitted_count
        self._submitted_count += self._client.transactions
        name = b"%d%s/%d/" % (self._index, self._label.encode(), self._file.incarnation)
        return tuple(
            (name + b"%d/" % number).ljust(self._client.transaction_bytes, b".")
            for number in range(first, self._submitted_count)
        )
