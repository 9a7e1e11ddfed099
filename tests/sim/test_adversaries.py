"""The puppet lies as it is told to, and its lies pass every stateless rule, but for the garbage."""

import itertools
from functools import partial
from typing import Any, cast

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.messages import Blocks, Message, RoundsRequest, encode_message
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.sim.adversaries import ANSWERS_PER_S_MAX, Puppet
from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.habits import Behaviour, Deeds
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.world import World

NETWORK = bytes(32)
LIAR = 1


class Scene:
    """Four puppets of which number 1 has the given habits; what it sends is kept."""

    def __init__(self, habits: Behaviour, horizon_ms: int = 1_500) -> None:
        keys = sorted((KeyPair(derive_bytes(5, index)) for index in range(4)), key=lambda key: key.peer_id)
        committee = committee_of(1, {key.peer_id: 1 for key in keys})
        self.admission = Admission(committee, NETWORK)
        self.sent: list[tuple[int, VerifiedBlock]] = []
        self.refused_count = 0
        builders = [
            partial(
                Puppet,
                index,
                committee,
                NETWORK,
                keys[index].sign,
                self.admission.verify_untrusted,
                habits if index == LIAR else Behaviour(),
                derive_random(3, index),
            )
            for index in range(4)
        ]
        link = LinkSettings(base_ms=15, spread_ms=5, tail_ppm=0)
        world = World(1, builders, link, DiskSettings(), observe=self.observe)
        for index in range(4):
            world.start(index)
        liar = world.hosts[LIAR].node
        assert isinstance(liar, Puppet)
        self.deeds: Deeds = liar.deeds
        world.run_until(lambda: False, horizon_ms)

    def observe(self, sender: int, receiver: int, data: bytes) -> None:
        if sender != LIAR:
            return
        try:
            message = cast(Message, decode_untrusted(cast(Any, Message), data))
            if isinstance(message, Blocks):
                blocks = [self.admission.verify_untrusted(block) for block in message.blocks]
                self.sent += [(receiver, block) for block in blocks if block.author == LIAR]
        except PeerError:
            self.refused_count += 1

    def slots(self) -> dict[int, set[bytes]]:
        """Digests that the liar sent, by round."""
        slots: dict[int, set[bytes]] = {}
        for _, block in self.sent:
            slots.setdefault(block.round, set()).add(block.digest)
        return slots


def test_without_habits_it_sends_one_valid_block_a_round_to_everybody() -> None:
    scene = Scene(Behaviour())
    slots = scene.slots()
    assert len(slots) > 40
    assert sorted(slots) == list(range(1, len(slots) + 1))
    assert all(len(digests) == 1 for digests in slots.values())
    assert {receiver for receiver, _ in scene.sent} == {0, 2, 3}
    assert scene.refused_count == 0


def test_an_equivocator_shows_different_valid_blocks_to_different_nodes() -> None:
    scene = Scene(Behaviour(equivocate=100))
    assert len(scene.slots()) > 40
    assert all(len(digests) in (2, 3) for digests in scene.slots().values())
    first = {(block.round, receiver): block.digest for receiver, block in scene.sent if block.round == 5}
    assert len(set(first.values())) > 1
    assert scene.refused_count == 0


def test_first_round_delays_every_habit() -> None:
    slots = Scene(Behaviour(equivocate=100, first_round=30)).slots()
    assert all(len(digests) == 1 for round_, digests in slots.items() if round_ < 30)
    assert all(len(digests) > 1 for round_, digests in slots.items() if round_ >= 30)


def test_a_silent_voter_leaves_a_parent_out_and_its_blocks_stay_valid() -> None:
    blocks = [block for _, block in Scene(Behaviour(silent_vote=100)).sent if block.round > 2]
    missing = [4 - len(block.header.ancestors) for block in blocks]
    assert missing.count(1) > 0.9 * len(missing)


def test_withholding_reaches_fewer_and_jumping_still_builds_on_a_quorum() -> None:
    assert len(Scene(Behaviour(withhold=100)).sent) < 0.6 * len(Scene(Behaviour()).sent)
    scene = Scene(Behaviour(jump=100))
    assert len(scene.slots()) > 20
    assert scene.refused_count == 0


def test_false_refs_and_times_pass_the_stateless_rules_and_garbage_does_not() -> None:
    assert Scene(Behaviour(false_ref=100, silent_vote=100)).refused_count == 0
    times = [block.header.timestamp_ms for _, block in Scene(Behaviour(false_time=100)).sent]
    assert max(times) - min(times) > 60_000
    assert Scene(Behaviour(garbage=100)).refused_count > 20


def test_an_absent_liar_says_nothing() -> None:
    assert Scene(Behaviour(absent=True)).sent == []


def test_deeds_count_what_was_done() -> None:
    assert vars(Scene(Behaviour()).deeds) == {"equivocated": 0, "withheld": 0, "silent": 0, "garbage": 0, "jumped": 0}
    assert Scene(Behaviour(equivocate=100)).deeds.equivocated > 40
    assert Scene(Behaviour(withhold=100)).deeds.withheld > 40
    assert Scene(Behaviour(silent_vote=100)).deeds.silent > 0  # mostly it has just a quorum and cannot leave one out
    assert Scene(Behaviour(garbage=100)).deeds.garbage > 40
    assert Scene(Behaviour(jump=100)).deeds.jumped > 10


def test_a_jumper_leaves_rounds_out_and_shows_blocks_far_ahead_that_pass_the_stateless_rules() -> None:
    rounds = sorted(Scene(Behaviour(jump=100)).slots())
    assert sum(b > a + 1 for a, b in itertools.pairwise(rounds)) > 10
    scene = Scene(Behaviour(far=100))
    assert max(scene.slots()) > 1 << 30
    assert scene.refused_count == 0


def test_who_asks_without_end_is_answered_so_often_within_a_second_and_others_all_the_same() -> None:
    keys = sorted((KeyPair(derive_bytes(5, index)) for index in range(4)), key=lambda key: key.peer_id)
    committee = committee_of(1, {key.peer_id: 1 for key in keys})
    verify = Admission(committee, NETWORK).verify_untrusted
    habits = Behaviour(garbage=60)
    puppet = Puppet(LIAR, committee, NETWORK, keys[LIAR].sign, verify, habits, derive_random(3, LIAR))
    puppet.start((), 5_000)
    question = encode_message(RoundsRequest(1))
    answers = [puppet.receive(0, question, 5_001) for _ in range(ANSWERS_PER_S_MAX + 2)]
    assert all(answers[:ANSWERS_PER_S_MAX])
    assert answers[ANSWERS_PER_S_MAX:] == [[], []]
    assert puppet.receive(2, question, 5_999) != []
    assert puppet.receive(0, question, 6_000) != []
