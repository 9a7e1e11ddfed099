"""One write in flight, nothing released before it is stable, batches instead of queues."""

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.drawing import dag
from synaptic_mesh.consensus.journal import GATHERED_BLOCKS_MAX, Journal
from synaptic_mesh.consensus.messages import Append, Blocks, Broadcast, Commit, Committed


def blocks(count: int) -> list[VerifiedBlock]:
    drawing = dag("; ".join(f"{a}{r}:[*]" for r in range(1, count // 4 + 2) for a in "ABCD"))
    return [vertex.block for vertex in drawing.vertices.values()][:count]


def commit(block: VerifiedBlock) -> Committed:
    value = Commit(1, bytes(32), block.ref, 0, 0, (block.ref,), ())
    return Committed(value, bytes(32), (block,), True)  # type: ignore[arg-type]


def test_accepted_blocks_wait_for_something_worth_a_write() -> None:
    journal = Journal()
    many = blocks(GATHERED_BLOCKS_MAX)
    for block in many[:-1]:
        journal.add_block(block)
    assert journal.flush() is None
    journal.add_block(many[-1])
    assert journal.flush() == Append(1, tuple(many), ())


def test_the_own_block_and_commits_are_released_by_their_own_write_only() -> None:
    journal = Journal()
    one, two, three = blocks(3)
    journal.add_block(one)
    journal.add_commit(commit(one))
    assert journal.flush() == Append(1, (one,), (commit(one).commit,))
    journal.add_block(two)
    journal.add_own(two)
    assert journal.is_own_unwritten(two.digest)
    assert journal.flush() is None
    assert journal.appended(1) == [commit(one)]
    assert journal.has_own
    assert journal.flush() == Append(2, (two,), ())
    assert journal.appended(2) == [Broadcast(Blocks((two.encoded,)))]
    assert not journal.has_own
    assert not journal.is_own_unwritten(three.digest)


def test_a_token_that_is_not_in_flight_stops_the_machine() -> None:
    journal = Journal()
    with pytest.raises(InvariantBroken, match="token 1"):
        journal.appended(1)
    journal.add_own(blocks(1)[0])
    journal.flush()
    with pytest.raises(InvariantBroken, match="token 7 came back, not 1"):
        journal.appended(7)


def test_no_second_own_block_before_the_first_is_written() -> None:
    journal = Journal()
    one, two = blocks(2)
    journal.add_own(one)
    with pytest.raises(InvariantBroken, match="is not written"):
        journal.add_own(two)
