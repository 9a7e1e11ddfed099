"""The commit rule with its counts cached: what `committer.decide_all` says, at a few microseconds for each accepted
block.

A block of round x can only change the direct decisions of slots of two rounds: it votes for or blames the leaders of
x-1, and may certify those of x-2 (in a wave of two a vote is the certificate). Direct and indirect decisions are final
once made, so the prefix is searched again only after a new direct decision.
"""

from synaptic_mesh.base.errors import broken
from synaptic_mesh.consensus.committer import Decision, Verdict, linked_decision, reach
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
    """Decisions from the slot (`round`, `rank`) on, advanced by `note` for every accepted block."""

    def __init__(self, dag: Dag, rules: Rules, schedule: LeaderSchedule) -> None:
        self.dag = dag
        self.rules = rules
        self.schedule = schedule
        self.round = 1
        self.rank = 0
        self._tallies: dict[int, list[SlotTally]] = {}  # round -> one for each leader, by rank
        self._decisions: dict[tuple[int, int], Decision] = {}  # (round, author), final, from the cursor on
        self._highest = 0  # highest round of a decision
        self._changed = False

    def note(self, vertex: Vertex) -> None:
        """Count what an accepted block says about the leaders one and two rounds below it."""
        below = vertex.round - 1
        if below >= self.round:
            for tally in self._tallies.get(below) or self._open(below):
                self._note_blame(vertex, below, tally)
                if self.rules.wave_rounds == 2:
                    self._note_vote(vertex, tally)
        if self.rules.wave_rounds == 3 and below > self.round:
            for tally in self._tallies.get(below - 1) or self._open(below - 1):
                self._note_certificate(vertex, tally)

    def _open(self, round_: int) -> list[SlotTally]:
        tallies = self._tallies[round_] = [SlotTally(author) for author in self.schedule.leaders(round_)]
        return tallies

    def _note_blame(self, vertex: Vertex, round_: int, tally: SlotTally) -> None:
        if tally.author in vertex.links or tally.blame_mask >> vertex.author & 1:
            return
        tally.blame_mask |= 1 << vertex.author
        tally.blame_stake += self.dag.stakes[vertex.author]
        if tally.blame_stake >= self.rules.skip_stake:
            self._decide(Decision(round_, tally.author, Verdict.SKIP))

    def _note_vote(self, vertex: Vertex, tally: SlotTally) -> None:
        leader = vertex.links.get(tally.author)
        if leader is not None:
            self._certify(tally, leader, vertex)

    def _note_certificate(self, vertex: Vertex, tally: SlotTally) -> None:
        stakes = self.dag.stakes
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
        slot = (decision.round, decision.author)
        known = self._decisions.get(slot)
        if known is None:
            self._decisions[slot] = decision
            self._highest = max(self._highest, decision.round)
            self._changed = True
        elif known.verdict is not decision.verdict or known.leader is not decision.leader:
            broken(f"slot {slot} is decided both {known} and {decision}: more than f stake lies")

    def next_decision(self) -> Decision | None:
        """The decision of the slot at the cursor, or None while it is undecided. `advance` moves over it."""
        if self._changed:
            self._changed = False
            self._decide_indirectly()
        return self._decisions.get((self.round, self._author()))

    def _author(self) -> int:
        """The leader at the cursor, which moves over the end of a round and over rounds without leaders."""
        while self.rank >= len(leaders := self.schedule.leaders(self.round)):
            self._tallies.pop(self.round, None)
            self.round, self.rank = self.round + 1, 0
        return leaders[self.rank]

    def _decide_indirectly(self) -> None:
        self._author()
        wave_rounds = self.rules.wave_rounds
        anchors: dict[int, Decision | None] = {}  # round -> first slot from there on that is not skipped, if decided
        for round_ in range(self._highest, self.round - 1, -1):
            anchor = anchors.get(round_ + wave_rounds)
            first = anchors.get(round_ + 1)
            leaders = self.schedule.leaders(round_)
            rank_min = self.rank if round_ == self.round else 0
            for author in reversed(leaders[rank_min:]):
                decision = self._decisions.get((round_, author))
                if decision is None and anchor is not None and anchor.leader is not None:
                    decision = self._decisions[round_, author] = self._through(anchor.leader, round_, author)
                if decision is None or decision.verdict is Verdict.COMMIT:
                    first = decision
            anchors[round_] = first

    def _through(self, anchor: Vertex, round_: int, author: int) -> Decision:
        stakes = self.dag.stakes
        tally = next((t for t in self._tallies.get(round_, ()) if t.author == author), None)
        history = reach(anchor, round_ + self.rules.wave_rounds - 1)
        linked = []
        for leader in self.dag.slot(round_, author):
            certificates = None if tally is None else tally.certificates.get(leader.digest)
            if certificates is None:
                continue
            authors = {block.author for block in history if block.digest in certificates.blocks}
            if sum(stakes[each] for each in authors) >= self.rules.link_stake:
                linked.append(leader)
        return linked_decision(self.rules, round_, author, linked)

    def advance(self) -> None:
        """Move the cursor over the next decision, committed or skipped."""
        self._decisions.pop((self.round, self._author()))
        self.rank += 1
        self._author()

    def reset(self) -> None:
        """Forget every decision from the cursor on and count again: the leaders above it have changed."""
        self._author()
        self._tallies.clear()
        self._decisions.clear()
        self._highest = 0
        for round_ in range(self.round + 1, self.dag.highest_round + 1):
            for vertex in self.dag.vertices(round_):
                self.note(vertex)
        self._changed = True
