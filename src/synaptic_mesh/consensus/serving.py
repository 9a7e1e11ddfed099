"""What peers may be sent: stored blocks, within bounds and within the asker's credit, and nothing that is held back.

Held back are own blocks whose round an earlier life of this node had signed: they are shown to those alone who name
them, which nobody can who has not met them.
"""

from collections.abc import Sequence

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock
from synaptic_mesh.consensus.credit import Credit
from synaptic_mesh.consensus.dag import Dag
from synaptic_mesh.consensus.journal import Journal
from synaptic_mesh.consensus.messages import Blocks, Effect, Send
from synaptic_mesh.consensus.settings import Settings
from synaptic_mesh.consensus.sync import History, blocks_from, bounded, find_blocks

ANSWERS_AHEAD = 8
"""Answers of the largest size that a peer gets at once before it has to wait for its credit."""
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
        self._withheld: dict[bytes, None] = {}

    def withhold(self, digest: bytes) -> None:
        """Show this own block to those alone who name it."""
        self._withheld[digest] = None
        if len(self._withheld) > WITHHELD_MAX:
            del self._withheld[next(iter(self._withheld))]

    def is_shown(self, digest: bytes) -> bool:
        """May this block be sent unasked, and to those who ask for whole rounds?"""
        return digest not in self._withheld and digest != self.in_doubt and not self.journal.is_own_unwritten(digest)

    def oldest_round(self) -> int:
        """The oldest round that is served."""
        return self.history.first_round() or self.dag.gc_round + 1

    def newest_of(self, author: int) -> VerifiedBlock | None:
        """The newest accepted block of an author that is stored."""
        vertex = self.dag.first_below(author, self.dag.latest_round[author] + 1, 0)
        if vertex is not None:
            return vertex.block
        kept = [b for b in self.history.round(self.dag.latest_round[author]) if b.author == author]
        return kept[0] if kept else None

    def named(self, peer: PeerId, refs: tuple[BlockRef, ...], now_ms: int) -> list[Effect]:
        """Those of the blocks that a peer names."""
        found = find_blocks(self.dag, self.history, refs[: self.settings.fetch_refs_max])
        return self._send(peer, [block for block in found if not self.journal.is_own_unwritten(block.digest)], now_ms)

    def rounds(self, peer: PeerId, first_round: int, now_ms: int) -> list[Effect]:
        """Blocks of every author from a round up."""
        return self.pushed(
            peer, blocks_from(self.dag, self.history, first_round, self.settings.answer_blocks_max), now_ms
        )

    def pushed(self, peer: PeerId, blocks: Sequence[VerifiedBlock], now_ms: int) -> list[Effect]:
        """Those of these blocks that may be shown."""
        return self._send(peer, [block for block in blocks if self.is_shown(block.digest)], now_ms)

    def _send(self, peer: PeerId, blocks: list[VerifiedBlock], now_ms: int) -> list[Effect]:
        encoded = bounded(blocks, self.settings.answer_blocks_max, self.settings.answer_bytes_max)
        self.credit.spend(peer, sum(map(len, encoded)), now_ms)
        return [Send(peer, Blocks(encoded))] if encoded else []
