"""Whole nodes in virtual time: one job with a liar, through delay, loss and crashes, on the code of real nodes."""

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.demo.liar import Liar
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate, checkpoint_rules, sign_checkpoint
from synaptic_mesh.ledger.genesis import GenesisValidator, genesis_of
from synaptic_mesh.ledger.jobs import JobStatus
from synaptic_mesh.ledger.manifest import Timing
from synaptic_mesh.node.messages import TOPIC_CHECKPOINT, CheckpointNote, SendMessage
from synaptic_mesh.sim.mesh_node import MeshLog
from synaptic_mesh.sim.mesh_scenario import MeshScenario
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.hyperparameters import Hyperparameters
from synaptic_mesh.training.job import JobTerms, PreparedJob, prepare_job

TIMING = Timing(
    enrol_ms=4_000,
    work_ms=6_000,
    grace_ms=1_000,
    available_ms=4_000,
    audit_ms=4_000,
    root_ms=4_000,
    attempts_max=20,
    challenge_steps=1,
    challenge_ms=1_000,
)


@pytest.fixture(scope="module")
def job() -> PreparedJob:
    terms = JobTerms(shards=5, workers_min=4, workers_max=5, timing=TIMING)
    small = Hyperparameters(batch=8, inner_steps=2, outer_steps=3)
    return prepare_job(load_digits(), "mlp:4", terms, seed=1, hyperparameters=small)


def check(scenario: MeshScenario) -> None:
    states = [state for state in scenario.states() if state is not None]
    assert not scenario.log.disagreements
    assert len(scenario.log.certified) > 5
    assert {node for node, _ in scenario.log.votes} == {0, 1, 2, 3}
    assert {state.status for state in states} == {JobStatus.FINISHED}
    assert len({state.root for state in states}) == 1
    assert len({state.steps for state in states}) == 1
    for node in scenario.nodes():
        assert node is not None
        assert node.assembly.ledger.recounted_supply() == node.assembly.ledger.supply()


def test_the_liar_is_caught_and_the_rest_is_paid(job: PreparedJob) -> None:
    scenario = MeshScenario(1, job, ReferenceBackend(), strategies=[Liar()])
    scenario.start()
    assert scenario.run()
    check(scenario)
    state = scenario.states()[0]
    assert state is not None
    liar = scenario.keys[4].peer_id
    assert [caught.worker for caught in state.caught] == [liar]
    assert state.caught[0].step == 0
    assert state.caught[0].slashed == job.manifest.economy.stake_per_update
    paid = dict(state.paid)
    assert liar not in paid
    assert all(paid[key.peer_id] > 0 for key in scenario.keys[:4])
    assert len(state.steps) == 3


def test_the_log_of_a_run_notices_what_must_not_be() -> None:
    log, key = MeshLog(), KeyPair(bytes([1]) * 32)
    rules = checkpoint_rules(genesis_of(bytes(32), "log", [GenesisValidator(key.peer_id, 1)]))
    one, other = (rules.checkpoint(32, bytes(32), 1, bytes([root]) * 32, 1) for root in (1, 2))
    for checkpoint in (one, one, other):
        vote = sign_checkpoint(checkpoint, 0, key.sign)
        log.observe(3, SendMessage(None, TOPIC_CHECKPOINT, encode(vote)))
        log.observe(3, CheckpointNote(CheckpointCertificate(checkpoint, ((0, vote.signature),)), 1))
    log.roots[64] = bytes(32)
    log.observe(1, CheckpointNote(CheckpointCertificate(replace(one, index=64), ()), 1))
    assert log.disagreements == [
        "commit 32: node 3 signed two states",
        "commit 32: two checkpoints are certified",
        "commit 64: the certified root is another",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_crashes_and_loss_do_not_change_what_is_agreed(job: PreparedJob, seed: int) -> None:
    scenario = MeshScenario(
        seed, job, ReferenceBackend(), strategies=[Liar()], link=LinkSettings(loss_ppm=10_000, duplicate_ppm=10_000)
    )
    scenario.start()
    world = scenario.world
    victim = 1 + seed % 3
    for number, at_ms in enumerate((1_500, 4_000)):
        world.queue.at(at_ms, lambda: world.crash(victim))
        world.queue.at(at_ms + 900 + 200 * number, lambda: world.start(victim))
    assert scenario.run()
    check(scenario)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_killing_any_peer_at_any_instant_leaves_the_survivors_agreed(job: PreparedJob, seed: int) -> None:
    """docs/protocol/learning.md: whoever dies, whenever: the others finish, and hold the same bits."""
    random = derive_random(seed, "kill")
    scenario = MeshScenario(seed, job, ReferenceBackend(), strategies=[None])
    scenario.start()
    victim = random.randrange(1, 5)  # the sponsor alone holds the data until others have attested
    scenario.world.queue.at(random.randrange(300, 6_000), lambda: scenario.world.crash(victim))
    assert scenario.run()
    states = [state for state in scenario.states() if state is not None]
    assert not scenario.log.disagreements
    assert len(states) >= 4
    assert {state.status for state in states} == {JobStatus.FINISHED}
    assert len({(state.root, state.steps) for state in states}) == 1
