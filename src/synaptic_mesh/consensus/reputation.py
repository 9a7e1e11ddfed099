"""Which validators lead well, counted from what is ordered and from nothing else.

A block of round r+1 that references a committed leader of round r has voted in time and earns its author one point.
After every `reputation_commits` commits the authors with the fewest points, at most f stake together with those that no
longer lead, are benched for the next period and as many of those with the most points take their turns; then counting
starts again. A validator that is down or slow no longer costs a time-out in each of its turns.

Only the ancestors named in ordered headers count, never which blocks this node happens to hold: two nodes count alike,
and so does a node that replays its log. Tsimos, Kichidis, Sonnino, Kokoris-Kogias 2024, "HammerHead: Leader Reputation
for Dynamic Scheduling", arXiv:2309.12713.
"""

from collections.abc import Iterable, Sequence

from synaptic_mesh.consensus.block import BlockRef, Header
from synaptic_mesh.identity.committee import Committee

BENCH_SHARE = (3, 4)
"""An author is benched below this share of the points of the one that would take its turns: jitter is no reason."""


class Reputation:
    """Points of the present period."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self.points = [0] * committee.size
        self._leaders: dict[BlockRef, None] = {}  # committed leaders that can still be voted for, ascending rounds

    def note(self, leader: BlockRef, ordered: Iterable[Header], gc_round: int) -> None:
        """Count a commit: its blocks, and from now on votes for its leader. gc_round: the commit's own."""
        for header in ordered:
            below = header.round - 1
            if any(ref.round == below and ref in self._leaders for ref in header.ancestors):
                self.points[header.author] += 1
        self._leaders[leader] = None
        while (oldest := next(iter(self._leaders))).round < gc_round:
            del self._leaders[oldest]

    def choose(self, demoted: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """End the period: (benched, favoured) for the next one. Ties go to the lower index."""
        committee, points = self._committee, self.points
        able = sorted(set(range(committee.size)) - set(demoted), key=lambda author: (-points[author], author))
        benched: list[int] = []
        numerator, denominator = BENCH_SHARE
        for worst in reversed(able):
            position = len(benched)
            if 2 * (position + 1) > len(able) or points[worst] * denominator >= points[able[position]] * numerator:
                break
            if committee.stake([*demoted, *benched, worst]) > committee.faulty_stake_max:
                break
            benched.append(worst)
        self.points = [0] * committee.size
        return tuple(sorted(benched)), tuple(able[: len(benched)])
