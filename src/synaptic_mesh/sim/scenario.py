"""One seeded run of a committee: everything is drawn from the seed, then faults, then healing, then new commits are
demanded.

The run ends well when the schedule of faults is over, every honest node has proposed `rounds_min` rounds, and every
honest node has been told `new_commits_min` more commits than at the healing. The Byzantine validators lie to the end.
"""

import traceback
from dataclasses import replace
from functools import partial
from random import Random

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.settings import Settings as ConsensusSettings
from synaptic_mesh.consensus.settings import lan, mysticeti
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.sim.adversaries import Behaviour, Puppet, draw_behaviour
from synaptic_mesh.sim.checker import Checker, CheckFailed
from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.faults import Fault, FaultKind, FaultSettings, draw_faults, heal_ms, schedule_faults
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.node import SimNode
from synaptic_mesh.sim.validator import ClientSettings, Counts, NodeFile, Surroundings, ValidatorNode, VerifyMemo
from synaptic_mesh.sim.world import Trace, World

SKEW_MS_MAX = 150
"""Honest clocks differ from the exact one by at most this much."""

LINKS = (
    LinkSettings(base_ms=2, spread_ms=3),
    LinkSettings(base_ms=1, spread_ms=10),
    LinkSettings(base_ms=5, spread_ms=20),
    LinkSettings(base_ms=20, spread_ms=80),
    LinkSettings(base_ms=1, spread_ms=250),
)
TAILS = ((10_000, 8), (10_000, 8), (100_000, 8), (250_000, 40), (300_000, 12))
"""Parts per million of late messages, and how many times later. Nodes that each miss other blocks decide by anchors."""

LATE_MS_MAX = 2_000
"""No message is later than this by itself: much beyond the back-off of the timers a run would only be long."""


class Settings(msgspec.Struct, frozen=True):
    """What every run of a batch has in common; all else comes from the seed."""

    node_count: int = 4
    byzantine_count: int = 1
    rounds_min: int = 200
    new_commits_min: int = 20
    horizon_ms: int = 1_200_000  # a run that has not ended by this virtual time has lost progress
    faults: FaultSettings = FaultSettings()
    behaviour: Behaviour | None = None  # of every Byzantine validator; None: drawn from the seed
    link: LinkSettings | None = None  # None: drawn from the seed
    leader_timeout_ms: int = 0  # 0: drawn from the seed

    def __post_init__(self) -> None:
        if not 0 <= self.byzantine_count < self.node_count:
            raise LocalError(f"{self.byzantine_count} of {self.node_count} validators cannot be Byzantine")


def storm() -> Settings:
    """A hunt for forks, not for speed: nodes that each miss a quarter of what the others have and hardly wait, and a
    liar that shows one chosen node another history than the rest.
    """
    return Settings(
        faults=FaultSettings(kinds=()),
        behaviour=Behaviour(equivocate=100, split_vote=100, same_sides=90, show_later=20, late_ms=50),
        link=LinkSettings(base_ms=2, spread_ms=3, tail_ppm=250_000, tail_factor=40),
        leader_timeout_ms=10,
        horizon_ms=120_000,
    )


class Plan(msgspec.Struct, frozen=True):
    """What the seed decided before the first event."""

    byzantine: tuple[int, ...]
    honest: tuple[int, ...]
    link: LinkSettings
    disk: DiskSettings
    client: ClientSettings
    skews_ms: tuple[int, ...]
    detect_ms: int
    gc_depth: int
    advert_ms: int
    leader_timeout_ms: int
    min_round_delay_ms: int
    behaviours: tuple[Behaviour, ...]
    faults: tuple[Fault, ...]


class Outcome(msgspec.Struct, frozen=True):
    """How a run went. Equal seeds and code give equal outcomes. Counts are sums over the honest nodes."""

    seed: int
    failure: str  # empty when every promise was kept
    rounds: int  # the least own round of an honest node
    commits: int  # length of the longest log
    new_commits: int  # since the healing, on the node with the fewest
    direct: int
    indirect: int  # commits and skips decided through an anchor
    skips: int
    restarts: int
    evidence: int  # equivocations that honest nodes saw and can prove
    replayed: int
    torn: int  # crashes that left half a record
    messages: int
    lost: int
    faults: tuple[int, ...]  # by FaultKind
    virtual_ms: int
    events: int
    last_commit: str  # digest of the last commit of the longest log
    fingerprint: str  # digest over every delivery


def draw_plan(seed: int, settings: Settings) -> Plan:
    """Return everything that the seed decides in advance."""
    rng = derive_random(seed, "plan")
    byzantine = tuple(sorted(rng.sample(range(settings.node_count), settings.byzantine_count)))
    honest = tuple(index for index in range(settings.node_count) if index not in byzantine)
    usual, (tail_ppm, tail_factor) = rng.choice(LINKS), rng.choice(TAILS)
    tail_factor = min(tail_factor, LATE_MS_MAX // (usual.base_ms + usual.spread_ms))
    drawn = msgspec.structs.replace(
        usual,
        tail_ppm=tail_ppm,
        tail_factor=tail_factor,
        loss_ppm=rng.choice((0, 0, 1_000, 20_000)),
        duplicate_ppm=rng.choice((0, 10_000)),
        asymmetry_ms=rng.choice((0, 0, 60, 200)),
        fifo=rng.choice((False, False, True)),
    )
    return Plan(
        byzantine,
        honest,
        settings.link or drawn,
        DiskSettings(rng.choice((0, 1, 5)), rng.choice((0, 5, 20))),
        ClientSettings(every_ms=rng.choice((30, 60, 200))),
        tuple(rng.randint(-SKEW_MS_MAX, SKEW_MS_MAX) for _ in range(settings.node_count)),
        rng.choice((0, 20, 300)),
        rng.choice((16, 30, 60)),
        rng.choice((500, 2_000, 5_000)),
        settings.leader_timeout_ms or rng.choice((10, 20, 60, 250)),
        rng.choice((1, 20)),
        tuple(settings.behaviour or draw_behaviour(rng) for _ in byzantine),
        draw_faults(derive_random(seed, "faults"), honest, settings.node_count, settings.faults),
    )


def run_seed(seed: int, settings: Settings, trace: Trace | None = None) -> Outcome:
    """Run one seed to its end. Broken promises, lost progress and exceptions of a core are `failure`s, not
    exceptions.
    """
    run = Run(seed, settings, trace)
    failure = ""
    try:
        run.play()
    except CheckFailed as error:
        failure = str(error)
    except Exception as error:  # whatever a core raises is the finding that this run is for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        failure = f"{type(error).__name__} in {place}: {error}"
    return run.outcome(failure)


class Run:
    """The world of one seed, its checker and its counts."""

    def __init__(self, seed: int, settings: Settings, trace: Trace | None) -> None:
        self.seed = seed
        self.settings = settings
        self.plan = plan = draw_plan(seed, settings)
        keys = [KeyPair(derive_bytes(seed, "key", index)) for index in range(settings.node_count)]
        self.committee = committee_of(1, {key.peer_id: 1 for key in keys})
        self._network = derive_bytes(seed, "network")
        self._keys = sorted(keys, key=lambda key: key.peer_id)
        self._verify = VerifyMemo(Admission(self.committee, self._network).verify_untrusted)
        self.checker = Checker(settings.node_count, plan.honest)
        self.counts = Counts()
        self._files = [NodeFile() for _ in keys]
        builders = [partial(self._build, index) for index in range(settings.node_count)]
        self.world = World(seed, builders, plan.link, plan.disk, plan.skews_ms, plan.detect_ms, trace=trace)
        note = self.world.note if trace is not None else None
        self._around = Surroundings(self.committee, self._verify, plan.client, self.checker, self.counts, note)
        self._healed_at: list[int] | None = None  # commits of each node at the healing

    def play(self) -> None:
        """Run to the end and check everything; raises CheckFailed."""
        plan = self.plan
        for index in range(self.settings.node_count):
            self.world.queue.at(0, partial(self.world.start, index))
        schedule_faults(self.world, plan.faults, plan.honest, derive_random(self.seed, "restarts"))
        self.world.queue.at(heal_ms(plan.faults, plan.honest), self._heal)
        if not self.world.run_until(self._is_finished, self.settings.horizon_ms):
            raise CheckFailed(f"no progress: {self._progress()} at {self.world.now_ms} ms")
        self.checker.finish()

    def outcome(self, failure: str) -> Outcome:
        """What has happened so far."""
        checker, counts, world = self.checker, self.counts, self.world
        return Outcome(
            seed=self.seed,
            failure=failure,
            rounds=min(checker.own_rounds[index] for index in self.plan.honest),
            commits=len(checker.order),
            new_commits=min(self._new_commits()),
            direct=checker.direct_count,
            indirect=checker.indirect_count + counts.skips_indirect,
            skips=counts.skips_direct + counts.skips_indirect,
            restarts=sum(max(0, self._files[index].incarnation - 1) for index in self.plan.honest),
            evidence=counts.evidence,
            replayed=checker.replayed_count,
            torn=sum(world.hosts[index].disk.torn_count for index in self.plan.honest),
            messages=world.network.sent_count,
            lost=world.network.lost_count + world.network.partitioned_count,
            faults=tuple(sum(fault.kind is kind for fault in self.plan.faults) for kind in FaultKind),
            virtual_ms=world.now_ms,
            events=world.queue.event_count,
            last_commit=checker.order[-1].digest.hex() if checker.order else "",
            fingerprint=world.fingerprint().hex(),
        )

    def _build(self, index: int) -> SimNode:
        plan, sign = self.plan, self._keys[index].sign
        rng = derive_random(self.seed, "node", index, self._files[index].incarnation)
        if index in plan.byzantine:
            habits = plan.behaviours[plan.byzantine.index(index)]
            return Puppet(index, self.committee, self._network, sign, self._verify, habits, rng)
        return self._build_validator(index, rng)

    def _build_validator(self, index: int, rng: Random) -> ValidatorNode:
        file = self._files[index]
        file.incarnation += 1
        core = Consensus(
            self._consensus_settings(),
            self.committee,
            self._network,
            author=index,
            sign=self._keys[index].sign,
            random=rng,
            incarnation=file.incarnation,
            rules=mysticeti(self.committee, self.plan.gc_depth),
        )
        return ValidatorNode(core, index, file, rng, self._around)

    def _consensus_settings(self) -> ConsensusSettings:
        plan = self.plan
        return replace(
            lan(),
            advert_ms=plan.advert_ms,
            leader_timeout_ms=plan.leader_timeout_ms,
            min_round_delay_ms=plan.min_round_delay_ms,
            round_window=min(40, plan.gc_depth - 2),
        )

    def _heal(self) -> None:
        self.world.note("healed: no fault of the schedule is left")
        self._healed_at = [self.checker.commit_count(index) for index in range(self.settings.node_count)]
        self.checker.call_in_promises()

    def _new_commits(self) -> list[int]:
        healed_at = self._healed_at
        if healed_at is None:
            return [0]
        return [self.checker.commit_count(index) - healed_at[index] for index in self.plan.honest]

    def _is_finished(self) -> bool:
        if self._healed_at is None or self.world.queue.event_count % 8:
            return False
        rounds = min(self.checker.own_rounds[index] for index in self.plan.honest)
        return rounds >= self.settings.rounds_min and min(self._new_commits()) >= self.settings.new_commits_min

    def _progress(self) -> str:
        rounds = [self.checker.own_rounds[index] for index in self.plan.honest]
        return (
            f"honest nodes {self.plan.honest} reached rounds {rounds} and {self._new_commits()} commits since healing"
        )
