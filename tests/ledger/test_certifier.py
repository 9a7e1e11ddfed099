"""Votes become certificates; who is alone with its state stops; liars and lossy links change neither."""

from typing import Any

import pytest
from checkpoint_net import KEYS, PEERS, RULES, Net, certifier, checkpoint, rules_of

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES
from synaptic_mesh.ledger import certifier as module
from synaptic_mesh.ledger.certifier import ANSWER_MS, OWN_KEPT, RESEND_MS, SIGNED_KEPT, VOTES_KEPT, Certifier
from synaptic_mesh.ledger.checkpoint import (
    Checkpoint,
    CheckpointCertificate,
    CheckpointQuestion,
    CheckpointVote,
    sign_checkpoint,
)
from synaptic_mesh.ledger.checkpoint_effects import (
    Broadcast,
    Contradiction,
    Dissent,
    DoubleVote,
    Halt,
    Send,
    StoreCertificate,
    StoreVote,
)


def vote(author: int, index: int = 10, root: int = 0) -> CheckpointVote:
    return sign_checkpoint(checkpoint(index, root), author, KEYS[author].sign)


def receive(machine: Certifier, author: int, message: Any, now_ms: int = 0) -> list[Any]:
    return machine.receive_untrusted(PEERS[author], encode(message), now_ms)


def certificate(index: int, root: int = 0, authors: tuple[int, ...] = (1, 2, 3)) -> CheckpointCertificate:
    votes = [vote(author, index, root) for author in authors]
    return CheckpointCertificate(votes[0].checkpoint, tuple((each.author, each.signature) for each in votes))


# --- the own vote


def test_nothing_is_sent_before_it_is_stored() -> None:
    machine = certifier(0)
    (stored,) = machine.executed(checkpoint(10), 0)
    assert stored == StoreVote(vote(0))
    assert machine.connected(PEERS[1], 0) == [Send(PEERS[1], CheckpointQuestion(0))]
    assert machine.handle_deadline(RESEND_MS)[:1] == [Send(PEERS[1], CheckpointQuestion(0))]
    assert machine.stored(5) == [Broadcast(vote(0))]


def test_an_observer_signs_nothing_and_certifies() -> None:
    machine = Certifier(RULES)
    machine.resume(0)
    assert machine.executed(checkpoint(10), 0) == []
    assert [receive(machine, author, vote(author)) for author in range(2)] == [[], []]
    assert receive(machine, 2, vote(2)) == [StoreCertificate(certificate(10, authors=(0, 1, 2)))]


def test_a_quorum_of_votes_is_a_certificate_once() -> None:
    machine = certifier(0)
    machine.executed(checkpoint(10), 0)
    machine.stored(0)
    assert receive(machine, 1, vote(1)) == []
    assert receive(machine, 2, vote(2)) == [StoreCertificate(certificate(10, authors=(0, 1, 2)))]
    assert receive(machine, 3, vote(3)) == []
    assert machine.certified_index == 10
    assert machine.handle_deadline(RESEND_MS) == []
    assert machine.deadline_ms() is None


def test_a_mesh_of_one_certifies_itself() -> None:
    rules = rules_of(stakes=(7, 1, 1, 1))
    machine = certifier(0, rules)
    machine.executed(checkpoint(10, rules=rules), 0)
    _, stored = machine.stored(0)
    assert isinstance(stored, StoreCertificate)


def test_what_is_certified_is_not_signed_any_more() -> None:
    machine = certifier(0)
    receive(machine, 1, certificate(20))
    assert machine.executed(checkpoint(10), 0) == []
    assert machine.executed(checkpoint(20), 0) == []
    assert machine.executed(checkpoint(30), 0) == [StoreVote(vote(0, 30))]


# --- restarts


def restarted(*votes: CheckpointVote, certificates: tuple[CheckpointCertificate, ...] = ()) -> Certifier:
    machine = Certifier(RULES, 0, KEYS[0].sign)
    for each in (*votes, *certificates):
        machine.restore(each)
    return machine


def test_a_stored_vote_is_sent_again_and_not_signed_again() -> None:
    machine = restarted(vote(0))
    assert machine.executed(checkpoint(10), 0) == []
    assert machine.resume(0) == []
    assert machine.connected(PEERS[1], 0)[1:] == [Send(PEERS[1], vote(0))]
    receive(machine, 1, vote(1))
    assert receive(machine, 2, vote(2)) == [StoreCertificate(certificate(10, authors=(0, 1, 2)))]


def test_a_vote_that_was_lost_with_the_tail_of_the_log_is_made_again_equal() -> None:
    machine = restarted()
    machine.executed(checkpoint(10), 0)
    assert machine.resume(0) == [StoreVote(vote(0))]


@pytest.mark.parametrize("index", [10, 20])
def test_no_second_state_is_signed_for_a_commit(index: int) -> None:
    """Executing the log gives another root than was signed before: it is said, and neither vote leaves."""
    machine = restarted(vote(0, 10), vote(0, 20))
    for each in (10, 20):
        assert machine.executed(checkpoint(each, int(each == index)), 0) == []
    assert machine.resume(0)[0] == Contradiction(checkpoint(index), checkpoint(index, 1))
    assert machine.connected(PEERS[1], 0) == [Send(PEERS[1], CheckpointQuestion(0))]
    assert [type(e) for e in machine.handle_deadline(RESEND_MS)] == [Send]
    assert machine.executed(checkpoint(30), 0) == [StoreVote(vote(0, 30))]


def test_a_log_that_leads_past_its_own_certificate_stops_the_start() -> None:
    machine = restarted(certificates=(certificate(10), certificate(20)))
    machine.executed(checkpoint(10, 1), 0)
    (halt,) = machine.executed(checkpoint(20, 1), 0)
    assert isinstance(halt, Halt)
    fine = restarted(certificates=(certificate(20), certificate(10)))
    assert fine.certified_index == 20
    assert fine.executed(checkpoint(20), 0) == []


# --- other states


def test_one_that_signs_another_state_is_reported() -> None:
    machine = certifier(0)
    early = receive(machine, 1, vote(1, root=1))
    assert early == []  # nothing to compare with yet
    store, dissent = sorted(machine.executed(checkpoint(10), 0), key=lambda e: isinstance(e, Dissent))
    assert isinstance(store, StoreVote)
    assert dissent == Dissent(vote(1, root=1), checkpoint(10))
    machine.executed(checkpoint(20), 0)
    assert receive(machine, 1, vote(1, 20, 1)) == [Dissent(vote(1, 20, 1), checkpoint(20))]


def test_two_states_for_one_commit_are_proof() -> None:
    machine = certifier(0)
    receive(machine, 1, vote(1))
    assert receive(machine, 1, vote(1, root=1)) == [DoubleVote(vote(1), vote(1, root=1))]
    with pytest.raises(PeerError, match="author 1 signed a third state for commit 10"):
        receive(machine, 1, vote(1, root=2))
    assert receive(machine, 1, vote(1)) == []


@pytest.mark.parametrize("roots", [(1, 1), (1, 2)])
def test_more_than_f_stake_with_other_states_stops_the_replica(roots: tuple[int, int]) -> None:
    """f = 1 of 4. One of two is honest, whatever it signed."""
    machine = certifier(0)
    machine.executed(checkpoint(10), 0)
    assert [type(e) for e in receive(machine, 1, vote(1, root=roots[0]))] == [Dissent]
    dissent, halt = receive(machine, 2, vote(2, root=roots[1]))
    assert isinstance(dissent, Dissent)
    assert isinstance(halt, Halt)
    assert halt.reason.startswith(
        "this replica stops at commit 10: validators with stake 2 of 4 signed another state (state_root; root 01010101,"
        " here 00000000)"
    )


def test_votes_that_came_before_the_commit_stop_the_replica_too() -> None:
    machine = certifier(0)
    receive(machine, 1, vote(1, root=1))
    receive(machine, 2, vote(2, root=1))
    assert [type(e) for e in machine.executed(checkpoint(10), 0)][:3] == [Dissent, Dissent, Halt]


def test_f_stake_alone_stops_nobody() -> None:
    rules = rules_of(stakes=(3, 2, 1, 1))  # S = 7, q = 5, f = 2
    machine = certifier(0, rules)
    machine.executed(checkpoint(10, rules=rules), 0)

    def lie(author: int) -> list[Any]:
        return receive(machine, author, sign_checkpoint(checkpoint(10, 1, rules), author, KEYS[author].sign))

    assert [type(e) for e in lie(1)] == [Dissent]
    assert [type(e) for e in lie(2)] == [Dissent, Halt]


def test_a_certificate_of_another_state_stops_the_replica() -> None:
    machine = certifier(0)
    machine.executed(checkpoint(10), 0)
    (halt,) = receive(machine, 1, certificate(10, 1))
    assert isinstance(halt, Halt)
    assert "stake 3 of 4" in halt.reason


def test_who_is_behind_compares_when_it_gets_there() -> None:
    """Also when newer certificates have come meanwhile."""
    machine = certifier(0)
    receive(machine, 1, certificate(20, 1))
    receive(machine, 1, certificate(40, 1))
    assert machine.executed(checkpoint(10), 0) == []
    (halt,) = machine.executed(checkpoint(20), 0)
    assert isinstance(halt, Halt)
    assert "commit 20" in halt.reason
    honest, later = certifier(0), certifier(0)
    for index in (20, 40):
        receive(honest, 1, certificate(index))
        receive(later, 1, certificate(index, int(index == 40)))
    assert [honest.executed(checkpoint(index), 0) for index in (10, 20, 30, 40)] == [[], [], [], []]
    assert [len(later.executed(checkpoint(index), 0)) for index in (10, 20, 30, 40)] == [0, 0, 0, 1]


# --- repeating


def test_votes_are_repeated_until_certified_or_superseded() -> None:
    machine = certifier(0)
    machine.connected(PEERS[1], 0)
    machine.executed(checkpoint(10), 0)
    machine.stored(0)
    assert machine.deadline_ms() == RESEND_MS
    assert machine.handle_deadline(RESEND_MS - 1) == []
    again = [Broadcast(vote(0)), Send(PEERS[1], CheckpointQuestion(0))]
    assert machine.handle_deadline(RESEND_MS) == again
    assert machine.deadline_ms() == 2 * RESEND_MS
    assert machine.handle_deadline(2 * RESEND_MS) == again
    machine.executed(checkpoint(20), 2 * RESEND_MS)
    machine.stored(2 * RESEND_MS)
    assert machine.handle_deadline(3 * RESEND_MS)[0] == Broadcast(vote(0, 20))
    receive(machine, 1, certificate(20))
    assert machine.handle_deadline(4 * RESEND_MS) == []


def test_questions_go_to_one_peer_after_the_other() -> None:
    machine = certifier(0)
    for peer in PEERS[1:]:
        machine.connected(peer, 0)
    machine.disconnected(PEERS[3])
    machine.executed(checkpoint(10), 0)
    asked = [machine.handle_deadline((turn + 1) * RESEND_MS)[-1].peer for turn in range(4)]
    assert sorted(asked) == sorted(PEERS[1:3] * 2)


def test_questions_are_answered_with_something_newer_and_not_too_often() -> None:
    machine = certifier(0)
    for peer in PEERS[1:3]:
        machine.connected(peer, 0)
    question = CheckpointQuestion(10)
    assert receive(machine, 1, question) == []
    receive(machine, 3, certificate(20))
    answer = [Send(PEERS[1], certificate(20))]
    assert receive(machine, 1, question, 1) == answer
    assert receive(machine, 1, question, ANSWER_MS) == []
    assert receive(machine, 2, question, ANSWER_MS)[0].peer == PEERS[2]
    assert receive(machine, 1, question, ANSWER_MS + 1) == answer
    assert receive(machine, 1, CheckpointQuestion(20), 9 * ANSWER_MS) == []
    assert receive(machine, 3, question, 9 * ANSWER_MS) == []  # not connected


def test_a_certificate_that_no_message_holds_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = certifier(0)
    machine.connected(PEERS[1], 0)
    receive(machine, 3, certificate(20))
    monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 300)
    assert receive(machine, 1, CheckpointQuestion(0)) == []


# --- hostile peers


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        (2, vote(1), "a vote of author 1 on checkpoint 10 came from"),
        (1, CheckpointVote(checkpoint(10), 1, bytes(64)), "signature of author 1 on checkpoint 10 is wrong"),
        (1, CheckpointVote(checkpoint(10), 1, vote(1, 20).signature), "signature of author 1"),
        (1, CheckpointVote(checkpoint(15), 1, bytes(64)), "one every 10 commits"),
        (1, CheckpointVote(checkpoint(10, rules=rules_of(stakes=(2, 1, 1, 1))), 1, bytes(64)), "not this epoch's"),
        (1, certificate(10, authors=(1, 2)), "signed by stake 2 of 4"),
    ],
)
def test_false_messages_leave_nothing_behind(sender: int, message: Any, reason: str) -> None:
    machine = certifier(0)
    with pytest.raises(PeerError, match=reason):
        receive(machine, sender, message)
    assert (machine._votes, machine.certified) == ({}, None)


def test_what_a_validator_can_grow_is_bounded_and_its_own() -> None:
    machine = certifier(0)
    for index in (10, 20):
        receive(machine, 1, vote(1, index))
    for index in range(1, 60):
        for root in (0, 1):
            receive(machine, 2, vote(2, 10**15 + 10 * index, root))
    assert sum(map(len, machine._votes[2].values())) == 2 * VOTES_KEPT
    assert sorted(machine._votes[1]) == [10, 20]
    older = CheckpointVote(checkpoint(30), 2, bytes(64))
    assert receive(machine, 2, older) == []  # than all that are kept: not even its signature is looked at
    assert 30 not in machine._votes[2]
    assert receive(machine, 3, vote(3, 10)) == []
    machine.executed(checkpoint(10), 0)
    assert StoreCertificate(certificate(10, authors=(0, 1, 3))) in machine.stored(0)


def test_known_votes_cost_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = certifier(0)
    receive(machine, 1, vote(1))
    receive(machine, 1, certificate(20))

    def refuse(*_: object) -> None:
        raise AssertionError("a signature was checked")

    monkeypatch.setattr(RULES, "_check", refuse)
    assert receive(machine, 1, vote(1)) == []
    assert receive(machine, 2, certificate(20)) == []
    assert receive(machine, 2, certificate(10)) == []


def test_own_checkpoints_are_bounded() -> None:
    machine = certifier(0)
    for index in range(1, OWN_KEPT + 10):
        machine.executed(checkpoint(10 * index), 0)
        machine.stored(0)
    assert len(machine._own) == OWN_KEPT
    assert machine.executed_index == 10 * (OWN_KEPT + 9)
    assert len(machine._signed) == 1
    newest = SIGNED_KEPT + 3
    again = restarted(*[vote(0, 10 * index) for index in range(1, newest + 1)])
    assert (len(again._signed), max(again._signed)) == (SIGNED_KEPT, 10 * newest)
    assert again.executed(checkpoint(10 * newest), 0) == again.resume(0) == []


# --- whole networks


def lie(net: Net, index: int) -> None:
    """The liar signs other states, two to some, repeats itself, and sends what is no vote at all."""
    liar, random = net.liar or 0, net.random
    for receiver in net.machines:
        messages: list[Any] = [vote(liar, index, random.choice((1, 2))) for _ in range(random.randint(1, 3))]
        messages.append(vote(liar, 10**9 + index))
        messages.append(CheckpointVote(checkpoint(index), receiver, bytes(64)))
        messages.append(certificate(index, 1, (liar,)))
        messages.append(CheckpointQuestion(0))
        random.shuffle(messages)
        for message in messages:
            net.send(liar, receiver, encode(message))


@pytest.mark.parametrize("seed", range(6))
def test_three_honest_certify_through_loss_and_a_liar(seed: int) -> None:
    net = Net(seed, loss=0.35, liar=seed % 4)
    honest = list(net.machines)
    for index in range(10, 110, 10):
        for author in honest:
            net.execute(author, checkpoint(index))
        lie(net, index)
        net.run(net.now_ms + net.random.choice((30, 300, 900)))
    net.run(net.now_ms + 60_000)
    for machine in net.machines.values():
        assert machine.certified is not None
        assert machine.certified.checkpoint == checkpoint(100)
        RULES.check_certificate_untrusted(machine.certified)
    assert not net.found(Halt)
    certified: set[Checkpoint] = {e.certificate.checkpoint for _, e in net.found(StoreCertificate)}  # type: ignore[union-attr]
    assert all(each == checkpoint(each.index) for each in certified)
    assert {e.vote.author for _, e in net.found(Dissent)} == {net.liar}  # type: ignore[union-attr]
    assert {e.first.author for _, e in net.found(DoubleVote)} == {net.liar}  # type: ignore[union-attr]
    assert net.refused > 0
    assert all(machine.deadline_ms() is None for machine in net.machines.values())


def test_one_honest_replica_with_another_state_stops_and_the_others_go_on() -> None:
    net = Net(1, loss=0.2)
    for author in range(4):
        net.execute(author, checkpoint(10, int(author == 2)))
    net.run(30_000)
    assert {author for author, _ in net.found(Halt)} == {2}
    for author in (0, 1, 3):
        assert net.machines[author].certified_index == 10


def test_two_halves_certify_nothing_and_stop() -> None:
    """Two and two: no quorum for either, and more than f on the other side of each."""
    net = Net(2, loss=0.0)
    for author in range(4):
        net.execute(author, checkpoint(10, author % 2))
    net.run(5_000)
    assert {author for author, _ in net.found(Halt)} == {0, 1, 2, 3}
    assert not net.found(StoreCertificate)


def test_a_late_one_hears_of_the_newest_certificate() -> None:
    net = Net(3, loss=0.0)
    for author in range(3):
        net.execute(author, checkpoint(10))
    net.machines[3].disconnected(PEERS[0])
    net.run(1_000)
    net.machines[3]._votes.clear()
    net.machines[3].certified = None
    net.carry_out(3, net.machines[3].connected(PEERS[0], net.now_ms))
    net.run(2_000)
    assert net.machines[3].certified_index == 10


def test_a_hybrid_committee() -> None:
    rules = rules_of(is_hybrid=True)
    net = Net(4, loss=0.1, rules=rules)
    for author in range(4):
        net.execute(author, checkpoint(10, rules=rules))
    net.run(20_000)
    for machine in net.machines.values():
        assert machine.certified is not None
        assert {len(signature) for _, signature in machine.certified.signatures} == {HYBRID_SIGNATURE_BYTES}
        rules.check_certificate_untrusted(machine.certified)
