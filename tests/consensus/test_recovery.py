"""Stored commits must be what the stored blocks lead to."""

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.consensus.drawing import dag
from synaptic_mesh.consensus.messages import Commit, Committed
from synaptic_mesh.consensus.recovery import check_commits

REF = dag("A1:[*]")["A1"].block.ref


def commits(count: int, timestamp_ms: int = 0) -> list[Commit]:
    return [Commit(index, bytes(32), REF, timestamp_ms, 0, (REF,), ()) for index in range(1, count + 1)]


def recomputed(count: int) -> list[Committed]:
    return [Committed(commit, Digest(bytes(32)), (), True) for commit in commits(count)]


def test_commits_split_into_executed_to_hand_out_and_to_write() -> None:
    again = recomputed(5)
    assert check_commits(again, commits(4), 2) == (again[2:4], again[4:])
    assert check_commits(again, commits(5), 5) == ([], [])
    assert check_commits([], [], 0) == ([], [])


@pytest.mark.parametrize(
    ("count", "stored", "executed", "message"),
    [
        (3, commits(4), 0, "lead to 3 commits, but commit 4"),
        (3, [*commits(1), *commits(2, timestamp_ms=9)[1:]], 0, "stored commit 2"),
        (3, commits(2), 3, "commit 3 is executed, but only 2"),
    ],
)
def test_a_store_that_contradicts_itself_stops_the_node(
    count: int, stored: list[Commit], executed: int, message: str
) -> None:
    with pytest.raises(InvariantBroken, match=message):
        check_commits(recomputed(count), stored, executed)
