"""The accepted blocks: each stands on a fully accepted history down to the gc round.

A vertex knows its parents as objects, so walking needs no look-ups; `links` holds those of the round just before, by
author: these are its votes. Slots keep every accepted twin in the order of arrival; only the first one is ever
referenced by us.
"""

from collections.abc import Iterator

from synaptic_mesh.base.errors import broken
from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock
from synaptic_mesh.identity.committee import Committee


class Vertex:
    """An accepted block in the DAG."""

    __slots__ = ("author", "block", "commit_index", "digest", "links", "parents", "round", "supporters")

    def __init__(self, block: VerifiedBlock) -> None:
        self.block = block
        self.round = block.round
        self.author = block.author
        self.digest = block.digest
        self.parents: list[Vertex] = []  # ancestors above the gc round, in header order
        self.links: dict[int, Vertex] = {}  # author -> its first ancestor in round - 1
        self.supporters = 0  # bit mask of authors of round + 1 that reference this very block
        self.commit_index = 0  # 0 while not ordered

    def __repr__(self) -> str:
        return f"Vertex({self.round}, {self.author}, {self.digest[:4].hex()})"


class Dag:
    """Accepted blocks above `gc_round`, the threshold clock, and who has blocks in which round."""

    def __init__(self, committee: Committee, parent_stake: int) -> None:
        self.size = committee.size
        self.stakes = committee.stakes
        self.parent_stake = parent_stake
        self.gc_round = 0
        self.highest_round = 0
        self.clock_round = 1  # the highest round with a quorum just below it: genesis is a quorum of round 0
        self.latest_round = [0] * committee.size  # highest accepted round by author
        self._by_digest: dict[bytes, Vertex] = {}
        self._rounds: dict[int, list[list[Vertex]]] = {}
        self._round_stake: dict[int, int] = {}

    def get(self, digest: bytes) -> Vertex | None:
        """The accepted block with this digest, if it is above the gc round."""
        return self._by_digest.get(digest)

    def __len__(self) -> int:
        return len(self._by_digest)

    def slot(self, round_: int, author: int) -> list[Vertex]:
        """Accepted blocks of one slot in order of arrival: more than one means equivocation."""
        slots = self._rounds.get(round_)
        return slots[author] if slots is not None else []

    def vertices(self, round_: int) -> Iterator[Vertex]:
        """Accepted blocks of a round, by author, then arrival."""
        for twins in self._rounds.get(round_, ()):
            yield from twins

    def round_stake(self, round_: int) -> int:
        """Stake of authors with an accepted block in this round. Genesis counts in full."""
        return sum(self.stakes) if round_ == 0 else self._round_stake.get(round_, 0)

    def missing(self, block: VerifiedBlock) -> list[BlockRef] | None:
        """Ancestors that must be accepted before this block can be (V9): above the gc round and not here. None when a
        ref lies: the block with this digest has another round or author, so the ancestor does not exist and never will.
        """
        floor, known = self.gc_round, self._by_digest
        missing = []
        for ref in block.header.ancestors:
            vertex = known.get(ref.digest)
            if vertex is None:
                if ref.round > floor:
                    missing.append(ref)
            elif vertex.round != ref.round or vertex.author != ref.author:
                return None
        return missing

    def insert(self, block: VerifiedBlock) -> Vertex:
        """Accept a block without missing ancestors. Afterwards it votes, and the clock may have advanced."""
        vertex, known, below = Vertex(block), self._by_digest, block.round - 1
        bit = 1 << block.author
        for ref in block.header.ancestors:
            parent = known.get(ref.digest)
            if parent is None:
                if ref.round > self.gc_round:
                    broken(f"{vertex} accepted without ancestor {ref}")
                continue
            vertex.parents.append(parent)
            if parent.round == below:
                vertex.links.setdefault(parent.author, parent)
                parent.supporters |= bit
        known[block.digest] = vertex
        self._place(vertex)
        return vertex

    def _place(self, vertex: Vertex) -> None:
        round_, author = vertex.round, vertex.author
        slots = self._rounds.get(round_)
        if slots is None:
            slots = self._rounds[round_] = [[] for _ in range(self.size)]
            self._round_stake[round_] = 0
        twins = slots[author]
        twins.append(vertex)
        if len(twins) == 1:
            self._round_stake[round_] += self.stakes[author]
        if round_ > self.latest_round[author]:
            self.latest_round[author] = round_
        if round_ > self.highest_round:
            self.highest_round = round_
        while self._round_stake.get(self.clock_round, 0) >= self.parent_stake:
            self.clock_round += 1

    def first_below(self, author: int, round_: int, floor: int) -> Vertex | None:
        """The first-seen block of an author's highest round r with floor < r < round_, or None."""
        for candidate in range(min(round_ - 1, self.latest_round[author]), max(floor, self.gc_round), -1):
            twins = self.slot(candidate, author)
            if twins:
                return twins[0]
        return None

    def prune(self, gc_round: int) -> list[Vertex]:
        """Forget every block at or below gc_round; return them in ascending rounds."""
        removed: list[Vertex] = []
        for round_ in range(self.gc_round + 1, gc_round + 1):
            for twins in self._rounds.pop(round_, ()):
                for vertex in twins:
                    del self._by_digest[vertex.digest]
                    vertex.parents, vertex.links = [], {}  # let the chain of objects go
                    removed.append(vertex)
            self._round_stake.pop(round_, None)
        self.gc_round = max(self.gc_round, gc_round)
        return removed
