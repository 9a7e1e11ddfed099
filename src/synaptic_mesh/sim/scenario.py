"""One seeded run of a committee: everything is drawn from the seed, then faults, then healing, then new commits are
demanded.

The run ends well when the schedule of faults is over, every honest node has proposed `rounds_min` rounds and been told
`new_commits_min` more commits than at the healing, and every promise is kept. The faulty lie to the end.
"""

import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from random import Random

import msgspec

from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.settings import Settings as ConsensusSettings
from synaptic_mesh.consensus.settings import lan, mysticeti, two_delay
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.sim.adversaries import Puppet
from synaptic_mesh.sim.bounds import excesses
from synaptic_mesh.sim.checker import Checker, CheckFailed, check
from synaptic_mesh.sim.doubles import Obstinate, Stoppable, TwinPair, Unheard
from synaptic_mesh.sim.faults import (
    FaultKind,
    heal_ms,
    schedule_faults,
)
from synaptic_mesh.sim.node import SimNode
from synaptic_mesh.sim.plan import Settings, draw_plan
from synaptic_mesh.sim.roles import Role
from synaptic_mesh.sim.signatures import HashKey, HashScheme
from synaptic_mesh.sim.validator import (
    Counts,
    DecodeMemo,
    NodeFile,
    Surroundings,
    ValidatorNode,
    VerifyMemo,
)
from synaptic_mesh.sim.world import Trace, World

SAMPLE_MS = 500
"""How often what the cores hold is compared with their bounds."""
SETTLE_MS_MAX = 60_000
"""How long after everything else is done the last promise may take."""


class Outcome(msgspec.Struct, frozen=True):
    """How a run went. Equal seeds and code give equal outcomes. Counts are sums over the honest nodes."""

    seed: int
    failure: str  # empty when every promise was kept
    nodes: int
    faulty: int
    rounds: int  # the least own round of an honest node
    commits: int  # length of the longest log
    new_commits: int  # since the healing, on the node with the fewest
    direct: int
    indirect: int  # commits and skips decided through an anchor
    skips: int
    evidence: int  # equivocations that honest nodes saw and can prove
    replayed: int
    excused: int  # forgetful validators whose lost block nobody could know of, and that signed another one
    messages: int
    seen: dict[str, int]  # how often each kind of fault really happened (`mix.KINDS`)
    open_rounds_max: int  # the most rounds that a core held above its gc round
    virtual_ms: int
    events: int
    last_commit: str  # digest of the last commit of the longest log
    fingerprint: str  # digest over every delivery


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
        count = len(plan.stakes)
        keys = sorted((HashKey(derive_bytes(seed, "key", index)) for index in range(count)), key=lambda k: k.peer_id)
        self.committee = committee_of(1, {key.peer_id: stake for key, stake in zip(keys, plan.stakes, strict=True)})
        self._network = derive_bytes(seed, "network")
        self._keys = keys
        choose_rules = two_delay if plan.is_two_delay else mysticeti
        self._rules = choose_rules(self.committee, gc_depth=plan.gc_depth)
        check_signature, parent_stake = HashScheme(keys).check, self._rules.parent_stake
        admission = Admission(self.committee, self._network, check_signature, parent_stake)
        self._verify, self._decode = VerifyMemo(admission.verify_untrusted), DecodeMemo()
        self.checker = Checker(count, plan.honest, plan.forgetful)
        self.counts = Counts()
        self._files = [NodeFile() for _ in keys]
        self._puppets: list[Puppet] = []
        self._unheard = {index: Unheard() for index in plan.roles}
        self._open_rounds_max = 0
        builders = [partial(self._build, index) for index in range(count)]
        self.world = World(seed, builders, plan.link, plan.disk, plan.skews_ms, plan.detect_ms, trace=trace)
        note = self.world.note if trace is not None else None
        self._around = Surroundings(
            self.committee, self._verify, self._decode, plan.client, self.checker, self.counts, self._held_stake, note
        )
        self._healed_at: list[int] | None = None  # commits of each node at the healing
        self._met_ms: int | None = None  # when everything but the last promises was done

    def play(self) -> None:
        """Run to the end and check everything; raises CheckFailed."""
        plan = self.plan
        for index in range(len(plan.stakes)):
            self.world.queue.at(0, partial(self.world.start, index))
        schedule_faults(self.world, plan.faults, plan.honest, derive_random(self.seed, "restarts"))
        self.world.queue.at(heal_ms(plan.faults, plan.honest), self._heal)
        self._sample()
        if not self.world.run_until(self._is_finished, self.settings.horizon_ms, every=8):
            raise CheckFailed(f"no progress: {self._progress()} at {self.world.now_ms} ms")
        self.checker.finish()

    def outcome(self, failure: str) -> Outcome:
        """What has happened so far."""
        checker, counts, world, plan = self.checker, self.counts, self.world, self.plan
        return Outcome(
            seed=self.seed,
            failure=failure,
            nodes=len(plan.stakes),
            faulty=len(plan.roles),
            rounds=min((checker.own_rounds[index] for index in checker.honest), default=0),
            commits=len(checker.order),
            new_commits=min(self._new_commits(), default=0),
            direct=checker.direct_count,
            indirect=checker.indirect_count + counts.skips_indirect,
            skips=counts.skips_direct + counts.skips_indirect,
            evidence=counts.evidence,
            replayed=checker.replayed_count,
            excused=len(checker.excused),
            messages=world.network.sent_count,
            seen=self._seen(),
            open_rounds_max=self._open_rounds_max,
            virtual_ms=world.now_ms,
            events=world.queue.event_count,
            last_commit=checker.order[-1].digest.hex() if checker.order else "",
            fingerprint=world.fingerprint().hex(),
        )

    def _seen(self) -> dict[str, int]:
        """How often each kind of fault happened: events, not intentions."""
        plan, network = self.plan, self.world.network
        hosts = [self.world.hosts[index] for index in plan.honest]
        deeds = [puppet.deeds for puppet in self._puppets]
        doubled = dict.fromkeys(Role, 0)
        for index, role in plan.roles.items():
            doubled[role] += self._unheard[index].doubled_count
        planned = [fault.kind for fault in plan.faults]
        return {
            "delay": network.delayed_count,
            "loss": network.lost_count,
            "duplication": network.duplicate_count,
            "reordering": network.overtaken_count,
            "partition": network.partitioned_count,
            "crash": sum(host.crash_count for host in hosts),
            "power cut": planned.count(FaultKind.POWER_CUT),
            "restart": sum(max(0, self._files[index].incarnation - 1) for index in plan.honest),
            "torn write": sum(host.disk.torn_count for host in hosts),
            "lost write": sum(host.disk.lost_bytes for host in hosts),
            "lost fsync": self.checker.forgotten_count,
            "slow disk": planned.count(FaultKind.SLOW_DISK),
            "equivocating": sum(deed.equivocated for deed in deeds),
            "withholding": sum(deed.withheld for deed in deeds),
            "silent voting": sum(deed.silent for deed in deeds),
            "garbage": sum(deed.garbage for deed in deeds),
            "jump forcing": sum(deed.jumped for deed in deeds),
            "amnesiac": doubled[Role.AMNESIAC],
            "twins": doubled[Role.TWINS],
            "unequal stakes": int(len(set(plan.stakes)) > 1),
            "two delays": int(plan.is_two_delay),
            "stored rounds": self.counts.stored_blocks,
        }

    # --- who plays what -------------------------------------------------------------------------------------

    def _build(self, index: int) -> SimNode:
        role, file = self.plan.roles.get(index), self._files[index]
        file.incarnation += 1
        rng = derive_random(self.seed, "node", index, file.incarnation)
        if role in (None, Role.FORGETFUL):
            return self._build_validator(index, rng)
        if role is Role.AMNESIAC:
            return Stoppable(self._build_double(index, rng))
        if role is Role.TWINS:
            rngs = [derive_random(self.seed, "twin", index, label) for label in "ab"]
            first, second = (
                Stoppable(self._build_double(index, own, label)) for own, label in zip(rngs, "ab", strict=True)
            )
            return TwinPair((first, second), len(self.plan.stakes), rng)
        return self._build_puppet(index, rng)

    def _build_puppet(self, index: int, rng: Random) -> Puppet:
        sign, habits = self._keys[index].sign, self.plan.behaviours[index]
        puppet = Puppet(index, self.committee, self._network, sign, self._verify, habits, rng, self._decode)
        self._puppets.append(puppet)
        return puppet

    def _build_validator(self, index: int, rng: Random) -> ValidatorNode:
        return ValidatorNode(self._build_core(Consensus, index, rng), index, self._files[index], rng, self._around)

    def _build_double(self, index: int, rng: Random, label: str = "") -> ValidatorNode:
        core = self._build_core(Obstinate, index, rng)
        around = replace(self._around, checker=self._unheard[index], counts=Counts(), note=None)
        return ValidatorNode(core, index, self._files[index], rng, around, is_trusting=True, label=label)

    def _build_core(self, kind: type[Consensus], index: int, rng: Random) -> Consensus:
        return kind(
            self._consensus_settings(),
            self.committee,
            self._network,
            author=index,
            sign=self._keys[index].sign,
            random=rng,
            incarnation=self._files[index].incarnation,
            rules=self._rules,
        )

    def _consensus_settings(self) -> ConsensusSettings:
        plan = self.plan
        return replace(
            lan(),
            advert_ms=plan.advert_ms,
            leader_timeout_ms=plan.leader_timeout_ms,
            min_round_delay_ms=plan.min_round_delay_ms,
            round_window=min(40, plan.gc_depth - 2),
            history_blocks_max=plan.history_blocks_max,
        )

    # --- looking at it --------------------------------------------------------------------------------------

    def _validators(self) -> Iterator[tuple[int, ValidatorNode]]:
        """The honest validators that are up."""
        for index in self.plan.honest:
            node = self.world.hosts[index].node
            if isinstance(node, Stoppable):
                node = node.node
            if isinstance(node, ValidatorNode):
                yield index, node

    def _held_stake(self, digest: bytes) -> int:
        """Stake of the honest validators that have this block on stable storage, the forgetful left out."""
        forgetful, stakes = self.plan.forgetful, self.plan.stakes
        return sum(
            stakes[index]
            for index, node in self._validators()
            if index not in forgetful and digest in node.durable_blocks
        )

    def _sample(self) -> None:
        """Compare what the honest cores hold with their bounds, now and every SAMPLE_MS."""
        for index, node in self._validators():
            over = excesses(node.core)
            check(not over, f"node {index}: {over[:1]}")
            self._open_rounds_max = max(self._open_rounds_max, node.core.dag.highest_round - node.core.dag.gc_round)
        self.world.queue.at(self.world.now_ms + SAMPLE_MS, self._sample)

    def _heal(self) -> None:
        self.world.note("healed: no fault of the schedule is left")
        self._healed_at = [self.checker.commit_count(index) for index in range(len(self.plan.stakes))]
        self.checker.call_in_promises()

    def _new_commits(self) -> list[int]:
        healed_at = self._healed_at
        if healed_at is None:
            return [0]
        return [self.checker.commit_count(index) - healed_at[index] for index in self.checker.honest]

    def _is_finished(self) -> bool:
        checker, settings = self.checker, self.settings
        if self._healed_at is None:
            return False
        if self._met_ms is None:
            rounds = min(checker.own_rounds[index] for index in checker.honest)
            if rounds < settings.rounds_min or min(self._new_commits()) < settings.new_commits_min:
                return False
            self._met_ms = self.world.now_ms
            checker.call_in_commits()
        return checker.is_settled() or self.world.now_ms > self._met_ms + SETTLE_MS_MAX

    def _progress(self) -> str:
        rounds = [self.checker.own_rounds[index] for index in self.plan.honest]
        return (
            f"honest nodes {self.plan.honest} reached rounds {rounds} and {self._new_commits()} commits since healing"
        )
