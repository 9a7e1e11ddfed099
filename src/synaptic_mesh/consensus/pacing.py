"""When the next own block may be proposed, and what it references.

Rounds follow a threshold clock: round r+1 opens when a quorum has blocks in r. A validator proposes every round,
without skipping. A late one proposes its missed rounds back to back. In the newest round it waits, at most
leader_timeout from the quorum on, for
  - the blocks of the leaders of the round before, so that they can be voted for, and
  - W2, for waves of three: an outcome for each leader of two rounds before among the parents: votes of
    certificate_stake or blames of skip_stake, as long as one of them can still be reached with the blocks that have
    not arrived. Without this wait one silent liar whose blocks arrive early keeps every leader undecided.
Where leaders stay undecided, the wait doubles wave by wave (`leader_wait_ms`). An idle mesh, in which no transaction
waits anywhere, proposes once a second; the first block of a round draws the others along, so that all stay in step and
a new transaction finds the round open.
"""

from synaptic_mesh.consensus.block import BlockRef
from synaptic_mesh.consensus.dag import Dag
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.settings import Rules, Settings

IDLE_LEAD_MS = 100
"""An idle validator that nobody draws along waits this much longer, so that the others' idle time is over when it
starts.
"""
USUAL_WAVES = 2
"""Waves above the first undecided leader that are nothing unusual: a leader decided through its anchor takes two."""
DOUBLINGS_MAX = 16


class Pacing:
    """The times that proposing depends on. Rounds and masks are read from the dag."""

    def __init__(self, settings: Settings, rules: Rules, dag: Dag, schedule: LeaderSchedule) -> None:
        self.settings = settings
        self.rules = rules
        self.dag = dag
        self.schedule = schedule
        self.last_proposed = 0
        self.last_proposal_ms: int | None = None  # None: not since the start
        self.clock_round = 0
        self.quorum_ms = 0  # when clock_round opened
        self.attempts = 0  # repetitions since anything moved
        self.progress_ms = 0  # own proposal, new quorum, commit or last repetition
        self.cursor_round = 1  # first round with an undecided leader

    def note_clock(self, now_ms: int) -> None:
        """A new round opens: timers start afresh (also after our own proposal of that round), back-off is forgotten."""
        if self.dag.clock_round > self.clock_round:
            self.clock_round = self.dag.clock_round
            self.quorum_ms = self.progress_ms = now_ms
            self.attempts = 0

    def note_commit(self, now_ms: int) -> None:
        """Something was decided: back-off is forgotten."""
        self.attempts = 0
        self.progress_ms = now_ms

    def note_proposal(self, round_: int, now_ms: int) -> None:
        """The own block of this round is signed."""
        self.last_proposed = round_
        self.last_proposal_ms = self.progress_ms = now_ms

    def next_round(self) -> int:
        """The round after the last own block: no skipping, but for one jump behind the gc round."""
        follows = self.last_proposed + 1
        return max(follows, self.dag.gc_round + 2) if self.dag.gc_round else follows  # parents must be above gc_round

    def proposal_ms(self, round_: int, is_busy: bool) -> int | None:
        """When this round may be proposed, given what is known now; None while the clock has not opened it."""
        if round_ > self.dag.clock_round:
            return None
        if round_ < self.dag.clock_round:
            return 0
        earliest_ms = self._earliest_ms(round_, is_busy)
        if self.has_leaders(round_ - 1) and self.has_outcomes(round_ - 2):
            return earliest_ms
        return max(earliest_ms, self.quorum_ms + self.leader_wait_ms())

    def leader_wait_ms(self) -> int:
        """How long after the quorum leaders are waited for: leader_timeout, doubled with every wave that has stayed
        undecided beyond the usual two, capped. A decision brings it back: where blocks take longer than the timeout,
        waiting must grow from round to round, until something is decided.
        """
        wave_rounds = self.rules.wave_rounds
        late = self.clock_round - self.cursor_round - USUAL_WAVES * wave_rounds
        doublings = min(max(0, -(-late // wave_rounds)), DOUBLINGS_MAX)
        return min(self.settings.leader_timeout_ms << doublings, self.settings.backoff_ms_max)

    def _earliest_ms(self, round_: int, is_busy: bool) -> int:
        if self.last_proposal_ms is None:
            return 0
        if is_busy:
            return self.last_proposal_ms + self.settings.min_round_delay_ms
        lead_ms = 0 if self.dag.round_stake(round_) else IDLE_LEAD_MS
        return self.last_proposal_ms + self.settings.idle_round_ms + lead_ms

    def has_leaders(self, round_: int) -> bool:
        """Is the block of every leader of this round accepted? True for genesis."""
        return all(self.dag.slot(round_, author) for author in self.schedule.leaders(round_))

    def has_outcomes(self, round_: int) -> bool:
        """W2: do the first-seen blocks above these leader slots settle them, or can they no longer? A wave of two has
        no block that certifies votes, so nothing to wait for.
        """
        return self.rules.wave_rounds == 2 or all(
            self._has_outcome(round_, author) for author in self.schedule.leaders(round_)
        )

    def _has_outcome(self, round_: int, leader: int) -> bool:
        stakes, rules = self.dag.stakes, self.rules
        votes: dict[bytes, int] = {}
        blame = missing = most = 0
        for author in range(self.dag.size):
            twins = self.dag.slot(round_ + 1, author)
            if not twins:
                missing += stakes[author]
                continue
            voted = twins[0].links.get(leader)
            if voted is None:
                blame += stakes[author]
                continue
            stake = votes[voted.digest] = votes.get(voted.digest, 0) + stakes[author]
            most = max(most, stake)
        if most >= rules.certificate_stake or blame >= rules.skip_stake:
            return True
        return most + missing < rules.certificate_stake and blame + missing < rules.skip_stake

    def repeat_ms(self, is_busy: bool) -> int:
        """When to repeat our last block if nothing moves: leader_timeout doubled with every repetition, capped."""
        settings = self.settings
        wait_ms = min(settings.leader_timeout_ms << min(self.attempts, DOUBLINGS_MAX), settings.backoff_ms_max)
        if not is_busy:
            wait_ms += settings.idle_round_ms + IDLE_LEAD_MS  # silence is no sign of loss while everybody idles
        return self.progress_ms + wait_ms

    def note_repeat(self, now_ms: int) -> None:
        """Our last block was sent once more."""
        self.attempts += 1
        self.progress_ms = now_ms


def choose_ancestors(
    dag: Dag,
    rules: Rules,
    round_: int,
    own: BlockRef,
    included: list[int],
    genesis: tuple[BlockRef, ...],
    time_max_ms: int,
) -> tuple[tuple[BlockRef, ...] | None, int]:
    """The refs of an own block of this round: the own previous block, then each other author's newest first-seen block
    below the round that is newer than `included` (by author). Blocks stamped after time_max_ms wait, unless more than f
    stake references them already.

    Returns (refs, 0), or (None, the timestamp at which one more block becomes usable) while parents lack a quorum.
    """
    refs = [own]
    stake = dag.stakes[own.author] if own.round == round_ - 1 else 0
    later_ms = 0
    for author, author_stake in enumerate(dag.stakes):
        if author == own.author:
            continue
        if round_ == 1:
            refs.append(genesis[author])
            stake += author_stake
            continue
        vertex = dag.first_below(author, round_, included[author])
        if vertex is None:
            continue
        timestamp_ms = vertex.block.header.timestamp_ms
        if timestamp_ms > time_max_ms and supporting_stake(dag, vertex.supporters) <= rules.faulty_stake_max:
            later_ms = min(later_ms or timestamp_ms, timestamp_ms)
            continue
        refs.append(vertex.block.ref)
        if vertex.round == round_ - 1:
            stake += author_stake
    return (tuple(refs), 0) if stake >= rules.parent_stake else (None, later_ms)


def supporting_stake(dag: Dag, mask: int) -> int:
    """Stake of the authors in a bit mask."""
    return sum(stake for author, stake in enumerate(dag.stakes) if mask >> author & 1)
