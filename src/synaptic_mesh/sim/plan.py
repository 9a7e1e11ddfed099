"""What a seed decides before the first event: the committee, who is faulty and how, links, disks, clocks, settings, and
the schedule of faults.
"""

from random import Random

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus.settings import TWO_DELAY_SIZE_MIN, mysticeti, two_delay
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.faults import Fault, FaultSettings, draw_faults, draw_rollbacks
from synaptic_mesh.sim.habits import Behaviour
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.roles import PUPPETS, Role, draw_behaviour, draw_roles
from synaptic_mesh.sim.validator import ClientSettings

SIZES = (4,) * 15 + (7,) * 4 + (10,)
"""Sizes of committees, as often as they are drawn."""
STAKES_MAX = 4
"""In every fourth run stakes from 1 to this differ; otherwise all are 1."""
SKEW_MS_MAX = 150
"""Honest clocks differ from the exact one by at most this much."""

LINKS = (
    LinkSettings(base_ms=2, spread_ms=3),
    LinkSettings(base_ms=1, spread_ms=10),
    LinkSettings(base_ms=5, spread_ms=20),
    LinkSettings(base_ms=20, spread_ms=80),
    LinkSettings(base_ms=1, spread_ms=200),
)
TAILS = ((10_000, 8), (10_000, 8), (100_000, 8), (250_000, 40), (300_000, 12))
"""Parts per million of late messages, and how many times later. Nodes that each miss other blocks decide by anchors."""

LATE_MS_MAX = 800
"""No message is later than this by itself: much beyond the back-off of the timers a run would only be long."""


TIMEOUT_FACTORS = (1, 2, 2, 4, 8)
"""Leader time-outs in typical delays of a message: from too short for a good leader to long enough for every one."""

HISTORIES = (1, 1, 100, 50_000)
"""Old blocks that nodes keep in memory: with few of them a late one is served from the others' logs."""


class Settings(msgspec.Struct, frozen=True):
    """What every run of a batch has in common; all else comes from the seed."""

    node_count: int = 0  # 0: drawn from the seed
    byzantine_count: int = -1  # -1: drawn from the seed, up to f stake; otherwise exactly so many, of equal stakes
    rounds_min: int = 200
    new_commits_min: int = 20
    horizon_ms: int = 1_200_000  # a run that has not ended by this virtual time has lost progress
    faults: FaultSettings = FaultSettings()
    role: Role | None = None  # of every faulty validator; None: drawn from the seed
    behaviour: Behaviour | None = None  # of every faulty validator, which is a puppet then; None: drawn from the seed
    link: LinkSettings | None = None  # None: drawn from the seed
    leader_timeout_ms: int = 0  # 0: drawn from the seed

    def __post_init__(self) -> None:
        if self.node_count < 0 or self.byzantine_count < -1:
            raise LocalError(f"{self.node_count} validators of which {self.byzantine_count} are faulty cannot be")
        if self.byzantine_count >= 0 and not self.byzantine_count < (self.node_count or min(SIZES)):
            raise LocalError(f"{self.byzantine_count} of {self.node_count} validators cannot be Byzantine")


def storm() -> Settings:
    """A hunt for forks, not for speed: nodes that each miss a quarter of what the others have and hardly wait, and a
    liar that shows one chosen node another history than the rest.
    """
    return Settings(
        node_count=4,
        byzantine_count=1,
        faults=FaultSettings(kinds=()),
        behaviour=Behaviour(equivocate=100, split_vote=100, same_sides=90, show_later=20, late_ms=50),
        link=LinkSettings(base_ms=2, spread_ms=3, tail_ppm=250_000, tail_factor=40),
        leader_timeout_ms=10,
        horizon_ms=120_000,
    )


class Plan(msgspec.Struct, frozen=True):
    """What the seed decided before the first event."""

    stakes: tuple[int, ...]
    roles: dict[int, Role]  # of the faulty
    behaviours: dict[int, Behaviour]  # of the puppets among them
    honest: tuple[int, ...]  # who keeps the rules: the forgetful too
    is_two_delay: bool  # the commit rule of two message delays, for 5f + 1
    link: LinkSettings
    disk: DiskSettings
    client: ClientSettings
    skews_ms: tuple[int, ...]
    detect_ms: int
    gc_depth: int
    advert_ms: int
    leader_timeout_ms: int
    min_round_delay_ms: int
    history_blocks_max: int
    faults: tuple[Fault, ...]

    @property
    def forgetful(self) -> tuple[int, ...]:
        """Honest validators on lying disks."""
        return tuple(index for index, role in self.roles.items() if role is Role.FORGETFUL)


def draw_plan(seed: int, settings: Settings) -> Plan:
    """Return everything that the seed decides in advance."""
    rng = derive_random(seed, "plan")
    count = settings.node_count or rng.choice(SIZES)
    is_two_delay = count >= TWO_DELAY_SIZE_MIN and settings.byzantine_count < 0 and rng.randrange(4) == 0
    roles, stakes = _draw_committee(rng, count, is_two_delay, settings)
    honest = tuple(index for index in range(count) if roles.get(index, Role.FORGETFUL) is Role.FORGETFUL)
    behaviours = {
        index: settings.behaviour or draw_behaviour(rng, role) for index, role in roles.items() if role in PUPPETS
    }
    link = settings.link or _draw_link(rng)
    rollers = tuple(index for index, role in roles.items() if role in (Role.AMNESIAC, Role.FORGETFUL))
    return Plan(
        stakes,
        roles,
        behaviours,
        honest,
        is_two_delay,
        link,
        DiskSettings(rng.choice((0, 2, 8)), rng.choice((0, 10, 40))),
        ClientSettings(every_ms=rng.choice((60, 150, 400))),
        tuple(rng.randint(-SKEW_MS_MAX, SKEW_MS_MAX) for _ in range(count)),
        rng.choice((0, 20, 300)),
        rng.choice((16, 30, 60)),
        rng.choice((1_000, 2_000, 5_000)),
        settings.leader_timeout_ms or max(10, link.typical_ms() * rng.choice(TIMEOUT_FACTORS)),
        rng.choice((2, 20)),
        rng.choice(HISTORIES),
        tuple(
            sorted(
                draw_faults(derive_random(seed, "faults"), honest, count, settings.faults)
                + draw_rollbacks(derive_random(seed, "rollbacks"), rollers, settings.faults),
                key=lambda fault: (fault.start_ms, fault.end_ms, fault.kind),
            )
        ),
    )


def _draw_committee(
    rng: Random, count: int, is_two_delay: bool, settings: Settings
) -> tuple[dict[int, Role], tuple[int, ...]]:
    stakes = (1,) * count
    if settings.byzantine_count >= 0:
        faulty = sorted(rng.sample(range(count), settings.byzantine_count))
        roles = dict.fromkeys(faulty, Role.EQUIVOCATING)
    else:
        if rng.randrange(4) == 0:
            stakes = tuple(rng.randint(1, STAKES_MAX) for _ in range(count))
        committee = committee_of(0, {PeerId(bytes([index]) * 32): stake for index, stake in enumerate(stakes)})
        count_max = rng.choice((count, count, rng.randrange(count)))
        rules = two_delay(committee) if is_two_delay else mysticeti(committee)
        roles = draw_roles(rng, stakes, rules.faulty_stake_max, count_max)
    if settings.role is not None and settings.behaviour is None:
        roles = dict.fromkeys(roles, settings.role)
    elif settings.behaviour is not None:
        roles = dict.fromkeys(roles, Role.EQUIVOCATING)
    return roles, stakes


def _draw_link(rng: Random) -> LinkSettings:
    usual, (tail_ppm, tail_factor) = rng.choice(LINKS), rng.choice(TAILS)
    return msgspec.structs.replace(
        usual,
        tail_ppm=tail_ppm,
        tail_factor=min(tail_factor, LATE_MS_MAX // (usual.base_ms + usual.spread_ms)),
        loss_ppm=rng.choice((0, 0, 1_000, 20_000)),
        duplicate_ppm=rng.choice((0, 10_000)),
        asymmetry_ms=rng.choice((0, 0, 0, 60, 150)),
        fifo=rng.choice((False, False, True)),
    )
