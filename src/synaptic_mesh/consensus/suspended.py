"""Verified blocks whose ancestors are not all accepted yet, and what would free them.

Bounded by author, in blocks and bytes: a liar fills its own share only. When a share is full the block of the highest
round goes, because low rounds free the others. Whoever is evicted and still waited for becomes wanted again.
"""

from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock


class Suspended:
    """Blocks that wait, and the refs nobody has delivered (`wanted`, in order of need).

    An ancestor is a whole ref: a liar may give a digest the wrong round, and that ancestor must not be mixed up with
    the true one.
    """

    def __init__(self, size: int, per_author_max: int, bytes_per_author_max: int) -> None:
        self.per_author_max = per_author_max
        self.bytes_per_author_max = bytes_per_author_max
        self.wanted: dict[BlockRef, None] = {}
        self._blocks: dict[bytes, VerifiedBlock] = {}
        self._missing: dict[bytes, set[BlockRef]] = {}  # suspended block -> ancestors it waits for
        self._children: dict[BlockRef, list[bytes]] = {}  # awaited ancestor -> suspended blocks, in order of arrival
        self._by_author: list[dict[bytes, VerifiedBlock]] = [{} for _ in range(size)]
        self._bytes = [0] * size

    def __contains__(self, digest: object) -> bool:
        return digest in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def slot(self, round_: int, author: int) -> list[VerifiedBlock]:
        """Suspended blocks of one slot."""
        return [block for block in self._by_author[author].values() if block.round == round_]

    def add(self, block: VerifiedBlock, missing: list[BlockRef]) -> VerifiedBlock | None:
        """Hold a block until `missing` are accepted. Returns the block that was evicted for it, perhaps itself."""
        digest, author = block.digest, block.author
        self._blocks[digest] = block
        self._by_author[author][digest] = block
        self._bytes[author] += len(block.encoded)
        self._missing[digest] = set(missing)
        for ref in missing:
            self._children.setdefault(ref, []).append(digest)
            held = self._blocks.get(ref.digest)
            if held is None or held.ref != ref:
                self.wanted[ref] = None
        self.wanted.pop(block.ref, None)
        if len(self._by_author[author]) <= self.per_author_max and self._bytes[author] <= self.bytes_per_author_max:
            return None
        victim = max(self._by_author[author].values(), key=lambda b: (b.round, b.digest))
        self._remove(victim)
        if victim.ref in self._children:
            self.wanted[victim.ref] = None
        return victim

    def _remove(self, block: VerifiedBlock) -> None:
        digest, author = block.digest, block.author
        del self._blocks[digest], self._by_author[author][digest]
        self._bytes[author] -= len(block.encoded)
        for parent in self._missing.pop(digest):
            children = self._children[parent]
            children.remove(digest)
            if not children:
                del self._children[parent]
                self.wanted.pop(parent, None)

    def accepted(self, ref: BlockRef) -> list[VerifiedBlock]:
        """An ancestor is accepted (or needed no more): return the blocks that now wait for nothing, removed."""
        self.wanted.pop(ref, None)
        children = self._children.pop(ref, None)
        if children is None:
            return []
        freed: list[VerifiedBlock] = []
        for child in children:
            missing = self._missing[child]
            missing.discard(ref)
            if not missing:
                block = self._blocks[child]
                self._remove(block)
                freed.append(block)
        return freed

    def expire(self, gc_round: int) -> list[VerifiedBlock]:
        """Forget blocks at or below the gc round; return those freed because they waited for nothing else."""
        if not self._blocks:
            return []
        for block in [b for b in self._blocks.values() if b.round <= gc_round]:
            self._remove(block)
        freed: list[VerifiedBlock] = []
        for ref in sorted((r for r in self._children if r.round <= gc_round), key=ref_order):
            freed.extend(self.accepted(ref))
        return freed


def ref_order(ref: BlockRef) -> tuple[int, int, bytes]:
    """Sort key of refs: ascending rounds, so that ancestors come first."""
    return (ref.round, ref.author, ref.digest)
