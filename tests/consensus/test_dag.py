"""Accepting, twins, the threshold clock and pruning."""

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.consensus.drawing import dag


def full(*rounds: int, authors: str = "ABCD") -> str:
    return "; ".join(f"{author}{round_}:[*]" for round_ in rounds for author in authors)


def test_the_clock_opens_a_round_when_a_quorum_has_blocks_in_the_one_before() -> None:
    drawing = dag("A1:[*]; B1:[*]")
    assert drawing.dag.clock_round == 1
    drawing.draw("C1:[*]")
    assert drawing.dag.clock_round == 2


def test_twins_count_once_for_the_clock_and_are_kept_in_order_of_arrival() -> None:
    drawing = dag("A1:[*]; B1:[*]; B1':[*]")
    assert drawing.dag.clock_round == 1
    assert drawing.dag.slot(1, 1) == [drawing["B1"], drawing["B1'"]]
    assert drawing.dag.round_stake(1) == 2


def test_stake_moves_the_clock() -> None:
    drawing = dag("A1:[*]; B1:[*]", stakes=(5, 1, 1, 1))
    assert drawing.dag.clock_round == 2


def test_missing_names_ancestors_above_the_gc_round() -> None:
    drawing = dag(f"{full(1, 2)}; C3:[*]")
    block = drawing["C3"].block
    other = dag(full(1))
    assert other.dag.missing(block) == list(block.header.ancestors)
    other.dag.prune(2)
    assert other.dag.missing(block) == []


def test_a_block_is_not_accepted_before_its_ancestors() -> None:
    drawing = dag(full(1, 2))
    with pytest.raises(InvariantBroken, match="without ancestor"):
        dag("").dag.insert(drawing["A2"].block)


def test_supporters_are_the_authors_of_the_next_round() -> None:
    drawing = dag(f"{full(1)}; A2:[*]; B2:[*]; B2':[* -A1 A1]; C3:[C1 A2 B2 D1]")
    assert drawing["A1"].supporters == 0b0011
    assert drawing["C1"].supporters == 0b0011  # C3 is two rounds above: an ancestor, not a vote
    assert 2 not in drawing["C3"].links


def test_first_below_finds_the_newest_first_twin_in_a_range() -> None:
    drawing = dag(f"{full(1)}; B2:[*]; B2':[*]; A2:[*]; C2:[*]; A3:[*]")
    assert drawing.dag.first_below(1, 9, 0) is drawing["B2"]
    assert drawing.dag.first_below(1, 2, 0) is drawing["B1"]
    assert drawing.dag.first_below(1, 9, 2) is None
    assert drawing.dag.first_below(3, 3, 0) is drawing["D1"]


def test_prune_forgets_and_lets_the_chain_of_objects_go() -> None:
    drawing = dag(full(1, 2, 3))
    removed = drawing.dag.prune(2)
    assert [vertex.round for vertex in removed] == [1] * 4 + [2] * 4
    assert len(drawing.dag) == 4
    assert drawing.dag.get(drawing["A2"].digest) is None
    assert drawing["A2"].parents == []
    assert drawing.dag.slot(1, 0) == []
    assert drawing.dag.first_below(0, 3, 0) is None
