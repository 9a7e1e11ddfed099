"""Who leads which round: one leader a round, in turn.

An author of whom two blocks of one slot have been ordered stops leading in all rounds above the leader whose commit
showed it. The schedule is therefore a function of the committed prefix alone, and a change discards every decision
above that boundary.
"""

from synaptic_mesh.identity.committee import Committee


class LeaderSchedule:
    """Leaders by round. At most f stake is ever demoted: with more liars than that nothing holds anyway."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self.demoted: tuple[int, ...] = ()
        self._turn = tuple(range(committee.size))

    def leader(self, round_: int) -> int:
        """Author index of the leader of a round >= 1, under the present schedule."""
        return self._turn[round_ % len(self._turn)]

    def demote(self, authors: set[int]) -> bool:
        """Take authors out of the turn, lowest index first, within f stake. Answers whether anything changed."""
        demoted = set(self.demoted)
        for author in sorted(authors - demoted):
            if self._committee.stake(demoted | {author}) <= self._committee.faulty_stake_max:
                demoted.add(author)
        if len(demoted) == len(self.demoted):
            return False
        self.restore(tuple(sorted(demoted)))
        return True

    def restore(self, demoted: tuple[int, ...]) -> None:
        """Set the demoted authors, as a commit records them."""
        self.demoted = demoted
        self._turn = tuple(author for author in range(self._committee.size) if author not in demoted)
