"""Commit votes: every block names the newest commit of its author. They find forks, and the commit that a quorum stands
behind.

A vote for commit i is one for every commit before it, because commits name each other by digest. So the newest vote of
each author says all; the quorum commit index is the highest index that authors with quorum stake have reached.
"""

from synaptic_mesh.base.errors import broken
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.consensus.block import Header
from synaptic_mesh.identity.committee import Committee

RECENT_COMMITS_MAX = 1_000
"""Own commit digests that peers' votes are compared with."""


class CommitVotes:
    """The newest vote of each author, and our own newest commits."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._newest = [0] * committee.size  # highest commit index voted for, by author
        self._recent: dict[int, Digest] = {}  # index -> digest of our own commits
        self._disputing = 0  # authors whose votes contradict our chain, as a mask
        self.quorum_index = 0
        """Highest commit that authors with quorum stake have reached, on chains that may yet prove not to be ours."""

    def __len__(self) -> int:
        return len(self._recent)

    def note_own(self, index: int, digest: Digest) -> None:
        """We have committed."""
        self._recent[index] = digest
        self._recent.pop(index - RECENT_COMMITS_MAX, None)

    def note(self, header: Header) -> None:
        """Count the votes of an accepted block. Raises InvariantBroken when validators of which one must be honest
        stand behind another commit than ours.
        """
        author = header.author
        for vote in header.commit_votes:
            ours = self._recent.get(vote.index)
            if ours is not None and ours != vote.digest:
                self._dispute(author, vote.index, vote.digest, ours)
            if vote.index > self._newest[author]:
                self._newest[author] = vote.index
                if vote.index > self.quorum_index:
                    self.quorum_index = self._quorum_index()

    def _dispute(self, author: int, index: int, theirs: bytes, ours: bytes) -> None:
        self._disputing |= 1 << author
        authors = [a for a in range(self._committee.size) if self._disputing >> a & 1]
        if self._committee.is_valid(self._committee.stake(authors)):
            broken(f"authors {authors} committed {theirs[:4].hex()} at {index}, we {ours[:4].hex()}")

    def _quorum_index(self) -> int:
        stake = 0
        for index, own in sorted(zip(self._newest, self._committee.stakes, strict=True), reverse=True):
            stake += own
            if stake >= self._committee.quorum:
                return index
        return 0
