"""Fetching what is missing and serving what is stored.

Two ways to catch up. `Fetcher` asks for single missing ancestors: after a short grace their author and whoever sent the
child, then a random peer after each timeout, which doubles. `RoundSync` is for a node that is many rounds behind: it
asks one peer for whole rounds upward from its own clock, again and again, so that nothing has to be walked backwards. A
peer whose memory no longer reaches that far reads its store (`stored`). Answers are bounded; only stored blocks are
served.
"""

from collections.abc import Mapping
from random import Random

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.messages import RoundsRequest, Stranded
from synaptic_mesh.consensus.settings import Settings
from synaptic_mesh.consensus.suspended import ref_order
from synaptic_mesh.identity.committee import Committee

NEVER_MS = 1 << 62
FETCH_DOUBLINGS_MAX = 2
"""An unanswered request is repeated after 1, 2, 4, 4, ... timeouts: links that are slow, not lossy, are spared."""
STUCK_ATTEMPTS = 4
"""Requests after which nobody seems to have an ancestor in memory any more."""
PUSHED_BLOCKS_MAX = 32
"""Own blocks sent to a peer that says it is behind."""


IDLE_TIMEOUTS = 16
"""Fetch timeouts for which a peer's store may be read without moving our clock."""


class Want:
    """One missing ancestor."""

    __slots__ = ("attempts", "next_ms", "ref", "sender")

    def __init__(self, ref: BlockRef, sender: PeerId, next_ms: int) -> None:
        self.ref = ref
        self.sender = sender
        self.next_ms = next_ms
        self.attempts = 0


class Fetcher:
    """Asks for missing ancestors, each at most once per timeout. Bounded by what `Suspended` can want."""

    def __init__(self, settings: Settings, authors: tuple[PeerId, ...], random: Random) -> None:
        self.settings = settings
        self._authors = authors
        self._random = random
        self._wants: dict[BlockRef, Want] = {}
        self.next_ms = NEVER_MS

    def want(self, refs: list[BlockRef], sender: PeerId, now_ms: int) -> None:
        """Ask for these refs unless they arrive within the grace time."""
        due_ms = now_ms + self.settings.fetch_delay_ms
        for ref in refs:
            if ref not in self._wants:
                self._wants[ref] = Want(ref, sender, due_ms)
                self.next_ms = min(self.next_ms, due_ms)

    def due(
        self, wanted: Mapping[BlockRef, None], peers: list[PeerId], round_max: int, now_ms: int
    ) -> dict[PeerId, list[BlockRef]]:
        """Refs to ask of each peer now; sets `next_ms`. `wanted` is what is still missing, `peers` are sorted."""
        timeout_ms = self.settings.fetch_timeout_ms
        self._wants = {ref: want for ref, want in self._wants.items() if ref in wanted}
        requests: dict[PeerId, list[BlockRef]] = {}
        in_flight = sum(want.attempts > 0 and want.next_ms > now_ms for want in self._wants.values())
        for want in sorted(self._wants.values(), key=lambda w: ref_order(w.ref)):
            if want.next_ms > now_ms:
                continue
            want.next_ms = now_ms + (timeout_ms << min(want.attempts, FETCH_DOUBLINGS_MAX))
            if want.ref.round > round_max or in_flight >= self.settings.fetch_in_flight_max:
                continue
            in_flight += 1
            for peer in self._targets(want, peers):
                refs = requests.setdefault(peer, [])
                if len(refs) < self.settings.fetch_refs_max:
                    refs.append(want.ref)
            want.attempts += 1
        self.next_ms = min((want.next_ms for want in self._wants.values()), default=NEVER_MS)
        return requests

    def stuck_round(self) -> int | None:
        """The lowest round of which an ancestor was asked for again and again in vain, or None."""
        return min((want.ref.round for want in self._wants.values() if want.attempts >= STUCK_ATTEMPTS), default=None)

    def _targets(self, want: Want, peers: list[PeerId]) -> list[PeerId]:
        if want.attempts == 0:
            first = sorted({want.sender, self._authors[want.ref.author]} & set(peers))
            if first:
                return first
        return [self._random.choice(peers)] if peers else []


class RoundSync:
    """Asks one peer at a time for whole rounds while somebody is known to be far ahead.

    What a peer reads from its store for us comes in parts, so the same peer is asked on, as long as our clock moves.
    """

    def __init__(self, settings: Settings, random: Random) -> None:
        self.settings = settings
        self._random = random
        self._ahead: dict[PeerId, int] = {}  # connected peer -> highest round it is known to have
        self._ahead_max = 0
        self._too_young: dict[PeerId, int] = {}  # connected peer that is ahead -> oldest round it keeps: too new for us
        self._asked: PeerId | None = None
        self._asked_round = 0  # from which on it was asked
        self._asked_at = (0, 0)  # our clock and the place at the request
        self._place = 0  # where the store of the asked peer goes on
        self._moved_at = (0, 0)  # our clock when it last moved while the store was read, and the time
        self._is_answered = False
        self._stranded_round = 0  # the newest round of which it was said that nobody keeps it
        self.next_ms = NEVER_MS

    def note(self, peer: PeerId, round_: int) -> None:
        """This peer has blocks of this round."""
        if round_ > self._ahead.get(peer, 0):
            self._ahead[peer] = round_
            self._ahead_max = max(self._ahead_max, round_)

    def note_too_young(self, peer: PeerId, oldest_round: int) -> None:
        """This peer is ahead, and keeps nothing older than this: too little for us."""
        self.forget(peer)
        self._too_young[peer] = oldest_round

    def note_servable(self, peer: PeerId) -> None:
        """This peer keeps what we need next."""
        self._too_young.pop(peer, None)

    def stranded(self, committee: Committee, needed_round: int) -> Stranded | None:
        """Said once for a needed round, when nobody who is ahead keeps it and an honest validator is among them."""
        indices = [index for peer in self._too_young if (index := committee.index_of(peer)) is not None]
        is_honest = committee.is_valid(committee.stake(indices))
        if self._ahead or not is_honest or needed_round <= self._stranded_round:
            return None
        self._stranded_round = needed_round
        return Stranded(needed_round, min(self._too_young.values()))

    def forget(self, peer: PeerId) -> None:
        """The peer is gone, or cannot serve the rounds that are needed."""
        self._ahead.pop(peer, None)
        self._too_young.pop(peer, None)
        self._ahead_max = max(self._ahead.values(), default=0)
        if self._asked == peer:
            self._asked, self._place, self.next_ms = None, 0, NEVER_MS

    def answered(self, peer: PeerId, blocks: tuple[VerifiedBlock, ...], place: int = 0) -> None:
        """Blocks came: if they answer the request and the clock or the place moves, the next one may follow at once."""
        if peer != self._asked or not blocks:
            return
        if place:
            self._place, self._is_answered = place, True
        elif blocks[0].round <= self._asked_round + 1:
            self._place, self._is_answered = 0, True

    def begin_anew(self, peer: PeerId) -> None:
        """A block from this peer's store could not be kept: what follows it would not find its ancestors."""
        if peer == self._asked:
            self._place, self._is_answered = 0, False

    def due(
        self, clock_round: int, gc_round: int, stuck_round: int | None, peers: list[PeerId], now_ms: int
    ) -> tuple[PeerId, RoundsRequest] | None:
        """The peer to ask now and what, or None. `peers` are connected and sorted. Where asking from the clock on has
        not moved it, rounds from `stuck_round` on are asked for: the ancestor that is missing may be in stores alone.
        """
        threshold = clock_round + self.settings.sync_gap
        if self._ahead_max <= threshold:
            self._asked, self._place, self._is_answered, self.next_ms = None, 0, False, NEVER_MS
            return None
        self._leave_idle(clock_round, now_ms)
        is_waiting = not self._is_answered or (clock_round, self._place) == self._asked_at
        if self._asked is not None and now_ms < self.next_ms and is_waiting:
            return None
        peer = self._choose([peer for peer in peers if self._ahead.get(peer, 0) > threshold])
        self._is_answered = False
        if peer is None:
            self._asked, self._place, self.next_ms = None, 0, NEVER_MS
            return None
        self._asked_round = self._first_round(clock_round, stuck_round)
        self._asked, self._asked_at = peer, (clock_round, self._place)
        self.next_ms = now_ms + self.settings.fetch_timeout_ms
        return peer, RoundsRequest(self._asked_round, gc_round, self._place)

    def _first_round(self, clock_round: int, stuck_round: int | None) -> int:
        usual = max(1, clock_round - 1)
        if clock_round != self._asked_at[0]:
            return usual
        if self._place:
            return self._asked_round
        return usual if stuck_round is None else min(usual, stuck_round)

    def _leave_idle(self, clock_round: int, now_ms: int) -> None:
        """A store that is read on and on and does not move our clock is a liar's, or no help."""
        if not self._place or clock_round != self._moved_at[0]:
            self._moved_at = (clock_round, now_ms)
        elif now_ms > self._moved_at[1] + IDLE_TIMEOUTS * self.settings.fetch_timeout_ms:
            self._place, self._is_answered, self._moved_at = 0, False, (clock_round, now_ms)

    def _choose(self, ahead: list[PeerId]) -> PeerId | None:
        if self._place and self._is_answered and self._asked in ahead:
            return self._asked
        self._place = 0
        if len(ahead) > 1 and self._asked in ahead and not self._is_answered:
            ahead.remove(self._asked)  # it did not answer in time: somebody else
        return self._random.choice(ahead) if ahead else None


class History:
    """Blocks below the gc round, kept for late peers: bounded in blocks and bytes, oldest rounds go first."""

    def __init__(self, blocks_max: int, bytes_max: int) -> None:
        self.blocks_max = blocks_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self._blocks: dict[bytes, VerifiedBlock] = {}  # in ascending rounds: dicts keep the order of insertion
        self._rounds: dict[int, list[VerifiedBlock]] = {}

    def add(self, vertices: list[Vertex]) -> None:
        """Keep pruned blocks (ascending rounds); drop the oldest beyond the bounds."""
        for vertex in vertices:
            block = vertex.block
            self._blocks[block.digest] = block
            self._rounds.setdefault(block.round, []).append(block)
            self.bytes += len(block.encoded)
        while len(self._blocks) > self.blocks_max or self.bytes > self.bytes_max:
            for block in self._rounds.pop(next(iter(self._rounds))):
                del self._blocks[block.digest]
                self.bytes -= len(block.encoded)

    def get(self, digest: bytes) -> VerifiedBlock | None:
        """The block, if it is still kept."""
        return self._blocks.get(digest)

    def round(self, round_: int) -> list[VerifiedBlock]:
        """The kept blocks of a round."""
        return self._rounds.get(round_, [])

    def first_round(self) -> int | None:
        """The oldest round that is kept, or None."""
        return next(iter(self._rounds), None)


def find_blocks(dag: Dag, history: History, refs: tuple[BlockRef, ...]) -> list[VerifiedBlock]:
    """Those of the blocks asked for that are stored, ascending."""
    found = []
    for ref in sorted(refs, key=ref_order):
        vertex = dag.get(ref.digest)
        block = vertex.block if vertex is not None else history.get(ref.digest)
        if block is not None and block.ref == ref:
            found.append(block)
    return found


def blocks_from(dag: Dag, history: History, first_round: int, count_max: int) -> list[VerifiedBlock]:
    """Stored blocks of all authors from a round up, ascending, until at least count_max are found."""
    found: list[VerifiedBlock] = []
    for round_ in range(first_round, dag.highest_round + 1):
        found.extend(history.round(round_) if round_ <= dag.gc_round else [v.block for v in dag.vertices(round_)])
        if len(found) >= count_max:
            break
    return found


def bounded(blocks: list[VerifiedBlock], count_max: int, bytes_max: int) -> tuple[bytes, ...]:
    """The encodings of the first blocks within both limits; at least one if there is one."""
    encoded: list[bytes] = []
    room = bytes_max
    for block in blocks[:count_max]:
        room -= len(block.encoded)
        if room < 0 and encoded:
            break
        encoded.append(block.encoded)
    return tuple(encoded)
