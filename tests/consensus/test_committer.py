"""Drawn vectors for the commit rule, each decided twice: by definition (`committer`) and by cached counts (`tally`).

With four validators of stake 1: q = 3, f = 1, and the leaders of rounds 1..7 are B C D A B C D.
"""

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.consensus.committer import Decision, Verdict, decide_all, decided_prefix, reach, support
from synaptic_mesh.consensus.dag import Vertex
from synaptic_mesh.consensus.drawing import Drawing, dag, show_decisions
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.tally import Committer


def full(*rounds: int, authors: str = "ABCD") -> str:
    """Rounds in which every author references every first twin."""
    return "; ".join(f"{author}{round_}:[*]" for round_ in rounds for author in authors)


def by_definition(drawing: Drawing) -> list[Decision]:
    schedule = LeaderSchedule(drawing.committee)
    return decide_all(drawing.dag, drawing.rules, schedule.leaders, 0)


def by_tally(drawing: Drawing) -> list[Decision]:
    """The decided prefix as the core sees it, from blocks noted one by one."""
    committer = Committer(drawing.dag, drawing.rules, LeaderSchedule(drawing.committee))
    for vertex in drawing.vertices.values():
        committer.note(vertex)
    decisions = []
    while (decision := committer.next_decision()) is not None:
        committer.advance()
        decisions.append(decision)
    return decisions


def assert_decides(drawing: Drawing, first: str) -> None:
    """The first decision is this one, and both ways agree on the whole prefix."""
    decisions = by_definition(drawing)
    assert show_decisions(decisions[:1]) == first
    assert show_decisions(by_tally(drawing)) == show_decisions(decided_prefix(decisions))


# B1 has votes of A2, B2, C2 and a blame of D2; B3 alone holds three votes and certifies.
ONE_CERTIFICATE = f"""
    {full(1)}; A2:[*]; B2:[*]; C2:[*]; D2:[* -B1]
    A3:[A2 B2 D2]; B3:[A2 B2 C2]; C3:[A2 C2 D2]; D3:[B2 C2 D2]
"""


def test_a_leader_certified_by_a_quorum_commits() -> None:
    assert_decides(dag(full(1, 2, 3)), "B1 commit direct")


def test_three_certificates_are_enough() -> None:
    assert_decides(dag(f"{full(1, 2)}; A3:[*]; B3:[*]; C3:[*]"), "B1 commit direct")


def test_two_certificates_are_not_enough() -> None:
    assert_decides(dag(f"{full(1, 2)}; A3:[*]; B3:[*]"), "B1 undecided")


def test_three_votes_make_a_certificate() -> None:
    drawing = f"{full(1)}; A2:[*]; B2:[*]; C2:[*]; D2:[* -B1]; A3:[A2 B2 C2]; B3:[A2 B2 C2]; C3:[*]"
    assert_decides(dag(drawing), "B1 commit direct")


def test_two_votes_make_none() -> None:
    votes = f"{full(1)}; A2:[*]; B2:[*]; C2:[* -B1]; D2:[* -B1]"
    assert_decides(dag(f"{votes}; {full(3)}"), "B1 undecided")


def test_three_blames_skip() -> None:
    assert_decides(dag(f"{full(1)}; A2:[* -B1]; C2:[* -B1]; D2:[* -B1]"), "B1 skip direct")


def test_two_blames_do_not_skip() -> None:
    assert_decides(dag(f"{full(1)}; A2:[* -B1]; C2:[* -B1]; D2:[*]; B2:[*]"), "B1 undecided")


def test_an_older_block_of_the_leader_is_no_vote() -> None:
    """B has blocks in round 1 and none in 5, where it leads: references to B1 from round 6 are blames."""
    text = f"{full(1)}; A2:[*]; C2:[*]; D2:[*]; {full(3, 4, 5, authors='ACD')}; A6:[* B1]; C6:[* B1]; D6:[*]"
    assert show_decisions([d for d in by_definition(dag(text)) if d.round == 5]) == "B5 skip direct"


def test_blame_counts_authors_not_blocks() -> None:
    drawing = dag(f"{full(1)}; A2:[* -B1]; C2:[* -B1]; C2':[* -B1]; D2:[*]")
    assert drawing["C2"].digest != drawing["C2'"].digest
    assert_decides(drawing, "B1 undecided")


def test_certificates_count_authors_not_blocks() -> None:
    assert_decides(dag(f"{full(1, 2)}; A3:[*]; B3:[*]; B3':[*]"), "B1 undecided")


def test_an_equivocator_counts_once_on_each_side() -> None:
    """D2 votes, D2' blames; with A and C blaming too that skips although only two honest blames exist."""
    text = f"{full(1)}; A2:[* -B1]; C2:[* -B1]; D2:[*]; D2':[A1 C1 D1]"
    assert_decides(dag(text), "B1 skip direct")


def test_blame_is_per_slot_not_per_proposal() -> None:
    """n7_equivocating_leader_per_proposal_blame. q = 5: two vote for B1, two for B1', three for neither.

    Per proposal each twin is unsupported by five and the slot would be skipped; we count blames of the slot: three.
    """
    text = (
        full(1, authors="ABCDEFG") + "; B1':[B0 A0 C0 D0 E0 F0 G0];"
        "A2:[*]; C2:[*]; D2:[* B1']; E2:[* B1']; F2:[* -B1]; G2:[* -B1]; B2:[B0 A1 C1 D1 E1 F1 G1]"
    )
    assert_decides(dag(text, size=7), "B1 undecided")


def test_the_certified_twin_commits() -> None:
    text = f"{full(1)}; B1':[*]; A2:[* B1']; B2:[* B1']; C2:[* B1']; D2:[*]; {full(3)}"
    drawing = dag(text)
    assert_decides(drawing, "B1 commit direct")
    assert by_definition(drawing)[0].leader is drawing["B1'"]
    assert by_tally(drawing)[0].leader is drawing["B1'"]


def test_two_certified_twins_stop_the_machine() -> None:
    """Only possible when more than f lie: here B and C vote for both twins."""
    text = f"""{full(1)}; B1':[*]; A2:[*]; B2:[*]; C2:[*]; B2':[* B1']; C2':[* B1']; D2:[* B1']
        A3:[A2 B2 C2]; B3:[B2 A2 C2]; C3:[C2 A2 B2]; A3':[A2 B2' C2' D2]; B3':[B2' C2' D2]; C3':[C2' B2' D2]"""
    drawing = dag(text)
    with pytest.raises(InvariantBroken, match="more than f"):
        by_definition(drawing)
    with pytest.raises(InvariantBroken, match="more than f"):
        by_tally(drawing)


def test_indirect_commit_through_one_certificate_in_the_anchors_history() -> None:
    assert_decides(dag(f"{ONE_CERTIFICATE}; {full(4, 5, 6)}"), "B1 commit indirect")


def test_indirect_skip_when_the_anchor_does_not_reach_the_certificate() -> None:
    assert_decides(dag(f"{ONE_CERTIFICATE}; A4:[A3 C3 D3]; B4:[*]; C4:[*]; D4:[*]; {full(5, 6)}"), "B1 skip indirect")


def test_a_certificate_seen_only_beside_the_anchor_does_not_count() -> None:
    """The anchor is A4; that B5, above it, reaches the certificate changes nothing."""
    text = f"{ONE_CERTIFICATE}; A4:[A3 C3 D3]; B4:[*]; C4:[*]; D4:[*]; {full(5, 6, 7, 8)}"
    assert_decides(dag(text), "B1 skip indirect")


# A4 is voted for by A5, B5, C5 and blamed by D5; only B6 certifies it.
UNDECIDED_ANCHOR = f"""{ONE_CERTIFICATE}; {full(4)}; A5:[*]; B5:[*]; C5:[*]; D5:[* -A4]
    A6:[A5 B5 D5]; B6:[A5 B5 C5]; C6:[B5 C5 D5]; D6:[B5 C5 D5]"""


def test_an_undecided_anchor_blocks_although_a_later_one_is_committed() -> None:
    drawing = dag(f"{UNDECIDED_ANCHOR}; {full(7)}")
    decisions = by_definition(drawing)
    assert show_decisions([decisions[3], decisions[4]]) == "A4 undecided; B5 commit direct"
    assert_decides(drawing, "B1 undecided")


def test_the_blocked_slot_is_decided_once_its_anchor_is() -> None:
    drawing = dag(f"{UNDECIDED_ANCHOR}; {full(7, 8, 9)}")
    decisions = by_definition(drawing)
    assert show_decisions([decisions[0], decisions[3]]) == "B1 commit indirect; A4 commit indirect"
    assert show_decisions(by_tally(drawing)) == show_decisions(decided_prefix(decisions))


def test_a_skipped_slot_is_no_anchor() -> None:
    """A4 is skipped, so B5 is the anchor of B1."""
    drawing = dag(f"{ONE_CERTIFICATE}; {full(4)}; B5:[* -A4]; C5:[* -A4]; D5:[* -A4]; {full(6, 7, authors='BCD')}")
    assert show_decisions(by_definition(drawing)[3:5]) == "A4 skip direct; B5 commit direct"
    assert_decides(drawing, "B1 commit indirect")


def test_an_anchor_lies_three_rounds_above() -> None:
    """D3 is committed, but it is in round r+2 itself and cannot have seen the certificates of that round."""
    drawing = dag(f"{ONE_CERTIFICATE}; {full(4, 5)}")
    assert show_decisions(by_definition(drawing)[2:3]) == "D3 commit direct"
    assert_decides(drawing, "B1 undecided")


def test_the_prefix_moves_over_skips_and_ends_at_the_first_undecided() -> None:
    drawing = dag(f"{full(1)}; {full(2, authors='ACD').replace('[*]', '[* -B1]')}; {full(3, 4, authors='ACD')}")
    assert show_decisions(by_tally(drawing)) == "B1 skip direct; C2 commit direct"


def test_one_validator_decides_alone() -> None:
    assert show_decisions(by_tally(dag("A1:[A0]; A2:[A1]; A3:[A2]; A4:[A3]", size=1))) == (
        "A1 commit direct; A2 commit direct"
    )


def test_stake_decides_not_heads() -> None:
    """Stakes 5 1 1 1: S = 8, q = 6. A and one other are a quorum; the three small ones are not."""
    heavy = "A1:[*]; B1:[*]; A2:[A1 B1]; B2:[B1 A1]; A3:[A2 B2]; B3:[B2 A2]"
    assert_decides(dag(heavy, stakes=(5, 1, 1, 1)), "B1 commit direct")
    light = f"{full(1)}; B2:[B0 A1 C1 D1]; C2:[* -B1]; D2:[* -B1]"
    assert_decides(dag(light, stakes=(5, 1, 1, 1)), "B1 undecided")


def test_support_and_reach() -> None:
    drawing = dag(f"{ONE_CERTIFICATE}; A4:[A3 C3 D3]")
    assert support(drawing["A2"], 1) is drawing["B1"]
    assert support(drawing["D2"], 1) is None

    def names(vertices: list[Vertex]) -> set[str]:
        return {name for name, vertex in drawing.vertices.items() if vertex in vertices}

    assert names(reach(drawing["A4"], 3)) == {"A3", "C3", "D3"}
    assert names(reach(drawing["A4"], 2)) == {"A2", "B2", "C2", "D2"}


def test_a_verdict_that_changes_stops_the_machine() -> None:
    """The cached counts notice when more than f lie: B1 is skipped by three, then certified by three."""
    text = f"""{full(1)}; A2:[* -B1]; C2:[* -B1]; D2:[* -B1]; A2':[A1 B1 C1 D1]; C2':[C1 A1 B1]; D2':[D1 A1 B1]
        A3:[A2' C2' D2']; C3:[C2' A2' D2']; D3:[D2' A2' C2']"""
    with pytest.raises(InvariantBroken, match="decided both"):
        by_tally(dag(text))


def test_verdicts_are_three() -> None:
    assert {verdict.value for verdict in Verdict} == {"commit", "skip", "undecided"}
