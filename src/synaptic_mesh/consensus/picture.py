"""A node's recent DAG as text: authors are columns, rounds are rows, leaders and what became of them stand beside.

    round  A     B     C     D
       41  ABCD  ABC.  -     ABD.   B Commit #120
       42  ABD.  ABD.  ABD.  ABD.   C Skip

A cell names the authors whose blocks of the round before the block references; "-" means no block, "+1" a twin. What
became of a leader follows from the stored commits: committed ones are named there, slots before the newest committed
one are skipped, later ones are open.
"""

from collections.abc import Iterator, Sequence

import msgspec

from synaptic_mesh.consensus.block import BlockRef, Header
from synaptic_mesh.consensus.case import WORDS, author_letters, slot_name
from synaptic_mesh.consensus.committer import Verdict
from synaptic_mesh.consensus.leaders import Era
from synaptic_mesh.consensus.messages import Commit
from synaptic_mesh.consensus.settings import Rules
from synaptic_mesh.identity.committee import Committee

LETTERED_SIZE_MAX = 13
"""Authors in a cell; larger committees get counts."""


class LeaderSlot(msgspec.Struct, frozen=True):
    """One leader slot; `commit` is the index of its commit, 0 without."""

    author: int
    verdict: Verdict
    commit: int = 0
    block: str = ""


class Picture:
    """Rounds from `first` to `last` as they lie in a store: headers of stored blocks by digest, and stored commits in
    order. Of `first` on every stored block is expected to be among them.
    """

    def __init__(
        self,
        committee: Committee,
        rules: Rules,
        blocks: Sequence[tuple[bytes, Header]],
        commits: Sequence[Commit],
        rounds: int,
    ) -> None:
        self.committee = committee
        self.rules = rules
        self.last = max((header.round for _, header in blocks), default=0)
        self.first = max(1, self.last - rounds + 1, min((header.round for _, header in blocks), default=1))
        self.names: dict[bytes, str] = {}
        self._cells: dict[tuple[int, int], list[Header]] = {}
        for digest, header in blocks:
            cell = self._cells.setdefault((header.round, header.author), [])
            self.names[digest] = slot_name(header.author, header.round) + "'" * len(cell)
            cell.append(header)
        self._committed = {(c.leader.round, c.leader.author): c for c in commits}
        self._newest = commits[-1] if commits else None
        self._eras = [Era(committee.size, 0)] + [
            Era(committee.size, c.leader.round + 1, c.demoted, c.benched, c.favoured) for c in commits
        ]

    def leaders(self, round_: int) -> list[LeaderSlot]:
        """The leader slots of a round by rank, under the turn that its commits tell of."""
        if not self.rules.has_leaders(round_):
            return []
        era = next(era for era in reversed(self._eras) if era.first_round <= round_)
        authors = era.leaders(round_, self.rules.leader_count)
        return [self._slot(round_, rank, authors) for rank in range(len(authors))]

    def _slot(self, round_: int, rank: int, authors: tuple[int, ...]) -> LeaderSlot:
        author, newest = authors[rank], self._newest
        commit = self._committed.get((round_, author))
        if commit is not None:
            return LeaderSlot(author, Verdict.COMMIT, commit.index, self.name(commit.leader))
        if newest is None or newest.leader.round < round_:
            return LeaderSlot(author, Verdict.UNDECIDED)
        is_before = newest.leader.round > round_ or newest.leader.author in authors[rank:]
        return LeaderSlot(author, Verdict.SKIP if is_before else Verdict.UNDECIDED)

    def name(self, ref: BlockRef) -> str:
        """The name of a block, also of one that is not in the picture."""
        return self.names.get(ref.digest, slot_name(ref.author, ref.round))

    def blocks(self, round_: int, author: int) -> list[Header]:
        """The stored blocks of a slot in order of arrival."""
        return self._cells.get((round_, author), [])

    def lines(self) -> Iterator[str]:
        """The picture, oldest round first."""
        size = self.committee.size
        width = (
            2 + (size if size <= LETTERED_SIZE_MAX else 3) + (3 if any(len(c) > 1 for c in self._cells.values()) else 0)
        )
        yield "round  " + "".join(author_letters(author).ljust(width) for author in range(size)).rstrip()
        for round_ in range(self.first, self.last + 1):
            cells = "".join(self._cell(round_, author).ljust(width) for author in range(size))
            notes = ", ".join(self._note(slot) for slot in self.leaders(round_))
            yield f"{round_:5}  {cells} {notes}".rstrip()

    def _cell(self, round_: int, author: int) -> str:
        blocks = self.blocks(round_, author)
        if not blocks:
            return "-"
        parents = {ref.author for ref in blocks[0].ancestors if ref.round == round_ - 1}
        size = self.committee.size
        drawn = (
            "".join(author_letters(a) if a in parents else "." for a in range(size))
            if size <= LETTERED_SIZE_MAX
            else str(len(parents))
        )
        return drawn + (f"+{len(blocks) - 1}" if len(blocks) > 1 else "")

    def _note(self, slot: LeaderSlot) -> str:
        index = f" #{slot.commit}" if slot.commit else ""
        return f"{author_letters(slot.author)} {WORDS[slot.verdict]}{index}"
