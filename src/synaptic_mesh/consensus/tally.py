"""The commit rule with its counts cached: what `committer.decide_all` says, at a few microseconds for each accepted
block.

A block of round x can only change the direct decision of two slots: the leaders of x-1 (it votes or blames) and x-2 (it
may certify). Direct and indirect decisions are final once made, so the prefix is searched again only after a new direct
decision.
"""

from synaptic_mesh.base.errors import broken
from synaptic_mesh.consensus.committer import WAVE_ROUNDS, Decision, Verdict, reach
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.settings import Rules


class SlotTally:
    """Blames and certificates of one leader slot, by author."""

    __slots__ = ("author", "blame_mask", "blame_stake", "certificates")

    def __init__(self, author: int) -> None:
        self.author = author
        self.blame_mask = 0
        self.blame_stake = 0
        self.certificates: dict[bytes, Certificates] = {}  # leader digest -> who certifies it


class Certificates:
    """Who certifies one leader block."""

    __slots__ = ("blocks", "leader", "mask", "stake")

    def __init__(self, leader: Vertex) -> None:
        self.leader = leader
        self.mask = 0
        self.stake = 0
        self.blocks: set[bytes] = set()  # digests of certifying blocks


class Committer:
    """Decisions above `decided_round`, advanced by `note` for every accepted block."""

    def __init__(self, dag: Dag, rules: Rules, schedule: LeaderSchedule) -> None:
        self.dag = dag
        self.rules = rules
        self.schedule = schedule
        self.decided_round = 0
        self._tallies: dict[int, SlotTally] = {}
        self._decisions: dict[int, Decision] = {}  # final, above decided_round
        self._changed = False

    def note(self, vertex: Vertex) -> None:
        """Count what an accepted block says about the leaders one and two rounds below it."""
        round_ = vertex.round
        if round_ - 1 > self.decided_round:
            self._note_blame(vertex, round_ - 1)
        if round_ - 2 > self.decided_round:
            self._note_certificate(vertex, round_ - 2)

    def _tally(self, round_: int) -> SlotTally:
        tally = self._tallies.get(round_)
        if tally is None:
            tally = self._tallies[round_] = SlotTally(self.schedule.leader(round_))
        return tally

    def _note_blame(self, vertex: Vertex, round_: int) -> None:
        tally = self._tally(round_)
        if tally.author in vertex.links or tally.blame_mask >> vertex.author & 1:
            return
        tally.blame_mask |= 1 << vertex.author
        tally.blame_stake += self.dag.stakes[vertex.author]
        if tally.blame_stake >= self.rules.skip_stake:
            self._decide(Decision(round_, tally.author, Verdict.SKIP))

    def _note_certificate(self, vertex: Vertex, round_: int) -> None:
        tally, stakes = self._tally(round_), self.dag.stakes
        votes: dict[bytes, int] = {}
        for author, parent in vertex.links.items():
            leader = parent.links.get(tally.author)
            if leader is None:
                continue
            stake = votes[leader.digest] = votes.get(leader.digest, 0) + stakes[author]
            if stake >= self.rules.certificate_stake > stake - stakes[author]:
                self._certify(tally, leader, vertex)

    def _certify(self, tally: SlotTally, leader: Vertex, vertex: Vertex) -> None:
        certificates = tally.certificates.get(leader.digest)
        if certificates is None:
            certificates = tally.certificates[leader.digest] = Certificates(leader)
        certificates.blocks.add(vertex.digest)
        if certificates.mask >> vertex.author & 1:
            return
        certificates.mask |= 1 << vertex.author
        certificates.stake += self.dag.stakes[vertex.author]
        if certificates.stake >= self.rules.commit_stake:
            self._decide(Decision(leader.round, tally.author, Verdict.COMMIT, leader))

    def _decide(self, decision: Decision) -> None:
        known = self._decisions.get(decision.round)
        if known is None:
            self._decisions[decision.round] = decision
            self._changed = True
        elif known.verdict is not decision.verdict or known.leader is not decision.leader:
            broken(f"round {decision.round} is decided both {known} and {decision}: more than f stake lies")

    def next_decision(self) -> Decision | None:
        """The decision of the round after decided_round, or None while it is undecided. `advance` moves over it."""
        if self._changed:
            self._changed = False
            self._decide_indirectly()
        return self._decisions.get(self.decided_round + 1)

    def _decide_indirectly(self) -> None:
        anchor: Decision | None = None  # first slot at or above round_ + WAVE_ROUNDS that is not skipped
        is_open = True  # no such slot, or it is undecided
        for round_ in range(max(self._decisions, default=0), self.decided_round, -1):
            above = self._decisions.get(round_ + WAVE_ROUNDS)
            if above is None:
                is_open = True
            elif above.verdict is Verdict.COMMIT:
                anchor, is_open = above, False
            if round_ not in self._decisions and not is_open and anchor is not None and anchor.leader is not None:
                self._decisions[round_] = self._through(anchor.leader, round_)

    def _through(self, anchor: Vertex, round_: int) -> Decision:
        tally, stakes = self._tally(round_), self.dag.stakes
        history = reach(anchor, round_ + 2)
        for leader in self.dag.slot(round_, tally.author):
            certificates = tally.certificates.get(leader.digest)
            if certificates is None:
                continue
            authors = {block.author for block in history if block.digest in certificates.blocks}
            if sum(stakes[author] for author in authors) >= self.rules.link_stake:
                return Decision(round_, tally.author, Verdict.COMMIT, leader, direct=False)
        return Decision(round_, tally.author, Verdict.SKIP, direct=False)

    def advance(self) -> None:
        """Move the cursor over the next decision, committed or skipped."""
        self.decided_round += 1
        self._decisions.pop(self.decided_round)
        self._tallies.pop(self.decided_round, None)

    def reset(self) -> None:
        """Forget every decision above the cursor and count again: the leader schedule has changed."""
        self._tallies.clear()
        self._decisions.clear()
        for round_ in range(self.decided_round + 2, self.dag.highest_round + 1):
            for vertex in self.dag.vertices(round_):
                self.note(vertex)
        self._changed = True
