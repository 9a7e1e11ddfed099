"""What a seed decides: within the bounds of the protocol, of every kind, and the same again."""

from collections import Counter

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.consensus.settings import mysticeti, two_delay
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.sim.adversaries import Behaviour
from synaptic_mesh.sim.faults import FaultKind
from synaptic_mesh.sim.plan import Plan, Settings, draw_plan
from synaptic_mesh.sim.roles import PUPPETS, Role

PLANS = [draw_plan(seed, Settings()) for seed in range(300)]


def faulty_stake_max(plan: Plan) -> int:
    committee = committee_of(0, {bytes([index]) * 32: stake for index, stake in enumerate(plan.stakes)})  # type: ignore[misc]
    return (two_delay if plan.is_two_delay else mysticeti)(committee).faulty_stake_max


def test_the_faulty_hold_at_most_f_stake() -> None:
    for plan in PLANS:
        assert sum(plan.stakes[index] for index in plan.roles) <= faulty_stake_max(plan)
        assert set(plan.honest) == set(range(len(plan.stakes))) - plan.roles.keys() | set(plan.forgetful)


def test_sizes_stakes_rules_and_roles_are_all_drawn() -> None:
    sizes = Counter(len(plan.stakes) for plan in PLANS)
    assert sizes.keys() == {4, 7, 10}
    assert sizes[4] > sizes[7] > sizes[10]
    assert 30 < sum(len(set(plan.stakes)) > 1 for plan in PLANS) < 150
    assert 5 < sum(plan.is_two_delay for plan in PLANS) < 50
    roles = Counter(role for plan in PLANS for role in plan.roles.values())
    assert roles.keys() == set(Role)
    assert min(roles.values()) >= 10


def test_puppets_do_what_their_role_says_and_only_rollers_are_rolled_back() -> None:
    habits = dict(zip(PUPPETS, ("equivocate", "withhold", "silent_vote", "garbage", "far"), strict=True))
    for plan in PLANS:
        for index, role in plan.roles.items():
            if role in PUPPETS:
                assert getattr(plan.behaviours[index], habits[role]) > 0
        rolled = {fault.nodes[0] for fault in plan.faults if fault.kind is FaultKind.ROLLBACK}
        assert rolled == {index for index, role in plan.roles.items() if role in (Role.AMNESIAC, Role.FORGETFUL)}


def test_settings_overrule_the_seed() -> None:
    plan = draw_plan(1, Settings(node_count=7, byzantine_count=2, role=Role.TWINS))
    assert (plan.stakes, set(plan.roles.values()), len(plan.roles)) == ((1,) * 7, {Role.TWINS}, 2)
    plan = draw_plan(1, Settings(node_count=4, byzantine_count=1, behaviour=Behaviour(absent=True)))
    assert list(plan.behaviours.values()) == [Behaviour(absent=True)]
    assert draw_plan(9, Settings()) == draw_plan(9, Settings()) != draw_plan(10, Settings())


@pytest.mark.parametrize(
    "settings", [{"node_count": 4, "byzantine_count": 4}, {"byzantine_count": -2}, {"node_count": -1}]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(LocalError, match="cannot be"):
        Settings(**settings)  # type: ignore[arg-type]
