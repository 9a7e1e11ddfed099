"""The parts that up to f stake of a committee plays: seven kinds of liar, and an honest validator on a lying disk.

Five of them are played by the puppet (`adversaries`), which has habits of all kinds beside its main one. The other
three run the code of the honest: AMNESIAC starts from an old copy of its log and does not ask, TWINS are two instances
with one key, and FORGETFUL keeps every rule on a disk that loses what it had called durable.
"""

from collections.abc import Sequence
from enum import IntEnum
from random import Random

from synaptic_mesh.sim.habits import Behaviour, draw_habits


class Role(IntEnum):
    """What a validator that is counted among the faulty does."""

    EQUIVOCATING = 0  # signs several blocks of one round
    WITHHOLDING = 1  # sends its blocks to some only
    SILENT = 2  # leaves leaders out of its votes
    GARBAGE = 3  # sends bytes that mean nothing, and requests that mean harm
    JUMPING = 4  # leaves rounds out, and shows blocks of rounds far ahead
    AMNESIAC = 5  # restarts from an old copy of its log and trusts it
    TWINS = 6  # two instances of the honest code with one key
    FORGETFUL = 7  # honest, but its disk loses what it called durable; the amnesia guard must catch it


PUPPETS = (Role.EQUIVOCATING, Role.WITHHOLDING, Role.SILENT, Role.GARBAGE, Role.JUMPING)
ROLES = (
    *PUPPETS * 2,
    Role.EQUIVOCATING,
    *(Role.AMNESIAC,) * 8,
    *(Role.TWINS,) * 4,
    *(Role.FORGETFUL,) * 4,
)
"""Roles, as often as they are drawn: puppets have the habits of one another, so each of them is drawn less."""
STRENGTHS = (10, 30, 60, 100)
"""Percent of its rounds in which a puppet does what its role says."""


def draw_roles(random: Random, stakes: Sequence[int], faulty_stake_max: int, count_max: int) -> dict[int, Role]:
    """Return who plays what: up to `count_max` validators, together within `faulty_stake_max`."""
    order = random.sample(range(len(stakes)), len(stakes))
    roles: dict[int, Role] = {}
    stake = 0
    for index in order:
        if len(roles) < count_max and stake + stakes[index] <= faulty_stake_max:
            roles[index] = random.choice(ROLES)
            stake += stakes[index]
    return dict(sorted(roles.items()))


def draw_behaviour(random: Random, role: Role) -> Behaviour:
    """Return the habits of a puppet: those of its role for certain, others by chance. Other roles have none."""
    if role not in PUPPETS:
        return Behaviour()
    strength = random.choice(STRENGTHS)
    changes = {
        Role.EQUIVOCATING: {"equivocate": strength},
        Role.WITHHOLDING: {"withhold": strength},
        Role.SILENT: {"silent_vote": strength},
        Role.GARBAGE: {"garbage": strength},
        Role.JUMPING: {"jump": strength, "far": strength},
    }[role]
    return draw_habits(random, changes)
