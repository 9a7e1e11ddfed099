"""The machine as a whole: one node, four nodes, loss, crash, restart, laggards, observers, and the order of write and
send.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from consensus_mesh import NETWORK, Mesh

from synaptic_mesh.base.errors import InvariantBroken, LocalError
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus import journal
from synaptic_mesh.consensus.block import BlockRef, CommitVote, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.evidence import check_evidence_untrusted, evidence_of
from synaptic_mesh.consensus.messages import (
    Advert,
    Append,
    Appended,
    Blocks,
    BlocksReceived,
    BlocksRequest,
    Broadcast,
    Committed,
    Dropped,
    Evidence,
    MessageReceived,
    OwnRoundAnswer,
    OwnRoundAnswered,
    OwnRoundRequest,
    PeerConnected,
    ReadStored,
    RoundsRequest,
    Send,
    Skipped,
    StoredBlocks,
    StoredRead,
    Stranded,
    TransactionsRefused,
    TransactionsSubmitted,
)
from synaptic_mesh.consensus.serving import ANSWERS_AHEAD
from synaptic_mesh.consensus.settings import Rules, Settings, mysticeti, two_delay


def ordered(mesh: Mesh, i: int) -> list[bytes]:
    return [tx for committed in mesh.told[i] for block in committed.blocks for tx in block.transactions]


def seal(
    mesh: Mesh,
    author: int,
    round_: int,
    ancestors: tuple[BlockRef, ...],
    *transactions: bytes,
    commit_votes: tuple[CommitVote, ...] = (),
    timestamp_ms: int = 0,
) -> VerifiedBlock:
    """A block signed by a validator of the mesh."""
    return seal_block(
        mesh.keys[author].sign,
        network=NETWORK,
        epoch=0,
        round_=round_,
        author=author,
        incarnation=0,
        timestamp_ms=timestamp_ms,
        ancestors=ancestors,
        transactions=transactions,
        commit_votes=commit_votes,
    )


def genesis(mesh: Mesh, author: int) -> tuple[BlockRef, ...]:
    """Ancestors of a block of round 1, own first."""
    order = [author, *(a for a in range(mesh.committee.size) if a != author)]
    return tuple(genesis_ref(NETWORK, 0, a) for a in order)


def ready(size: int = 4) -> Mesh:
    """A mesh in which everybody has proposed round 1 and no block has arrived anywhere."""
    mesh = Mesh(size)
    mesh.is_lost = lambda *message: isinstance(message[-1], Blocks)
    mesh.start()
    return mesh.run(20)


def test_one_validator_orders_its_own_transactions() -> None:
    mesh = Mesh(1)
    mesh.start()
    mesh.submit(0, b"a", b"b")
    mesh.run(200)
    assert ordered(mesh, 0) == [b"a", b"b"]
    assert mesh.sent["OwnRoundRequest"] == 0


def test_four_validators_order_the_same_transactions_within_a_few_rounds() -> None:
    mesh = Mesh(4)
    mesh.start()
    for i in range(4):
        mesh.submit(i, b"tx%d" % i)
    mesh.run(300)
    assert sorted(ordered(mesh, 0)) == [b"tx0", b"tx1", b"tx2", b"tx3"]
    assert all(ordered(mesh, i) == ordered(mesh, 0) for i in range(4))
    assert mesh.logs_agree()
    assert [committed.commit.index for committed in mesh.told[0]] == list(range(1, len(mesh.told[0]) + 1))


@pytest.mark.parametrize("stakes", [(5, 1, 1, 1), (1, 2, 3)])
def test_weighted_stake_works_too(stakes: tuple[int, ...]) -> None:
    mesh = Mesh(len(stakes), stakes=stakes)
    mesh.start()
    mesh.submit(1, b"tx")
    mesh.run(400)
    assert all(ordered(mesh, i) == [b"tx"] for i in range(len(stakes)))


@pytest.mark.parametrize("rule", [two_delay, partial(replace, leader_count=2), partial(replace, is_pipelined=False)])
def test_other_rules_of_the_family_order_too(rule: Callable[..., Rules]) -> None:
    mesh = Mesh(6, rules=rule if rule is two_delay else lambda committee: rule(mysticeti(committee)))
    mesh.start()
    for i in range(6):
        mesh.submit(i, b"tx%d" % i)
    mesh.run(600)
    assert sorted(ordered(mesh, 0)) == [b"tx%d" % i for i in range(6)]
    assert mesh.logs_agree()
    assert all(committed.direct for told in mesh.told for committed in told)


def test_two_delays_commit_a_round_earlier() -> None:
    waits = []
    for rule in (mysticeti, two_delay):
        mesh = Mesh(6, rules=rule)
        mesh.start()
        mesh.submit(0, b"tx")
        while not ordered(mesh, 0):
            mesh.run(mesh.now_ms + 1)
        waits.append(mesh.now_ms)
    assert waits[1] < waits[0]


def test_a_silent_validator_loses_its_turns_to_a_better_one_on_every_node() -> None:
    mesh = Mesh(4, rules=lambda committee: replace(mysticeti(committee), reputation_commits=8))
    mesh.down.add(3)
    mesh.start(0, 1, 2)
    for step in range(60):
        mesh.submit(step % 3, b"tx%d" % step)
        mesh.run(mesh.now_ms + 100)
    assert mesh.logs_agree()
    commits = [committed.commit for committed in mesh.told[0]]
    assert [commit.benched for commit in commits[:8]] == [()] * 7 + [(3,)]
    assert all(commit.benched == (3,) and commit.favoured in ((0,), (1,), (2,)) for commit in commits[7:])
    skipped = [effect.round for effect in mesh.effects[0] if isinstance(effect, Skipped)]
    assert max(skipped) <= commits[7].leader.round + 1  # its next turn goes to another, without a time-out
    mesh.crash(1)
    mesh.start(1)
    mesh.run(mesh.now_ms + 300)
    assert mesh.cores[1].schedule.benched == (3,)


@pytest.mark.parametrize("period", [5, 6, 7, 8])
def test_nothing_counted_for_leaders_that_a_period_has_replaced_is_kept(period: int) -> None:
    mesh = Mesh(4, rules=lambda committee: replace(mysticeti(committee), reputation_commits=period))
    mesh.down.add(3)
    mesh.start(0, 1, 2)
    for step in range(150):
        mesh.submit(step % 3, b"tx%d" % step)
        mesh.run(mesh.now_ms + 20)
        for core in mesh.cores[:3]:
            for round_, tallies in core.committer._tallies.items():
                assert tuple(tally.author for tally in tallies) == core.schedule.leaders(round_)
    assert mesh.cores[0].schedule.benched == (3,)


def test_nothing_is_broadcast_before_it_is_written() -> None:
    """Own blocks and commits leave only after the Append that holds them came back."""
    mesh = Mesh(4)
    mesh.start()
    mesh.submit(0, b"tx")
    mesh.run(500)
    written: set[bytes] = set()
    appends: dict[int, Append] = {}
    commits = 0
    for effect in mesh.effects[0]:
        if isinstance(effect, Append):
            appends[effect.token] = effect
            earlier = [append for token, append in appends.items() if token < effect.token]
            written = {block.digest for append in earlier for block in append.blocks}
            commits = sum(len(append.commits) for append in earlier)
        elif isinstance(effect, Broadcast) and isinstance(effect.message, Blocks):
            in_flight = {block.digest for block in appends[max(appends)].blocks}
            assert mesh.verify(effect.message.blocks[0]).digest in written | in_flight
        elif isinstance(effect, Committed):
            assert effect.commit.index <= commits + len(appends[max(appends)].commits)


def test_the_own_block_waits_for_the_disk() -> None:
    mesh = Mesh(1)
    effects = mesh.cores[0].start(0)
    append = next(effect for effect in effects if isinstance(effect, Append))
    assert [block.round for block in append.blocks] == [1]
    assert not any(isinstance(effect, Broadcast) for effect in effects)
    for now_ms in (100, 5_000):
        assert not any(isinstance(e, Append) for e in mesh.cores[0].handle_deadline(now_ms))  # round 2 waits too
    released = mesh.cores[0].handle(Appended(append.token), 5_001)
    assert released[0] == Broadcast(Blocks((append.blocks[0].encoded,)))


def test_a_written_block_is_stored_with_its_ancestors_first() -> None:
    mesh = Mesh(4)
    mesh.start()
    mesh.submit(0, b"tx")
    mesh.run(400)
    known = {ref for a in range(4) for ref in genesis(mesh, a)}
    for block in mesh.stored[0][0]:
        assert known.issuperset(block.header.ancestors)
        known.add(block.ref)


def test_an_idle_mesh_proposes_once_a_second_and_wakes_at_once() -> None:
    mesh = Mesh(4)
    mesh.start()
    mesh.run(20_000)
    rounds = mesh.cores[0].dag.clock_round
    assert 17 <= rounds <= 21
    mesh.run(20_300)
    mesh.submit(2, b"tx")
    mesh.run(20_600)
    assert ordered(mesh, 0) == [b"tx"]


def test_a_silent_validator_is_skipped_and_the_others_go_on() -> None:
    mesh = Mesh(4)
    mesh.down.add(3)
    for i in range(3):
        mesh.start(i)
    for now_ms in range(0, 6_000, 100):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
    mesh.run(7_000)
    assert len(ordered(mesh, 1)) == 60
    assert any(isinstance(effect, Skipped) and effect.author == 3 for effect in mesh.effects[0])


def test_lost_messages_are_repaired() -> None:
    mesh = Mesh(4)
    random = derive_random(3, "loss")
    mesh.is_lost = lambda *_: random.random() < 0.3
    mesh.start()
    for now_ms in range(0, 20_000, 200):
        mesh.run(now_ms)
        mesh.submit(now_ms // 200 % 4, b"tx%d" % now_ms)
    mesh.is_lost = lambda *_: False
    mesh.run(25_000)
    assert len(ordered(mesh, 0)) == 100
    assert all(ordered(mesh, i) == ordered(mesh, 0) for i in range(4))
    assert mesh.sent["BlocksRequest"] > 0


def test_a_stalled_mesh_repeats_blocks_with_growing_pauses() -> None:
    mesh = ready()
    mesh.submit(0, b"tx")
    repeated_ms: list[int] = []
    for now_ms in range(20, 14_000, 10):
        mesh.effects[0].clear()
        mesh.run(now_ms)
        if any(isinstance(e, Broadcast) and isinstance(e.message, Blocks) for e in mesh.effects[0]):
            repeated_ms.append(now_ms)
    pauses = [(b - a + 50) // 100 for a, b in pairwise(repeated_ms)]
    assert pauses == [5, 10, 20, 40, 40]  # 250 ms doubled again and again up to 4 s
    mesh.is_lost = lambda *_: False
    mesh.run(18_000)
    assert ordered(mesh, 3) == [b"tx"]


def test_restart_reaches_the_same_state_and_repeats_only_what_was_not_executed() -> None:
    mesh = Mesh(4)
    mesh.start()
    for now_ms in range(0, 1_000, 50):
        mesh.run(now_ms)
        mesh.submit(1, b"tx%d" % now_ms)
    before = mesh.cores[1]
    proposed, count = before.pacing.last_proposed, len(mesh.stored[1][1])
    mesh.crash(1)
    again = mesh.new_core(1)
    blocks, commits = mesh.stored[1]
    effects = again.start(mesh.now_ms, blocks=blocks, commits=commits, executed_index=count - 2)
    assert [e.commit.index for e in effects if isinstance(e, Committed)] == [count - 1, count]
    stored_own = max(block.round for block in blocks if block.author == 1)
    assert stored_own in (proposed, proposed - 1)
    assert again.linearizer.digest == mesh.told[1][count - 1].digest
    assert again.dag.clock_round >= stored_own
    assert not again.amnesia.is_active
    appended = [e for e in effects if isinstance(e, Append)]
    own = [block.round for e in appended for block in e.blocks]
    assert all(round_ > stored_own for round_ in own)


def test_a_crashed_node_comes_back_and_never_signs_a_round_twice() -> None:
    mesh = Mesh(4)
    mesh.start()
    for now_ms in range(0, 4_000, 100):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
        if now_ms in (500, 1_700, 2_900):
            mesh.crash(2)
        if now_ms in (900, 2_000, 3_500):
            mesh.start(2)
    mesh.run(6_000)
    assert ordered(mesh, 0) == ordered(mesh, 2)
    assert mesh.logs_agree()
    assert not any(isinstance(effect, Evidence) for effects in mesh.effects for effect in effects)
    own = [block.round for block in mesh.stored[2][0] if block.author == 2]
    assert own == sorted(set(own))


def test_damaged_commits_stop_the_node() -> None:
    mesh = Mesh(1)
    mesh.start()
    mesh.run(6_000)
    blocks, commits = mesh.stored[0]
    wrong = [commits[0], *commits[2:]]
    with pytest.raises(InvariantBroken, match="stored commit 3"):
        mesh.new_core(0).start(0, blocks=blocks, commits=wrong)
    with pytest.raises(InvariantBroken, match="lead to"):
        mesh.new_core(0).start(0, blocks=blocks[:5], commits=commits)
    with pytest.raises(InvariantBroken, match="before its ancestors"):
        mesh.new_core(0).start(0, blocks=blocks[1:], commits=commits)
    with pytest.raises(InvariantBroken, match="only"):
        mesh.new_core(0).start(0, blocks=blocks, commits=commits, executed_index=len(commits) + 1)


def test_a_laggard_within_the_gc_window_proposes_every_missed_round() -> None:
    mesh = Mesh(4)
    mesh.start()
    for now_ms in range(0, 6_000, 100):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
        mesh.is_lost = lambda *ends: 1_000 <= mesh.now_ms < 2_500 and 3 in ends[:2]
    mesh.run(8_000)
    own = [block.round for block in mesh.stored[3][0] if block.author == 3]
    assert own == list(range(1, len(own) + 1))
    assert own[-1] >= mesh.cores[0].dag.clock_round - 2
    assert ordered(mesh, 3) == ordered(mesh, 0)


def test_a_laggard_beyond_the_gc_window_syncs_rounds_and_jumps_once() -> None:
    mesh = Mesh(4, gc_depth=10)
    mesh.start()
    for now_ms in range(0, 12_000, 50):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
        mesh.is_lost = lambda *ends: 1_000 <= mesh.now_ms < 9_000 and 3 in ends[:2]
    mesh.run(14_000)
    own = [block.round for block in mesh.stored[3][0] if block.author == 3]
    jumps = [(a, b) for a, b in pairwise(own) if b != a + 1]
    assert len(jumps) == 1
    assert jumps[0][1] - jumps[0][0] > 10
    assert mesh.sent["RoundsRequest"] > 0
    assert ordered(mesh, 3) == ordered(mesh, 0)
    assert own[-1] >= mesh.cores[0].dag.clock_round - 2


@pytest.mark.parametrize("is_store_read", [True, False])
def test_a_laggard_beyond_everybodys_memory_is_served_from_their_stores(is_store_read: bool) -> None:
    mesh = Mesh(4, gc_depth=10, settings=Settings(history_blocks_max=20, answer_blocks_max=15))
    mesh.is_store_read = is_store_read
    mesh.start()
    for now_ms in range(0, 12_000, 50):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
        mesh.is_lost = lambda *ends: 1_000 <= mesh.now_ms < 9_000 and 3 in ends[:2]
    mesh.run(20_000)
    stranded = [effect for effect in mesh.effects[3] if isinstance(effect, Stranded)]
    if is_store_read:
        assert ordered(mesh, 3) == ordered(mesh, 0)
        assert mesh.cores[3].pacing.last_proposed >= mesh.cores[0].dag.clock_round - 2
        assert mesh.sent["StoredBlocks"] > 5
        assert len(mesh.cores[3].dag) < 4 * 60
        assert not stranded
        own = [block.round for block in mesh.stored[3][0] if block.author == 3]
        assert sum(b != a + 1 for a, b in pairwise(own)) == 1  # it jumped once
    else:
        assert mesh.sent["StoredBlocks"] == 0
        assert stranded[0].needed_round < stranded[0].oldest_round
        assert ordered(mesh, 3) != ordered(mesh, 0)


def test_a_node_with_a_slow_disk_takes_in_no_more_than_it_may_hold_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "UNWRITTEN_BLOCKS_MAX", 30)
    mesh = Mesh(4, gc_depth=10, settings=Settings(history_blocks_max=20))
    mesh.is_store_read = True
    mesh.start()
    most = 0
    for now_ms in range(0, 9_000, 25):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
        mesh.disk_ms = {3: 4_000} if 1_000 <= now_ms < 3_000 else {}
        most = max(most, len(mesh.cores[3].journal._blocks))
    mesh.run(14_000)
    dropped = [effect for effect in mesh.effects[3] if isinstance(effect, Dropped)]
    assert 30 < most < 30 + 40  # those that waited for the last one taken in come with it
    assert {effect.reason for effect in dropped} >= {"unwritten"}
    assert mesh.sent["StoredBlocks"] > 0
    assert ordered(mesh, 3) == ordered(mesh, 0)
    assert mesh.cores[3].pacing.last_proposed >= mesh.cores[0].dag.clock_round - 2


def test_a_newcomer_follows_from_the_first_round_out_of_stores() -> None:
    mesh = Mesh(4, observers=1, gc_depth=10, settings=Settings(history_blocks_max=1))
    mesh.is_store_read = True
    mesh.start(0, 1, 2, 3)
    mesh.down.add(4)
    for now_ms in range(0, 6_000, 50):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
    mesh.start(4)
    mesh.run(12_000)
    assert ordered(mesh, 4) == ordered(mesh, 0)


def test_a_peer_has_one_read_of_the_store_at_a_time() -> None:
    mesh = Mesh(4, gc_depth=10, settings=Settings(history_blocks_max=1))
    mesh.is_store_read = True
    mesh.start()
    for now_ms in range(0, 3_000, 50):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
    core, question = mesh.cores[0], MessageReceived(mesh.peers[1], RoundsRequest(2, 1))
    (read,) = core.handle(question, mesh.now_ms)
    assert isinstance(read, ReadStored)
    assert core.handle(question, mesh.now_ms) == [Dropped(mesh.peers[1], "asks_too_much", 1)]
    block = mesh.stored[0][0][0].encoded
    answer = core.handle(StoredRead(mesh.peers[1], (block,), 7), mesh.now_ms)
    assert answer == [Send(mesh.peers[1], StoredBlocks((block,), 7))]
    assert isinstance(core.handle(question, mesh.now_ms)[0], ReadStored)


def test_a_validator_that_lost_its_store_long_ago_hears_of_its_newest_block() -> None:
    mesh = Mesh(4, gc_depth=10, settings=Settings(history_blocks_max=1))
    mesh.start()
    for now_ms in range(0, 3_000, 50):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
        mesh.is_lost = lambda *ends: mesh.now_ms > 1_000 and 3 in ends[:2]
    core, newest = mesh.cores[0], max(b.round for b in mesh.stored[0][0] if b.author == 3)
    assert newest < core.dag.gc_round
    (answer,) = core.handle(MessageReceived(mesh.peers[3], OwnRoundRequest(5)), mesh.now_ms)
    assert isinstance(answer, Send)
    assert isinstance(answer.message, OwnRoundAnswer)
    assert mesh.verify(answer.message.block).round == newest


def test_a_block_of_a_store_that_cannot_be_kept_ends_the_reading() -> None:
    mesh = ready()
    core = mesh.cores[0]
    core.handle(MessageReceived(mesh.peers[1], Advert(600, 1, 0)), 30)
    far = [seal(mesh, 1, r, tuple(BlockRef(r - 1, a, bytes([a]) * 32) for a in (1, 2, 3))) for r in (500, 501)]
    effects = core.handle(BlocksReceived(mesh.peers[1], tuple(far), 77), 31)
    assert effects == [Dropped(mesh.peers[1], "ahead", 1)]
    later = core.handle_deadline(31 + core.settings.fetch_timeout_ms)
    assert Send(mesh.peers[1], RoundsRequest(1)) in later


def test_an_observer_follows_and_never_proposes() -> None:
    mesh = Mesh(4, observers=1)
    mesh.start()
    mesh.submit(0, b"tx")
    mesh.run(1_500)
    assert ordered(mesh, 4) == [b"tx"]
    assert not any(block.author >= 4 for block in mesh.stored[4][0])
    mesh.effects[4].clear()
    mesh.submit(4, b"mine")
    assert isinstance(mesh.effects[4][0], TransactionsRefused)


def test_an_amnesiac_proposes_above_what_peers_have_seen() -> None:
    mesh = Mesh(4)
    mesh.start()
    for now_ms in range(0, 1_000, 50):
        mesh.run(now_ms)
        mesh.submit(1, b"tx%d" % now_ms)
    old = {block.round: block.digest for block in mesh.stored[2][0] if block.author == 2}
    mesh.crash(2)
    mesh.stored[2] = ([], [])
    mesh.told[2].clear()
    mesh.start(2)
    for now_ms in range(1_000, 3_000, 50):
        mesh.run(now_ms)
        mesh.submit(1, b"tx%d" % now_ms)
    mesh.run(5_000)
    signed: dict[int, set[bytes]] = {}
    for block in mesh.stored[0][0]:
        if block.author == 2:
            signed.setdefault(block.round, set()).add(block.digest)
    assert all(len(digests) == 1 for digests in signed.values())
    assert max(signed) > max(old)
    assert ordered(mesh, 2) == ordered(mesh, 0)


def test_an_amnesiac_waits_for_answers_of_validity_stake() -> None:
    """validity = 2 for four: one answer is not enough, and nobody may answer twice or for another question."""
    mesh = Mesh(4)
    core = mesh.cores[0]
    core.start(0)
    nonce = core.amnesia.request().nonce

    def appends(peer: int, number: int) -> bool:
        return any(isinstance(e, Append) for e in core.handle(OwnRoundAnswered(mesh.peers[peer], number, None), 1))

    assert not appends(1, nonce)
    assert not appends(1, nonce)
    assert not appends(2, nonce + 1)
    assert not appends(0, nonce)
    assert appends(2, nonce)


def test_an_answer_about_own_rounds_carries_the_newest_block() -> None:
    mesh = Mesh(4)
    mesh.start()
    mesh.run(1_500)
    core = mesh.cores[0]
    newest = core.dag.slot(core.dag.latest_round[2], 2)[0].block
    effects = core.handle(MessageReceived(mesh.peers[2], OwnRoundRequest(77)), mesh.now_ms)
    assert Send(mesh.peers[2], OwnRoundAnswer(77, newest.encoded)) in effects


def test_equivocation_is_reported_once_an_author_with_a_proof() -> None:
    mesh = ready()
    one, two, three = (seal(mesh, 1, 1, genesis(mesh, 1), tx) for tx in (b"a", b"b", b"c"))
    effects = [
        e for block in (one, two, three) for e in mesh.cores[0].handle(BlocksReceived(mesh.peers[2], (block,)), 30)
    ]
    assert [e for e in effects if isinstance(e, Evidence)] == [Evidence(1, 1, evidence_of(one, two))]
    assert check_evidence_untrusted(evidence_of(one, two), mesh.committee, NETWORK) == (1, 1, mesh.peers[1])
    assert Dropped(mesh.peers[2], "twin", 1) in effects
    assert len(mesh.cores[0].dag.slot(1, 1)) == 2


def test_a_restart_hands_the_proofs_in_its_store_out_again() -> None:
    """The crash may have come between finding and reporting."""
    mesh = ready()
    one, two = (seal(mesh, 1, 1, genesis(mesh, 1), tx) for tx in (b"a", b"b"))
    effects = mesh.new_core(0).start(0, blocks=(one, two))
    assert [e for e in effects if isinstance(e, Evidence)] == [Evidence(1, 1, evidence_of(one, two))]


def test_a_third_twin_is_accepted_as_an_ancestor_of_another_block() -> None:
    mesh = ready()
    twins = [seal(mesh, 1, 1, genesis(mesh, 1), tx) for tx in (b"a", b"b", b"c")]
    others = [seal(mesh, author, 1, genesis(mesh, author)) for author in (2, 3)]
    core = mesh.cores[0]
    core.handle(BlocksReceived(mesh.peers[2], (*twins, *others)), 30)
    assert core.dag.get(twins[2].digest) is None
    child = seal(mesh, 2, 2, (others[0].ref, twins[2].ref, others[1].ref))
    core.handle(BlocksReceived(mesh.peers[2], (child,)), 31)
    asked = [e for e in core.handle_deadline(60) if isinstance(e, Send) and isinstance(e.message, BlocksRequest)]
    assert {e.peer for e in asked} == {mesh.peers[1], mesh.peers[2]}
    assert asked[0].message == BlocksRequest((twins[2].ref,))
    core.handle(BlocksReceived(mesh.peers[1], (twins[2],)), 61)
    assert core.dag.get(child.digest) is not None


def test_a_ref_that_lies_about_its_round_is_dropped() -> None:
    mesh = ready()
    first = [seal(mesh, author, 1, genesis(mesh, author)) for author in (1, 2, 3)]
    core = mesh.cores[0]
    core.handle(BlocksReceived(mesh.peers[1], tuple(first)), 30)
    second = seal(mesh, 1, 2, tuple(block.ref for block in first))
    core.handle(BlocksReceived(mesh.peers[1], (second,)), 31)
    lie = BlockRef(2, 2, first[1].digest)
    liar = seal(mesh, 1, 3, (second.ref, lie, BlockRef(2, 3, bytes(32))))
    assert Dropped(mesh.peers[1], "false_ref", 1) in core.handle(BlocksReceived(mesh.peers[1], (liar,)), 32)


def test_blocks_too_far_ahead_are_dropped_and_rounds_asked_for() -> None:
    mesh = ready()
    far = seal(mesh, 1, 500, tuple(BlockRef(499, a, bytes([a]) * 32) for a in (1, 2, 3)))
    effects = mesh.cores[0].handle(BlocksReceived(mesh.peers[1], (far,)), 30)
    assert effects == [Dropped(mesh.peers[1], "ahead", 1), Send(mesh.peers[1], RoundsRequest(1))]
    assert mesh.cores[0].handle(BlocksReceived(mesh.peers[1], (far,)), 31) == [Dropped(mesh.peers[1], "ahead", 1)]


def test_suspended_blocks_of_one_author_are_bounded() -> None:
    mesh = Mesh(4, settings=Settings(suspended_per_author_max=3))
    mesh.start()
    core = mesh.cores[0]
    for round_ in range(2, 12):
        block = seal(mesh, 1, round_, tuple(BlockRef(round_ - 1, a, bytes([a, round_]) * 16) for a in (1, 2, 3)))
        core.handle(BlocksReceived(mesh.peers[1], (block,)), 1)
    assert len(core.suspended) == 3
    assert len(core.suspended.wanted) == 9


def test_answers_are_bounded_and_only_stored_blocks_are_served() -> None:
    mesh = Mesh(4, settings=Settings(answer_blocks_max=5))
    mesh.start()
    mesh.run(6_000)
    core = mesh.cores[0]
    (effect,) = core.handle(MessageReceived(mesh.peers[1], RoundsRequest(2)), mesh.now_ms)
    assert isinstance(effect, Send)
    assert isinstance(effect.message, Blocks)
    assert [mesh.verify(data).round for data in effect.message.blocks] == [2, 2, 2, 2, 3]
    unknown = BlocksRequest((BlockRef(3, 1, bytes(32)),))
    assert core.handle(MessageReceived(mesh.peers[1], unknown), mesh.now_ms) == []


def test_a_peer_that_asks_without_end_is_not_answered_for_a_while() -> None:
    mesh = Mesh(4, settings=Settings(answer_bytes_per_s=1 << 20))
    mesh.start()
    mesh.submit(0, *(bytes([n]) * 100_000 for n in range(40)))
    mesh.run(2_000)
    core, question = mesh.cores[0], MessageReceived(mesh.peers[1], RoundsRequest(1))

    def answered(now_ms: int) -> int:
        effects = [effect for _ in range(200) for effect in core.handle(question, now_ms)]
        assert Dropped(mesh.peers[1], "asks_too_much", 1) in effects
        return sum(
            len(data)
            for e in effects
            if isinstance(e, Send) and isinstance(e.message, Blocks)
            for data in e.message.blocks
        )

    bucket, one_answer = ANSWERS_AHEAD * core.settings.answer_bytes_max, core.settings.answer_bytes_max
    assert bucket <= answered(mesh.now_ms) <= bucket + one_answer
    assert answered(mesh.now_ms + 3_000) <= (3 << 20) + one_answer
    other = core.handle(MessageReceived(mesh.peers[2], RoundsRequest(1)), mesh.now_ms + 3_000)
    assert any(isinstance(e, Send) and isinstance(e.message, Blocks) for e in other)


def test_an_unwritten_own_block_is_not_served() -> None:
    core = Mesh(1).cores[0]
    append = next(e for e in core.start(0) if isinstance(e, Append))
    ask = MessageReceived(Mesh(1).peers[0], BlocksRequest((append.blocks[0].ref,)))
    assert core.handle(ask, 1) == []
    core.handle(Appended(append.token), 2)
    assert [type(e) for e in core.handle(ask, 3)] == [Send]


def test_a_peer_that_is_behind_gets_our_blocks_and_one_that_is_ahead_is_asked() -> None:
    mesh = Mesh(4)
    mesh.start()
    mesh.run(5_000)
    core, clock_round = mesh.cores[0], mesh.cores[0].dag.clock_round
    (push,) = core.handle(MessageReceived(mesh.peers[1], Advert(2, 1, 0)), mesh.now_ms)
    assert isinstance(push, Send)
    assert isinstance(push.message, Blocks)
    assert [(b.author, b.round) for b in map(mesh.verify, push.message.blocks)] == [
        (0, r) for r in range(1, core.pacing.last_proposed + 1)
    ]
    again = MessageReceived(mesh.peers[1], Advert(2, 1, 0))
    assert core.handle(again, mesh.now_ms) == []  # adverts on a slow link come in crowds
    assert push in core.handle(again, mesh.now_ms + mesh.settings.backoff_ms_max)
    ahead = core.handle(MessageReceived(mesh.peers[1], Advert(clock_round + 1, 1, 0)), mesh.now_ms)
    assert Send(mesh.peers[1], RoundsRequest(clock_round - 1)) in ahead
    other = core.handle(MessageReceived(mesh.peers[2], Advert(clock_round + 90, clock_round + 30, 0)), mesh.now_ms)
    assert other == []  # it no longer has what we would need


def test_a_node_that_is_far_behind_does_not_propose_until_it_has_caught_up() -> None:
    """One author far ahead may lie; two of four hold validity stake."""

    def proposes(authors_ahead: tuple[int, ...]) -> bool:
        mesh = ready()
        core = mesh.cores[0]
        for author in authors_ahead:
            refs = tuple(BlockRef(499, a, bytes([a]) * 32) for a in (author, *({1, 2, 3} - {author})))
            core.handle(BlocksReceived(mesh.peers[author], (seal(mesh, author, 500, refs),)), 30)
        blocks = tuple(seal(mesh, author, 1, genesis(mesh, author), b"tx") for author in (1, 2, 3))
        effects = core.handle(BlocksReceived(mesh.peers[1], blocks), 3_000)
        return any(isinstance(e, Append) and e.blocks[-1].ref.author == 0 for e in effects)

    assert proposes((1,))
    assert not proposes((1, 2))


def test_an_ordered_equivocation_changes_the_leaders_of_all_later_rounds() -> None:
    """D1 and D1' are both in the history of D3, the leader of round 3. From round 4 on the turn is A B C, also for the
    slots that were decided at the same moment under the old turn: B4 and C5 instead of A4 and B5.
    """
    mesh = Mesh(4, observers=1)
    below = {author: seal(mesh, author, 1, genesis(mesh, author)) for author in range(4)}
    twin = seal(mesh, 3, 1, genesis(mesh, 3), b"twin")
    blocks = [*below.values(), twin]
    for round_ in range(2, 9):
        layer = {}
        for author in range(4):
            parents = {**below, 3: twin} if round_ == 2 and author in (0, 2) else below
            refs = (parents[author].ref, *(parents[a].ref for a in range(4) if a != author))
            layer[author] = seal(mesh, author, round_, refs)
        blocks += layer.values()
        below = layer
    observer = mesh.cores[4]
    observer.start(0)
    (append,) = observer.handle(BlocksReceived(mesh.peers[1], tuple(blocks)), 1)[-1:]
    assert isinstance(append, Append)
    assert [(c.leader.round, c.leader.author) for c in append.commits] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 1),
        (5, 2),
        (6, 0),
    ]
    assert [c.demoted for c in append.commits] == [(), (), (3,), (3,), (3,), (3,)]


def test_our_signature_on_another_block_of_an_own_slot_stops_the_node() -> None:
    mesh = ready()
    twin = seal(mesh, 0, 1, genesis(mesh, 0), b"not mine")
    with pytest.raises(InvariantBroken, match="carry our signature in round 1"):
        mesh.cores[0].handle(BlocksReceived(mesh.peers[1], (twin,)), 30)


def forgetful(mesh: Mesh) -> tuple[Consensus, VerifiedBlock, VerifiedBlock]:
    """Validator 0 in its second life, with an empty store: its core, which has just signed a block of round 1 that is
    not written yet, and the one of its first life that nobody who was asked had known.
    """
    core = mesh.cores[0] = mesh.new_core(0, incarnation=1)
    (asked,) = [e.message for e in core.start(40, is_store_trusted=False) if isinstance(e, Broadcast)][-1:]
    assert isinstance(asked, OwnRoundRequest)
    core.handle(TransactionsSubmitted((b"mine",)), 40)
    for author in (1, 2):
        answered = core.handle(OwnRoundAnswered(mesh.peers[author], asked.nonce, None), 40)
    (append,) = [effect for effect in answered if isinstance(effect, Append)]
    assert append.blocks[-1].transactions == (b"mine",)
    return core, append.blocks[-1], seal(mesh, 0, 1, genesis(mesh, 0), b"of the first life")


def test_an_unsent_block_gives_way_to_one_of_an_earlier_life() -> None:
    mesh = ready()
    core, second, first = forgetful(mesh)
    others = tuple(seal(mesh, author, 1, genesis(mesh, author)) for author in (1, 2))
    effects = core.handle(BlocksReceived(mesh.peers[1], (first, *others)), 50)
    effects += core.handle(Appended(1), 60)
    for now_ms in range(70, 3_000, 10):
        effects += core.handle_deadline(now_ms)
    effects += core.handle(MessageReceived(mesh.peers[1], RoundsRequest(1)), 3_000)
    effects += core.handle(MessageReceived(mesh.peers[1], Advert(1, 1, 0)), 3_000)
    assert not any(isinstance(effect, Evidence) for effect in effects)
    shown = [e.message for e in effects if isinstance(e, Broadcast | Send) and isinstance(e.message, Blocks)]
    assert not any(second.encoded in message.blocks for message in shown)
    assert any(first.encoded in message.blocks for message in shown)
    third = next(e for e in effects if isinstance(e, Append)).blocks[-1]
    assert third.header.ancestors[0] == first.ref
    assert third.transactions == (b"mine",)


def test_a_block_of_an_earlier_life_that_turns_up_late_stops_nobody() -> None:
    mesh = ready()
    core, second, first = forgetful(mesh)
    effects = core.handle(Appended(1), 50)
    assert Broadcast(Blocks((second.encoded,))) in effects
    others = tuple(seal(mesh, author, 1, genesis(mesh, author)) for author in (1, 2))
    effects = core.handle(BlocksReceived(mesh.peers[1], others), 3_000)
    (append,) = [effect for effect in effects if isinstance(effect, Append)]
    assert append.blocks[-1].header.ancestors[0] == second.ref
    assert core.handle(BlocksReceived(mesh.peers[1], (first,)), 3_000) == []
    assert core.own_last == append.blocks[-1].ref
    asked = core.handle(MessageReceived(mesh.peers[1], BlocksRequest((second.ref,))), 3_000)
    assert asked == [Send(mesh.peers[1], Blocks((second.encoded,)))]


def test_two_own_blocks_of_a_round_in_the_store_are_no_reason_to_stop_in_the_next_life() -> None:
    mesh = ready()
    _, second, first = forgetful(mesh)
    third_life = mesh.new_core(0, incarnation=2)
    third_life.start(100, blocks=(second, first))
    assert third_life.own_last == first.ref
    assert third_life.pool.bytes == len(b"mine") + len(b"of the first life")


def test_while_the_guard_asks_the_newest_own_block_is_not_repeated() -> None:
    mesh = ready()
    _, second, _ = forgetful(mesh)
    third_life = mesh.new_core(0, incarnation=2)
    effects = third_life.start(100, blocks=(second,), is_store_trusted=False)
    for now_ms in range(110, 6_000, 10):
        effects += third_life.handle_deadline(now_ms)
    effects += third_life.handle(MessageReceived(mesh.peers[1], Advert(1, 1, 0)), 6_000)
    effects += third_life.handle(PeerConnected(mesh.peers[2]), 6_000)
    assert not any(isinstance(e, Broadcast | Send) and isinstance(e.message, Blocks) for e in effects)


def test_a_commit_that_validity_stake_contradicts_stops_the_node() -> None:
    mesh = Mesh(4)
    mesh.start()
    mesh.run(6_000)
    core, wrong = mesh.cores[0], (CommitVote(1, bytes(32)),)
    round_ = core.dag.clock_round - 1
    parents = [core.dag.slot(round_, a)[0].block.ref for a in range(4)]
    refs = [(parents[a], *(p for p in parents if p.author != a)) for a in (1, 2)]
    blocks = [seal(mesh, a, round_ + 1, refs[a - 1], commit_votes=wrong) for a in (1, 2)]
    core.handle(BlocksReceived(mesh.peers[1], (blocks[0],)), mesh.now_ms)
    with pytest.raises(InvariantBroken, match=r"authors \[1, 2\] committed 00000000 at 1"):
        core.handle(BlocksReceived(mesh.peers[1], (blocks[1],)), mesh.now_ms)


def test_transactions_in_blocks_that_are_collected_unordered_are_proposed_again() -> None:
    mesh = Mesh(4, gc_depth=10)
    mesh.start()
    mesh.run(100)
    mesh.is_lost = lambda *ends: mesh.now_ms < 4_000 and 3 in ends[:2]
    mesh.submit(3, b"stranded")
    for now_ms in range(100, 8_000, 50):
        mesh.run(now_ms)
        mesh.submit(0, b"tx%d" % now_ms)
    mesh.run(9_000)
    assert ordered(mesh, 0).count(b"stranded") == 1


def test_a_deadline_called_early_changes_nothing() -> None:
    mesh = ready()
    core = mesh.cores[0]
    deadline_ms = core.deadline_ms()
    assert core.handle_deadline(mesh.now_ms) == []
    assert core.deadline_ms() == deadline_ms


def test_the_same_events_give_the_same_effects() -> None:
    def run() -> list[str]:
        mesh = Mesh(4)
        random = derive_random(5, "same")
        mesh.is_lost = lambda *_: random.random() < 0.2
        mesh.start()
        mesh.submit(0, b"a")
        mesh.run(3_000)
        return [repr(effect) for effects in mesh.effects for effect in effects]

    assert run() == run()


def test_wrong_construction_is_a_local_error() -> None:
    mesh = Mesh(4)
    random = derive_random(1)
    for author, sign in ((0, None), (None, mesh.keys[0].sign), (4, mesh.keys[0].sign)):
        with pytest.raises(LocalError):
            Consensus(Settings(), mesh.committee, NETWORK, author=author, sign=sign, random=random)
    with pytest.raises(InvariantBroken, match="start"):
        mesh.cores[0].handle(TransactionsSubmitted((b"a",)), 0)
