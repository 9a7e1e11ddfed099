"""Wrong rules must be noticed: each test breaks one rule of the core and expects the simulator to fail within a few
seeds.

The storm finds what breaks safety; promises about durability, restarts and progress need the ordinary faults. The
mutants with one vote too few in a certificate or a commit need luck and are in the long suite.
"""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from synaptic_mesh.consensus import amnesia, core, journal, linearizer, pacing, tally
from synaptic_mesh.consensus.committer import Decision, Verdict
from synaptic_mesh.consensus.dag import Vertex
from synaptic_mesh.consensus.messages import Append
from synaptic_mesh.consensus.settings import mysticeti
from synaptic_mesh.sim import scenario
from synaptic_mesh.sim.faults import FaultKind, FaultSettings
from synaptic_mesh.sim.habits import Behaviour
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.plan import Settings, storm
from synaptic_mesh.sim.roles import Role
from synaptic_mesh.sim.scenario import run_seed

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]

RESTARTS = Settings(
    node_count=4,
    byzantine_count=1,
    faults=FaultSettings(kinds=(FaultKind.CRASH, FaultKind.POWER_CUT), count_max=8),
    rounds_min=60,
    horizon_ms=60_000,
)


def noticed(settings: Settings, seeds: range) -> str:
    """The first failure among the seeds; empty when nothing was noticed."""
    for seed in seeds:
        failure = run_seed(seed, settings).failure
        assert not failure.startswith(("TypeError", "AttributeError", "NameError")), f"the mutant is broken: {failure}"
        if failure:
            return failure
    return ""


def rules(**changes: int) -> Mutant:
    """Thresholds other than Mysticeti's; a committee of four has quorums of 3."""
    return lambda patch: patch.setattr(
        scenario, "mysticeti", lambda committee, gc_depth: replace(mysticeti(committee, gc_depth), **changes)
    )


def blame_counts_blocks(patch: Patch) -> None:
    def note_blame(self: tally.Committer, vertex: Vertex, round_: int, slot: tally.SlotTally) -> None:
        if slot.author not in vertex.links:
            slot.blame_stake += self.dag.stakes[vertex.author]
            if slot.blame_stake >= self.rules.skip_stake:
                self._decide(Decision(round_, slot.author, Verdict.SKIP))

    patch.setattr(tally.Committer, "_note_blame", note_blame)


def anchor_passes_undecided(patch: Patch) -> None:
    def decide(self: tally.Committer) -> None:
        for round_ in range(self._highest, self.round - 1, -1):
            (author,) = self.schedule.leaders(round_)
            known = sorted(self._decisions.values(), key=lambda decision: decision.round)
            leaders = [each.leader for each in known if each.round >= round_ + 3 and each.leader is not None]
            if (round_, author) not in self._decisions and leaders:
                self._decisions[round_, author] = self._through(leaders[0], round_, author)

    patch.setattr(tally.Committer, "_decide_indirectly", decide)


def order_by_arrival(patch: Patch) -> None:
    def collect(self: linearizer.Linearizer, leader: Vertex, index: int) -> list[Vertex]:
        found = original(self, leader, index)
        arrived = {digest: position for position, digest in enumerate(self.dag._by_digest)}
        return sorted(found, key=lambda vertex: (vertex.round, arrived[vertex.digest]))

    original = linearizer.Linearizer._collect
    patch.setattr(linearizer.Linearizer, "_collect", collect)


def gc_by_the_local_clock(patch: Patch) -> None:
    def collect(self: linearizer.Linearizer, leader: Vertex, index: int) -> list[Vertex]:
        floor, self.gc_round = self.gc_round, max(self.gc_round, self.dag.clock_round - self.rules.gc_depth)
        found = original(self, leader, index)
        self.gc_round = floor
        return found

    original = linearizer.Linearizer._collect
    patch.setattr(linearizer.Linearizer, "_collect", collect)


def demotion_keeps_old_decisions(patch: Patch) -> None:
    patch.setattr(tally.Committer, "reset", lambda _: None)


def anchor_one_round_early(patch: Patch) -> None:
    def decide(self: tally.Committer) -> None:
        anchor: Decision | None = None
        for round_ in range(self._highest, self.round - 1, -1):
            (author,) = self.schedule.leaders(round_)
            (above,) = self.schedule.leaders(round_ + 2)
            decision = self._decisions.get((round_ + 2, above))
            if decision is None or decision.verdict is Verdict.COMMIT:
                anchor = decision
            if (round_, author) not in self._decisions and anchor is not None and anchor.leader is not None:
                self._decisions[round_, author] = self._through(anchor.leader, round_, author)

    patch.setattr(tally.Committer, "_decide_indirectly", decide)


SAFETY: dict[str, Mutant] = {
    "certificate of one vote": rules(certificate_stake=1),
    "commit on one certificate": rules(commit_stake=1),
    "skip on one blame": rules(skip_stake=1),
    "anchors need a quorum of certificates": rules(link_stake=3),
    "blame counts blocks": blame_counts_blocks,
    "anchor one round early": anchor_one_round_early,
    "order by arrival": order_by_arrival,
    "gc by the local clock": gc_by_the_local_clock,
    "demotion keeps old decisions": demotion_keeps_old_decisions,
}
SUBTLE: dict[str, Mutant] = {
    "skip on f+1 blames": rules(skip_stake=2),
    "certificate of 2f votes": rules(certificate_stake=2),
    "commit on 2f certificates": rules(commit_stake=2),
    "anchor passes undecided slots": anchor_passes_undecided,
}


@pytest.mark.slow
def test_the_storm_alone_breaks_nothing() -> None:
    assert noticed(storm(), range(6)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", SAFETY)
def test_a_broken_safety_rule_is_noticed(name: str, monkeypatch: Patch) -> None:
    SAFETY[name](monkeypatch)
    assert noticed(storm(), range(16)) != ""


@pytest.mark.long
@pytest.mark.parametrize("name", SUBTLE)
def test_a_subtly_broken_safety_rule_is_noticed(name: str, monkeypatch: Patch) -> None:
    SUBTLE[name](monkeypatch)
    link = LinkSettings(base_ms=2, spread_ms=3, tail_ppm=250_000, tail_factor=40, asymmetry_ms=30)
    uneven = msgspec.structs.replace(storm(), link=link, leader_timeout_ms=3)
    assert noticed(storm(), range(75)) or noticed(uneven, range(75))


def test_sending_before_the_fsync_is_noticed(monkeypatch: Patch) -> None:
    def flush(self: journal.Journal) -> Append | None:
        append = original(self)
        if append is not None:
            early.append((self, append))
        return append

    def settle(self: core.Consensus) -> list[object]:
        effects = settled(self)
        while early:
            owner, append = early.pop()
            effects += owner.appended(append.token)
            monkeypatch.setattr(core.Journal, "appended", lambda *_: [])
        return effects

    early: list[tuple[journal.Journal, Append]] = []
    original, settled = journal.Journal.flush, core.Consensus._settle
    monkeypatch.setattr(journal.Journal, "flush", flush)
    monkeypatch.setattr(core.Consensus, "_settle", settle)
    assert "before it is durable" in noticed(RESTARTS, range(2))


def test_a_restart_that_forgets_its_own_blocks_is_noticed(monkeypatch: Patch) -> None:
    monkeypatch.setattr(core.Consensus, "_find_own", lambda *_: None)
    assert noticed(RESTARTS, range(8)) != ""


@pytest.mark.slow
def test_a_lying_disk_without_the_amnesia_guard_is_noticed(monkeypatch: Patch) -> None:
    settings = Settings(node_count=4, byzantine_count=1, role=Role.FORGETFUL, rounds_min=60)
    assert noticed(settings, range(8)) == ""
    monkeypatch.setattr(amnesia.Amnesia, "begin", lambda *_: None)
    assert "sends two different blocks of round" in noticed(settings, range(8))


def test_without_w2_a_silent_voter_stops_direct_commits(monkeypatch: Patch) -> None:
    """W2 is a rule of speed, not of safety: without it every leader of an honest node falls to the anchors."""
    settings = Settings(
        node_count=4,
        byzantine_count=1,
        faults=FaultSettings(kinds=()),
        behaviour=Behaviour(silent_vote=100),
        link=LinkSettings(base_ms=5, spread_ms=20, tail_ppm=100_000),
        leader_timeout_ms=250,
        rounds_min=100,
    )
    kept = run_seed(1, settings)
    monkeypatch.setattr(pacing.Pacing, "has_outcomes", lambda *_: True)
    broken = run_seed(1, settings)
    assert kept.failure == broken.failure == ""
    assert broken.indirect > 3 * kept.indirect
    assert msgspec.structs.asdict(broken) != msgspec.structs.asdict(kept)
