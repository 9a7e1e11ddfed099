"""The checker must notice every kind of broken promise: each test breaks one."""

from dataclasses import dataclass, field

import msgspec
import pytest

from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.linearizer import commit_digest, first_previous
from synaptic_mesh.consensus.messages import Commit, Committed
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.sim.checker import Checker, CheckFailed

NETWORK = bytes(32)
KEY = KeyPair(bytes(32))


def block(round_: int, author: int, ancestors: tuple[BlockRef, ...] = (), payload: bytes = b"tx") -> VerifiedBlock:
    return seal_block(
        KEY.sign,
        network=NETWORK,
        epoch=1,
        round_=round_,
        author=author,
        incarnation=1,
        timestamp_ms=0,
        ancestors=ancestors or (genesis_ref(NETWORK, 1, author),),
        transactions=(payload,),
    )


def said(before: Committed | None, *blocks: VerifiedBlock, **changes: object) -> Committed:
    """The commit after `before` that orders `blocks`, the last of them its leader."""
    commit = Commit(
        index=before.commit.index + 1 if before else 1,
        previous=before.digest if before else first_previous(NETWORK, 1),
        leader=blocks[-1].ref,
        timestamp_ms=10,
        gc_round=0,
        blocks=tuple(b.ref for b in blocks),
        demoted=(),
    )
    commit = msgspec.structs.replace(commit, **changes)
    return Committed(commit, commit_digest(commit), blocks, True)


@dataclass
class Story:
    """Two commits: A orders a1; B orders a2, which stands on a1."""

    checker: Checker = field(default_factory=lambda: Checker(3, (0, 1)))
    a1: VerifiedBlock = field(default_factory=lambda: block(1, 0))

    def __post_init__(self) -> None:
        self.a2 = block(2, 0, (self.a1.ref,), b"tx of a2")
        self.first = said(None, self.a1)
        self.second = said(self.first, self.a2)


def test_equal_logs_and_replays_pass() -> None:
    story = Story()
    for node in (0, 1):
        story.checker.committed(node, story.first, True)
        story.checker.committed(node, story.second, True)
    story.checker.committed(1, story.first, True)  # after a restart
    story.checker.finish()
    assert [story.checker.commit_count(node) for node in (0, 1, 2)] == [2, 2, 0]
    assert story.checker.replayed_count == 1


def test_a_fork_is_noticed() -> None:
    story = Story()
    story.checker.committed(0, story.first, True)
    with pytest.raises(CheckFailed, match="fork: node 1 commits #1"):
        story.checker.committed(1, said(None, block(1, 1)), True)


def test_a_different_replay_is_noticed() -> None:
    story = Story()
    story.checker.committed(0, story.first, True)
    with pytest.raises(CheckFailed, match="replays another commit 1"):
        story.checker.committed(0, said(None, block(1, 1)), True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": 3}, "was told commit 3 after commit 1"),
        ({"previous": bytes(32)}, "does not name the digest"),
        ({"timestamp_ms": 9}, "commit time goes back"),
        ({"gc_round": -1}, "the GC bound goes back"),
        ({"leader": genesis_ref(NETWORK, 1, 2)}, "does not order its leader"),
        ({"blocks": ()}, "does not order its leader"),
    ],
)
def test_a_broken_chain_is_noticed(changes: dict[str, object], message: str) -> None:
    story = Story()
    story.checker.committed(0, story.first, True)
    with pytest.raises(CheckFailed, match=message):
        story.checker.committed(0, said(story.first, story.a2, **changes), True)


def test_blocks_that_do_not_match_the_commit_are_noticed() -> None:
    story = Story()
    wrong = msgspec.structs.replace(story.first, blocks=(story.a2,))
    with pytest.raises(CheckFailed, match="blocks do not match"):
        story.checker.committed(0, wrong, True)


def test_a_block_ordered_twice_is_noticed() -> None:
    story = Story()
    story.checker.committed(0, story.first, True)
    with pytest.raises(CheckFailed, match="a second time"):
        story.checker.committed(0, said(story.first, story.a1, story.a2), True)


def test_a_block_without_its_ancestor_is_noticed_unless_it_is_below_the_gc_bound() -> None:
    story = Story()
    with pytest.raises(CheckFailed, match="before its ancestor of round 1"):
        story.checker.committed(0, said(None, story.a2), True)
    story, other = Story(), block(1, 1)
    orphan = block(2, 1, (other.ref,), b"tx of an orphan")
    first = said(None, story.a1, gc_round=1)
    story.checker.committed(0, first, True)
    story.checker.committed(0, said(first, orphan, gc_round=1), True)  # its ancestor of round 1 is never ordered
    with pytest.raises(CheckFailed, match="at or below the GC bound 1"):
        story.checker.committed(0, said(story.checker.order[-1], other, gc_round=1), True)


def test_what_is_told_or_sent_before_it_is_durable_is_noticed() -> None:
    story = Story()
    with pytest.raises(CheckFailed, match="told commit 1 before it was durable"):
        story.checker.committed(0, story.first, False)
    with pytest.raises(CheckFailed, match="sends its block of round 1 before it is durable"):
        story.checker.sent_own_block(0, story.a1, False)


def test_an_honest_node_with_two_blocks_in_a_round_is_noticed() -> None:
    story = Story()
    story.checker.sent_own_block(0, story.a1, True)
    story.checker.sent_own_block(0, story.a1, True)  # sending one block again is fine
    with pytest.raises(CheckFailed, match="two different blocks of round 1"):
        story.checker.sent_own_block(0, block(1, 0, payload=b"other"), True)


def test_a_promise_that_was_called_in_must_be_kept() -> None:
    story = Story()
    story.checker.promised(0, (b"tx",))
    story.checker.call_in_promises()
    story.checker.promised(0, (b"later",))  # not called in
    assert not story.checker.is_settled()
    with pytest.raises(CheckFailed, match="1 transactions in durable blocks or pools were never ordered"):
        story.checker.finish()
    story.checker.committed(0, story.first, True)
    assert story.checker.is_settled()
    story.checker.finish()


def test_what_waits_at_a_node_that_stays_up_is_owed_and_a_restart_or_a_refusal_ends_that() -> None:
    for is_refused in (False, True):
        checker = Story().checker
        checker.submitted(0, (b"tx",))
        if is_refused:
            checker.refused(0, (b"tx",))
        else:
            checker.started(0, set())
        checker.call_in_promises()
        assert checker.is_settled()
    checker = Story().checker
    checker.submitted(0, (b"tx",))
    checker.call_in_promises()
    with pytest.raises(CheckFailed, match="1 transactions in durable blocks or pools"):
        checker.finish()


def test_a_commit_that_one_was_told_is_owed_to_all() -> None:
    story = Story()
    story.checker.committed(0, story.first, True)
    story.checker.call_in_commits()
    assert not story.checker.is_settled()
    with pytest.raises(CheckFailed, match="node 1 was told 0 of 1 commits"):
        story.checker.finish()
    story.checker.committed(1, story.first, True)
    story.checker.finish()


def test_a_transaction_that_is_ordered_twice_is_noticed() -> None:
    story = Story()
    story.checker.committed(0, story.first, True)
    with pytest.raises(CheckFailed, match="orders b'tx' a second time"):
        story.checker.committed(0, said(story.first, block(1, 1, payload=b"tx"), story.a2), True)
    story = Story()
    story.checker.committed(0, story.first, True)
    story.checker.committed(0, said(story.first, block(1, 2, payload=b"tx"), story.a2), True)  # 2 is no honest node


def test_a_restart_without_a_sent_block_is_noticed_and_a_forgetful_node_is_forgiven_where_nobody_could_know() -> None:
    story = Story()
    story.checker.sent_own_block(0, story.a1, True)
    assert story.checker.started(0, {story.a1.digest}) == []
    with pytest.raises(CheckFailed, match="node 0 restarts without its block of round 1"):
        story.checker.started(0, set())
    checker = Checker(3, (0, 1), forgetful=(0,))
    checker.sent_own_block(0, story.a1, True)
    assert checker.started(0, set()) == [(1, story.a1.digest)]
    assert checker.forgotten_count == 1
    checker.protect(0, 1)
    with pytest.raises(CheckFailed, match="two different blocks of round 1"):
        checker.sent_own_block(0, block(1, 0, payload=b"other"), True)
    checker = Checker(3, (0, 1), forgetful=(0,))
    checker.sent_own_block(0, story.a1, True)
    checker.started(0, set())
    checker.sent_own_block(0, block(1, 0, payload=b"other"), True)
    assert checker.excused == {0}
    for payload in (b"", b"other"):  # both have been sent, so both may be passed on when they come back
        checker.sent_own_block(0, block(1, 0, payload=payload) if payload else story.a1, False)
