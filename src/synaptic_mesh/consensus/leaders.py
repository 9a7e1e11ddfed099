"""Who leads which round: `leader_count` leaders a round, in turn.

Rank k of round r is led by the (r+k)-th of the turn. Two things change the turn, both functions of the committed prefix
alone, and both only for rounds above the leader whose commit brought the change:

  - an author of whom two blocks of one slot have been ordered leaves it;
  - every `reputation_commits` commits the worst authors of the period just over, at most f stake together with those
    that have left, are benched: the best lead in their place (`reputation`).

A change discards every decision above that leader (`tally`). Ranks of the same round keep their leaders: a change in
the middle of a round could make one author lead it twice.
"""

from synaptic_mesh.identity.committee import Committee

ERAS_KEPT = 3
"""Turns that are remembered: the present one, and those of the round being decided and the ones just before it."""
CACHED_ROUNDS_MAX = 4_096


class Era:
    """The turn from one round on."""

    __slots__ = ("benched", "demoted", "favoured", "first_round", "turn")

    def __init__(
        self,
        size: int,
        first_round: int = 0,
        demoted: tuple[int, ...] = (),
        benched: tuple[int, ...] = (),
        favoured: tuple[int, ...] = (),
    ) -> None:
        self.first_round = first_round
        self.demoted = demoted
        self.benched = benched
        self.favoured = favoured
        self.turn = tuple(author for author in range(size) if author not in demoted)

    def leaders(self, round_: int, count: int) -> tuple[int, ...]:
        """Authors by rank, all different. A benched one gives its turn to a favoured one that does not lead this round
        already, else to the next in the turn.
        """
        turn = self.turn
        chosen = [turn[(round_ + rank) % len(turn)] for rank in range(min(count, len(turn)))]
        if any(author in self.benched for author in chosen):
            shift = round_ % len(self.favoured) if self.favoured else 0
            others = [turn[(round_ + count + step) % len(turn)] for step in range(len(turn))]
            for rank, author in enumerate(chosen):
                if author in self.benched:
                    candidates = (*self.favoured[shift:], *self.favoured[:shift], *others)
                    free = (other for other in candidates if other not in chosen and other not in self.benched)
                    chosen[rank] = next(free, author)
        return tuple(chosen)


class LeaderSchedule:
    """Leaders by round. At most f stake is ever demoted or benched: with more liars than that nothing holds anyway."""

    def __init__(
        self, committee: Committee, leader_count: int = 1, wave_rounds: int = 3, is_pipelined: bool = True
    ) -> None:
        self._committee = committee
        self._leader_count = leader_count
        self._every_rounds = 1 if is_pipelined else wave_rounds
        self._eras = [Era(committee.size)]
        self._cache: dict[int, tuple[int, ...]] = {}

    @property
    def demoted(self) -> tuple[int, ...]:
        """Authors that lead no more, ascending."""
        return self._eras[-1].demoted

    @property
    def benched(self) -> tuple[int, ...]:
        """Authors whose turns others take in this period, ascending."""
        return self._eras[-1].benched

    @property
    def favoured(self) -> tuple[int, ...]:
        """Authors that take the turns of the benched ones, best first."""
        return self._eras[-1].favoured

    def leaders(self, round_: int) -> tuple[int, ...]:
        """Author indices of the leaders of a round by rank; none where no wave starts."""
        leaders = self._cache.get(round_)
        if leaders is None:
            if len(self._cache) >= CACHED_ROUNDS_MAX:
                self._cache.clear()
            leaders = self._cache[round_] = self._choose(round_)
        return leaders

    def _choose(self, round_: int) -> tuple[int, ...]:
        if round_ < 1 or round_ % self._every_rounds:
            return ()
        era = next((era for era in reversed(self._eras) if era.first_round <= round_), self._eras[0])
        return era.leaders(round_, self._leader_count)

    def demote(self, authors: set[int], first_round: int) -> bool:
        """Take authors out of the turn from a round on, lowest index first, within f stake. Answers whether anything
        changed.
        """
        demoted = set(self.demoted)
        for author in sorted(authors - demoted):
            if self._committee.stake(demoted | {author}) <= self._committee.faulty_stake_max:
                demoted.add(author)
        if len(demoted) == len(self.demoted):
            return False
        benched = tuple(author for author in self.benched if author not in demoted)
        favoured = tuple(author for author in self.favoured if author not in demoted)
        self.restore(first_round, tuple(sorted(demoted)), benched, favoured)
        return True

    def swap(self, benched: tuple[int, ...], favoured: tuple[int, ...], first_round: int) -> bool:
        """Bench authors and let others lead in their place from a round on. Answers whether anything changed."""
        if (benched, favoured) == (self.benched, self.favoured):
            return False
        self.restore(first_round, self.demoted, benched, favoured)
        return True

    def restore(
        self,
        first_round: int,
        demoted: tuple[int, ...],
        benched: tuple[int, ...] = (),
        favoured: tuple[int, ...] = (),
    ) -> None:
        """Set the turn from a round on, as a commit records it."""
        self._eras = [era for era in self._eras if era.first_round < first_round][-ERAS_KEPT + 1 :]
        self._eras.append(Era(self._committee.size, first_round, demoted, benched, favoured))
        self._cache.clear()
