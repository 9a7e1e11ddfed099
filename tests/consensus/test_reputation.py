"""Points for votes, and who is benched."""

from synaptic_mesh.consensus.block import Header
from synaptic_mesh.consensus.drawing import Drawing, dag, drawn_committee
from synaptic_mesh.consensus.reputation import Reputation


def headers(drawing: Drawing, *names: str) -> list[Header]:
    return [drawing[name].block.header for name in names]


def test_a_vote_for_a_committed_leader_is_a_point() -> None:
    drawing = dag("A1:[*]; B1:[*]; C1:[*]; D1:[*]; A2:[*]; B2:[*]; C2:[* -B1]; D3:[D1 B1 A2]")
    reputation = Reputation(drawing.committee)
    reputation.note(drawing["B1"].block.ref, headers(drawing, "B1", "A1"), 0)
    reputation.note(drawing["A2"].block.ref, headers(drawing, "A2", "B2", "C2"), 0)
    assert reputation.points == [1, 1, 0, 0]  # C blamed
    reputation.note(drawing["D3"].block.ref, headers(drawing, "D3"), 0)
    assert reputation.points == [1, 1, 0, 1]  # D names A2, of the round before
    drawing.draw("B3:[B2 B1 C2]")
    reputation.note(drawing["B3"].block.ref, headers(drawing, "B3"), 0)
    assert reputation.points == [1, 1, 0, 1]  # B1 is a committed leader, but two rounds below


def test_a_point_needs_no_block_that_is_pruned_only_the_ref() -> None:
    drawing = dag("A1:[*]; B1:[*]; C1:[*]; D1:[*]; A2:[*]; B2:[*]; C2:[*]")
    reputation = Reputation(drawing.committee)
    reputation.note(drawing["B1"].block.ref, [], 0)
    reputation.note(drawing["C2"].block.ref, [], 1)
    reputation.note(drawing["C2"].block.ref, headers(drawing, "A2"), 2)
    assert reputation.points[0] == 1
    reputation.note(drawing["C2"].block.ref, headers(drawing, "B2"), 2)
    assert reputation.points[1] == 0  # B1 is below the bound now


def test_the_worst_within_f_stake_give_way_to_the_best() -> None:
    reputation = Reputation(drawn_committee((1,) * 7))
    reputation.points = [9, 10, 0, 10, 3, 8, 1]
    assert reputation.choose(()) == ((2, 6), (1, 3))
    assert reputation.points == [0] * 7
    reputation.points = [9, 10, 0, 10, 3, 8, 1]
    assert reputation.choose((2,)) == ((6,), (1,))  # the demoted one counts against f and is not benched again


def test_small_differences_bench_nobody() -> None:
    reputation = Reputation(drawn_committee((1,) * 4))
    reputation.points = [100, 99, 80, 75]
    assert reputation.choose(()) == ((), ())
    reputation.points = [100, 99, 80, 74]
    assert reputation.choose(()) == ((3,), (0,))


def test_stake_bounds_the_bench_not_heads() -> None:
    reputation = Reputation(drawn_committee((5, 1, 1, 1)))
    reputation.points = [0, 10, 10, 10]
    assert reputation.choose(()) == ((), ())  # S = 8, f = 2: the heavy one cannot be benched
