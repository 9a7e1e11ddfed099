"""What peers may be sent: stored blocks, within bounds and within the asker's credit, and nothing that is held back.

Held back are own blocks whose round an earlier life of this node had signed: they are shown to those alone who name
them, which nobody can who has not met them.
"""

from collections.abc import Sequence

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock, WireBlock, header_digest
from synaptic_mesh.consensus.credit import Credit
from synaptic_mesh.consensus.dag import Dag
from synaptic_mesh.consensus.journal import Journal
from synaptic_mesh.consensus.messages import (
    Blocks,
    Dropped,
    Effect,
    ReadStored,
    RoundsRequest,
    Send,
    StoredBlocks,
    StoredRead,
)
from synaptic_mesh.consensus.settings import Settings
from synaptic_mesh.consensus.sync import History, blocks_from, bounded, find_blocks

ANSWERS_AHEAD = 8
"""Answers of the largest size that a peer gets at once before it has to wait for its credit."""
READS_MAX = 64
"""Reads of the store under way for peers, at most one for each."""
WITHHELD_MAX = 1_024
"""Own blocks that are held back: one for each round that an earlier life had signed, the newest."""


class Serving:
    """Finds stored blocks and makes answers of them."""

    def __init__(self, settings: Settings, dag: Dag, history: History, journal: Journal) -> None:
        self.settings = settings
        self.dag = dag
        self.history = history
        self.journal = journal
        self.credit = Credit(settings.answer_bytes_per_s, ANSWERS_AHEAD * settings.answer_bytes_max)
        self.in_doubt = b""
        """Digest of an own block that may prove to be the second of its round: it is held back too."""
        self.stored_round: int | None = None
        """The oldest round that the store still has in full; None: it is not read for peers."""
        self._newest: dict[int, VerifiedBlock] = {}
        self._withheld: dict[bytes, None] = {}
        self._reading: set[PeerId] = set()

    def withhold(self, digest: bytes) -> None:
        """Show this own block to those alone who name it."""
        self._withheld[digest] = None
        if len(self._withheld) > WITHHELD_MAX:
            del self._withheld[next(iter(self._withheld))]

    def is_shown(self, digest: bytes) -> bool:
        """May this block be sent unasked, and to those who ask for whole rounds?"""
        return digest not in self._withheld and digest != self.in_doubt and not self.journal.is_own_unwritten(digest)

    def oldest_round(self) -> int:
        """The oldest round that is served, from memory or from the store."""
        in_memory = self.history.first_round() or self.dag.gc_round + 1
        return in_memory if self.stored_round is None else min(in_memory, self.stored_round)

    def note(self, block: VerifiedBlock) -> None:
        """A block is accepted. The newest one of each author stays here for good: an author that comes back with an
        empty store after a long time must hear of it, or it would sign old rounds again.
        """
        known = self._newest.get(block.author)
        if known is None or block.round > known.round:
            self._newest[block.author] = block

    def newest_of(self, author: int) -> VerifiedBlock | None:
        """The newest accepted block of an author, the first seen of its round."""
        return self._newest.get(author)

    def named(self, peer: PeerId, refs: tuple[BlockRef, ...], now_ms: int) -> list[Effect]:
        """Those of the blocks that a peer names."""
        found = find_blocks(self.dag, self.history, refs[: self.settings.fetch_refs_max])
        return self._send(peer, [block for block in found if not self.journal.is_own_unwritten(block.digest)], now_ms)

    def rounds(self, peer: PeerId, request: RoundsRequest, now_ms: int) -> list[Effect]:
        """Blocks of every author from a round up. The round is not below `oldest_round`."""
        settings = self.settings
        if request.first_round >= (self.history.first_round() or self.dag.gc_round + 1):
            found = blocks_from(self.dag, self.history, request.first_round, settings.answer_blocks_max)
            return self.pushed(peer, found, now_ms)
        if peer in self._reading or len(self._reading) >= READS_MAX:
            return [Dropped(peer, "asks_too_much", 1)]
        self._reading.add(peer)
        self.credit.spend(peer, 0, now_ms)
        limits = settings.answer_blocks_max, settings.answer_bytes_max
        return [ReadStored(peer, request.floor_round, request.place, *limits)]

    def read(self, event: StoredRead, now_ms: int) -> list[Effect]:
        """The store was read for a peer."""
        self._reading.discard(event.peer)
        self.stored_round = event.oldest_round
        self.credit.spend(event.peer, sum(map(len, event.blocks)), now_ms)
        shown = event.blocks
        if self._withheld:
            shown = tuple([data for data in shown if self.is_shown(digest_of(data))])
        return [Send(event.peer, StoredBlocks(shown, event.place))] if shown else []

    def pushed(self, peer: PeerId, blocks: Sequence[VerifiedBlock], now_ms: int) -> list[Effect]:
        """Those of these blocks that may be shown."""
        return self._send(peer, [block for block in blocks if self.is_shown(block.digest)], now_ms)

    def _send(self, peer: PeerId, blocks: list[VerifiedBlock], now_ms: int) -> list[Effect]:
        encoded = bounded(blocks, self.settings.answer_blocks_max, self.settings.answer_bytes_max)
        self.credit.spend(peer, sum(map(len, encoded)), now_ms)
        return [Send(peer, Blocks(encoded))] if encoded else []


def digest_of(data: bytes) -> bytes:
    """The digest of a stored block."""
    return header_digest(decode_untrusted(WireBlock, data, len(data)).header)
