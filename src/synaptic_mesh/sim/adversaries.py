"""Validators that lie. One puppet plays them all: it keeps what it hears, follows the clock, and breaks what its
`Behaviour` says.

It holds a real key and builds blocks that pass every stateless rule, so honest nodes must cope through the protocol
itself. What it may do: sign several blocks of one slot and show each to other nodes (in time to be referenced by both
sides), extend any of its own twins, leave a leader out of its votes, send late or to a few only, leave rounds out, show
blocks of rounds far ahead upon ancestors that do not exist, lie about the time, name an ancestor by a wrong round,
never answer, send garbage. `deeds` counts what it really did.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.consensus.block import BlockRef, Sign, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.messages import (
    Advert,
    Blocks,
    BlocksRequest,
    Message,
    OwnRoundAnswer,
    OwnRoundRequest,
    RoundsRequest,
    StoredBlocks,
    Verify,
    encode_message,
)
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.sim.habits import Behaviour, Deeds
from synaptic_mesh.sim.node import Action, Send, Work

TICK_TOKEN = -1
"""Token of the Work that wakes the puppet; it never writes, so all other tokens are late messages."""
TICK_MS = 100
ROUNDS_KEPT = 120
JUMP_ROUNDS = 3
"""Rounds that it lets the others go ahead before it leaves them out."""
ANSWER_BLOCKS_MAX = 100
ANSWERS_PER_S_MAX = 1_000
"""Answers to one asker within one second, as honest nodes have their credit. Twins both hear what one of them asked
for, and both ask on: without a bound each answer would bring two questions, and the run would never get further.
"""
FAR_ROUNDS = (3, 10, 35, 60, 1_000, 1 << 31)
"""How far above its own round a block may be that is shown to make others jump: within and beyond their window."""

Decode = Callable[[bytes], Message]
"""Bytes from a peer -> message; raises PeerError."""


def decode_message(data: bytes) -> Message:
    """Return the message in these bytes. Raises PeerError."""
    return cast(Message, decode_untrusted(cast(Any, Message), data))


class Puppet:
    """A Byzantine SimNode. It has no disk and never crashes."""

    def __init__(
        self,
        index: int,
        committee: Committee,
        network: bytes,
        sign: Sign,
        verify: Verify,
        habits: Behaviour,
        rng: Random,
        decode: Decode = decode_message,
    ) -> None:
        self.deeds = Deeds()
        self._decode = decode
        self._index = index
        self._committee = committee
        self._network = network
        self._sign = sign
        self._verify = verify
        self._habits = habits
        self._random = rng
        self._others = tuple(other for other in range(committee.size) if other != index)
        self._chosen = rng.choice(self._others) if self._others else index
        self._known: dict[bytes, VerifiedBlock] = {}
        self._rounds: dict[int, dict[int, list[BlockRef]]] = {
            0: {author: [genesis_ref(network, committee.epoch, author)] for author in range(committee.size)}
        }
        self._stakes: dict[int, int] = {0: committee.total_stake}  # of the authors known in each round
        self._own_round = 0
        self._is_lagging_on_purpose = False
        self._late: dict[int, Send] = {}
        self._late_count = 0
        self._answered: dict[int, tuple[int, int]] = {}  # asker -> (second, answers in it)

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:  # noqa: ARG002
        """Begin at round 1."""
        return [] if self._habits.absent else [*self._advance(now_ms), Work(TICK_MS, TICK_TOKEN)]

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:
        """Keep blocks, answer requests (or not), and go on as soon as a round is full enough."""
        if self._habits.absent:
            return []
        try:
            message = self._decode(data)
            blocks = [self._verify(block) for block in message.blocks] if isinstance(message, Blocks) else []
        except PeerError:
            return []
        for block in blocks:
            self._keep(block)
        if blocks:
            return self._advance(now_ms)
        return self._answer(sender, message) if self._has_time_for(sender, now_ms) else []

    def handle_done(self, token: int, now_ms: int) -> list[Action]:
        """Send what was held back, or wake: ask around when the round does not fill."""
        if token != TICK_TOKEN:
            return [self._late.pop(token)]
        request = encode_message(RoundsRequest(max(1, self._own_round)))
        asks: list[Action] = [Send((self._random.choice(self._others),), request)] if self._others else []
        return [*asks, *self._advance(now_ms), Work(TICK_MS, TICK_TOKEN)]

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:  # noqa: ARG002
        """It does not care."""
        return []

    def handle_deadline(self, now_ms: int) -> list[Action]:  # noqa: ARG002
        """It has none."""
        return []

    def deadline_ms(self) -> int | None:
        """None: it wakes by Work."""
        return None

    def _does(self, percent: int) -> bool:
        return self._own_round + 1 >= self._habits.first_round and self._random.randrange(100) < percent

    def _keep(self, block: VerifiedBlock) -> None:
        if block.digest in self._known:
            return
        if block.round > self._own_round + ROUNDS_KEPT:
            return
        self._known[block.digest] = block
        authors = self._rounds.setdefault(block.round, {})
        if block.author not in authors:
            self._stakes[block.round] = self._stakes.get(block.round, 0) + self._committee.stakes[block.author]
        authors.setdefault(block.author, []).append(block.ref)

    def _is_full(self, round_: int) -> bool:
        return self._committee.is_quorum(self._stakes.get(round_, 0))

    def _highest_full(self) -> int:
        round_ = self._own_round
        while self._is_full(round_ + 1):
            round_ += 1
        return round_

    def _advance(self, now_ms: int) -> list[Action]:
        """Propose while the round below is full; each proposal may be several blocks."""
        actions: list[Action] = []
        while self._is_full(self._own_round):
            round_ = self._own_round + 1
            if self._is_lagging_on_purpose:
                highest = self._highest_full()
                if highest < self._own_round + JUMP_ROUNDS:
                    break
                round_ = highest + 1
            self.deeds.jumped += round_ > self._own_round + 1
            actions += self._propose(round_, now_ms)
            self._is_lagging_on_purpose = self._does(self._habits.jump)
            self._own_round = round_
            self._forget()
        return actions

    def _propose(self, round_: int, now_ms: int) -> list[Action]:
        count = self._random.choice((2, 2, 3)) if self._does(self._habits.equivocate) else 1
        has_sides = count > 1 and self._does(self._habits.same_sides)
        count = 2 if has_sides else count
        is_split = count > 1 and self._does(self._habits.split_vote)
        twins = [self._build(round_, now_ms, number, is_split) for number in range(count)]
        if not self._others:
            return []
        others = list(self._others)
        self._random.shuffle(others)
        if self._does(self._habits.withhold):
            others = others[: self._random.randrange(len(others))]
            self.deeds.withheld += 1
        sides = [others[number::count] for number in range(count)]
        if has_sides:
            sides = [[other for other in others if (other == self._chosen) is first] for first in (True, False)]
        self.deeds.equivocated += sum(map(bool, sides)) > 1
        actions: list[Action] = []
        for twin, side in zip(twins, sides, strict=True):
            data = encode_message(Blocks((twin.encoded,)))
            actions += self._send(tuple(sorted(side)), data, self._does(self._habits.late))
            if count > 1 and self._does(self._habits.show_later):
                actions += self._send(self._others, data, True)
        if self._does(self._habits.far):
            self.deeds.jumped += 1
            actions.append(Send(self._others, self._show_far(round_, now_ms)))
        if self._does(self._habits.garbage):
            self.deeds.garbage += 1
            actions.append(Send(self._others, self._choose_garbage(twins[0].encoded)))
        return actions

    def _send(self, receivers: tuple[int, ...], data: bytes, is_late: bool) -> list[Action]:
        if not receivers:
            return []
        if not is_late:
            return [Send(receivers, data)]
        self._late_count += 1
        self._late[self._late_count] = Send(receivers, data)
        return [Work(1 + self._random.randrange(self._habits.late_ms), self._late_count)]

    def _build(self, round_: int, now_ms: int, number: int, is_split: bool) -> VerifiedBlock:
        """One twin: its own choice of own ancestor, of votes and of payload."""
        below = self._rounds[round_ - 1]
        own = self._rounds.get(self._own_round, {}).get(self._index)
        if own is None:
            own = [genesis_ref(self._network, self._committee.epoch, self._index)]
        previous = own[min(number, len(own) - 1)] if is_split else self._random.choice(own)
        parents = [refs[0] for author, refs in sorted(below.items()) if author != self._index]
        own_stake = self._committee.stakes[self._index] if previous.round == round_ - 1 else 0
        if (is_split and number > 0) or self._does(self._habits.silent_vote):
            kept = self._drop_vote(parents, own_stake, round_)
            self.deeds.silent += len(kept) < len(parents)
            parents = kept
        ancestors = [previous, *parents]
        if self._does(self._habits.false_ref):
            ancestors = self._add_false_ref(ancestors, round_)
        off_ms = self._random.choice((-20_000, 450, 60_000)) if self._does(self._habits.false_time) else 0
        block = seal_block(
            self._sign,
            network=self._network,
            epoch=self._committee.epoch,
            round_=round_,
            author=self._index,
            incarnation=1,
            timestamp_ms=max(0, now_ms + off_ms),
            ancestors=tuple(ancestors),
            transactions=(b"liar %d, twin %d of round %d" % (self._index, number, round_),),
        )
        self._keep(block)
        return block

    def _drop_vote(self, parents: list[BlockRef], own_stake: int, round_: int) -> list[BlockRef]:
        """Leave out one parent, first of all the usual leader's, if a quorum remains without it."""
        leader = (round_ - 1) % self._committee.size
        order = sorted(parents, key=lambda ref: ref.author != leader)
        if len(order) > 1 and order[0].author != leader:
            self._random.shuffle(order)
        for dropped in order:
            rest = [ref for ref in parents if ref is not dropped]
            if self._committee.is_quorum(own_stake + self._committee.stake(ref.author for ref in rest)):
                return rest
        return parents

    def _add_false_ref(self, ancestors: list[BlockRef], round_: int) -> list[BlockRef]:
        """Name a block of another round as one of the round below (of an author not yet named), or as an older one."""
        older = [ref for r in (round_ - 2, round_ - 3) for refs in self._rounds.get(r, {}).values() for ref in refs]
        absent = sorted(set(range(self._committee.size)) - {ref.author for ref in ancestors})
        if not older:
            return ancestors
        lie = self._random.choice(older)
        if absent:
            return [*ancestors, BlockRef(round_ - 1, absent[0], lie.digest)]
        last = ancestors[-1]
        return [*ancestors[:-1], BlockRef(last.round, last.author, lie.digest)]

    def _show_far(self, round_: int, now_ms: int) -> bytes:
        """A block far ahead and an advert that says the same: who believes either leaves rounds out. The ancestors are
        invented, which no stateless rule can see.
        """
        far = min(round_ + self._random.choice(FAR_ROUNDS), (1 << 32) - 1)
        authors = [self._index, *self._others]
        block = seal_block(
            self._sign,
            network=self._network,
            epoch=self._committee.epoch,
            round_=far,
            author=self._index,
            incarnation=1,
            timestamp_ms=now_ms,
            ancestors=tuple(BlockRef(far - 1, author, self._random.randbytes(32)) for author in authors),
        )
        return encode_message(self._random.choice((Blocks((block.encoded,)), Advert(far, 1, far))))

    def _choose_garbage(self, encoded: bytes) -> bytes:
        """Broken bytes, values that are no messages, and messages that ask for too much."""
        rng = self._random
        highest = (1 << 32) - 1
        choices: tuple[Callable[[], bytes], ...] = (
            lambda: self._break(encoded),
            lambda: rng.randbytes(rng.randrange(200)),
            lambda: b"\x91" * 5_000,
            lambda: b"\xdd\xff\xff\xff\xff",
            lambda: encode((1 << 63, "text", None)),
            lambda: encode_message(
                RoundsRequest(rng.choice((0, 1, highest)), 0, rng.choice((0, 1, rng.getrandbits(63))))
            ),
            lambda: encode_message(RoundsRequest(1, rng.choice((0, 1, highest)))),
            lambda: encode_message(StoredBlocks((encoded,) * 20, rng.getrandbits(63))),
            lambda: encode_message(Advert(highest, rng.choice((0, highest)), (1 << 63) - 1)),
            lambda: encode_message(Advert(0, highest, 0)),
            lambda: encode_message(OwnRoundAnswer(rng.getrandbits(63), encoded)),
            lambda: encode_message(BlocksRequest(tuple(BlockRef(n, n % 7, rng.randbytes(32)) for n in range(300)))),
            lambda: encode_message(Blocks((encoded,) * 20)),
        )
        return rng.choice(choices)()

    def _break(self, encoded: bytes) -> bytes:
        broken = bytearray(encode_message(Blocks((encoded,))))
        for _ in range(1 + self._random.randrange(3)):
            broken[self._random.randrange(len(broken))] ^= 1 << self._random.randrange(8)
        return bytes(broken[: self._random.randint(1, len(broken))] if self._random.randrange(2) else broken)

    def _has_time_for(self, asker: int, now_ms: int) -> bool:
        second, count = self._answered.get(asker, (0, 0))
        count = count + 1 if second == now_ms // 1_000 else 1
        self._answered[asker] = (now_ms // 1_000, count)
        return count <= ANSWERS_PER_S_MAX

    def _answer(self, sender: int, message: Message) -> list[Action]:
        if self._does(self._habits.no_answer):
            return []
        if isinstance(message, OwnRoundRequest):
            return [Send((sender,), encode_message(OwnRoundAnswer(message.nonce, b"")))]
        if isinstance(message, BlocksRequest):
            found = [self._known[ref.digest] for ref in message.refs if ref.digest in self._known]
        elif isinstance(message, RoundsRequest):
            found = [
                self._known[ref.digest]
                for round_ in range(max(1, message.first_round), self._own_round + 1)
                for _, refs in sorted(self._rounds.get(round_, {}).items())
                for ref in refs[:1]
            ]
        else:
            return []
        blocks = tuple(block.encoded for block in found[:ANSWER_BLOCKS_MAX])
        if blocks and isinstance(message, RoundsRequest) and self._does(self._habits.garbage):
            return [Send((sender,), encode_message(StoredBlocks(blocks, self._random.getrandbits(63))))]
        return [Send((sender,), encode_message(Blocks(blocks)))] if blocks else []

    def _forget(self) -> None:
        for round_ in [r for r in self._rounds if 0 < r < self._own_round - ROUNDS_KEPT]:
            del self._stakes[round_]
            for refs in self._rounds.pop(round_).values():
                for ref in refs:
                    self._known.pop(ref.digest, None)
