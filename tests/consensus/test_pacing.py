"""When to propose: threshold clock, leader wait, W2, delays, back-off, and what to reference.

Leaders of rounds 1..7 are B C D A B C D; q = 3, f = 1.
"""

from dataclasses import replace

from synaptic_mesh.consensus.block import BlockRef, genesis_ref
from synaptic_mesh.consensus.drawing import DRAWN_NETWORK, Drawing, dag
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.pacing import IDLE_LEAD_MS, Pacing, choose_ancestors
from synaptic_mesh.consensus.settings import Settings, two_delay

SETTINGS = Settings(min_round_delay_ms=20, idle_round_ms=1_000, leader_timeout_ms=250, backoff_ms_max=4_000)
GENESIS = tuple(genesis_ref(DRAWN_NETWORK, 0, author) for author in range(4))


def full(*rounds: int, authors: str = "ABCD") -> str:
    return "; ".join(f"{author}{round_}:[*]" for round_ in rounds for author in authors)


def pacing(drawing: Drawing, last: int, at_ms: int = 1_000) -> Pacing:
    """The pacing of A, which proposed round `last` at at_ms; the clock reached its round at the same time."""
    pace = Pacing(SETTINGS, drawing.rules, drawing.dag, LeaderSchedule(drawing.committee))
    pace.note_clock(at_ms)
    pace.note_proposal(last, at_ms)
    return pace


def test_a_round_opens_with_a_quorum_below_it() -> None:
    drawing = dag("A1:[*]; C1:[*]")
    assert pacing(drawing, 1).proposal_ms(2, True) is None
    drawing.draw("B1:[*]")
    assert pacing(drawing, 1).proposal_ms(2, True) == 1_020


def test_the_leader_is_waited_for_until_the_timeout_after_the_quorum() -> None:
    drawing = dag("A1:[*]; C1:[*]; D1:[*]")  # B leads round 1
    assert pacing(drawing, 1).proposal_ms(2, True) == 1_250
    drawing.draw("B1:[*]")
    assert pacing(drawing, 1).proposal_ms(2, True) == 1_020


def test_the_timer_is_armed_again_when_a_quorum_forms_after_the_own_proposal() -> None:
    drawing = dag("A1:[*]; C1:[*]")
    pace = pacing(drawing, 1, at_ms=1_000)
    drawing.draw("D1:[*]")
    pace.note_clock(5_000)
    assert pace.proposal_ms(2, True) == 5_250


def test_missed_rounds_are_proposed_back_to_back() -> None:
    drawing = dag(full(1, 2, 3, authors="BCD"))
    pace = pacing(drawing, 0)
    assert pace.next_round() == 1
    assert pace.proposal_ms(1, True) == 0
    pace.note_proposal(1, 1_000)
    assert (pace.next_round(), pace.proposal_ms(2, False)) == (2, 0)
    assert pace.proposal_ms(4, True) == 1_020  # the newest one waits


def test_only_the_gc_round_makes_a_round_jump() -> None:
    drawing = dag(full(*range(1, 9), authors="BCD"))
    pace = pacing(drawing, 2)
    assert pace.next_round() == 3
    drawing.dag.prune(4)
    assert pace.next_round() == 6  # its parents, of round 5, are the first above the gc round


# Round 1: B1 leads. The blocks of round 2 vote. A proposes round 3; C2, the leader of round 2, is there in every case.
def waits(votes: str) -> bool:
    drawing = dag(f"{full(1)}; {votes}")
    return pacing(drawing, 2).proposal_ms(3, True) == 1_250


def test_w2_waits_while_votes_or_blames_can_still_make_a_quorum() -> None:
    assert waits("A2:[*]; C2:[*]; D2:[* -B1]")  # 2 votes, 1 blame, B2 missing: a third vote is possible


def test_w2_waits_for_blames_when_votes_are_out_of_reach() -> None:
    assert waits("A2:[* -B1]; C2:[* -B1]; D2:[*]")


def test_w2_is_met_by_a_quorum_of_votes() -> None:
    assert not waits("A2:[*]; C2:[*]; D2:[*]")


def test_w2_is_met_by_a_quorum_of_blames() -> None:
    assert not waits("A2:[* -B1]; C2:[* -B1]; D2:[* -B1]")


def test_w2_gives_up_when_no_outcome_can_be_reached() -> None:
    assert not waits("A2:[* -B1]; B2:[B1 A1 C1 D1]; C2:[* -B1]; D2:[*]")


def test_w2_counts_votes_per_block_of_an_equivocating_leader() -> None:
    """A2 votes B1, C2 and D2 vote B1': B2 may still make it three. When B2 votes for B1 it is two against two."""
    split = "B1':[*]; A2:[*]; C2:[* B1']; D2:[* B1']"
    drawing = dag(f"{full(1)}; {split}")
    assert pacing(drawing, 2).proposal_ms(3, True) == 1_250
    drawing.draw("B2:[*]")
    assert pacing(drawing, 2).proposal_ms(3, True) == 1_020


def test_an_idle_validator_waits_a_second_and_leads_a_little_later() -> None:
    drawing = dag(full(1))
    pace = pacing(drawing, 1)
    assert pace.proposal_ms(2, False) == 2_000 + IDLE_LEAD_MS
    drawing.draw("B2:[B1 A1 C1 D1]")  # somebody has begun the round
    assert pace.proposal_ms(2, False) == 2_000


def test_repetition_backs_off_is_capped_and_is_reset_by_a_quorum_and_by_a_commit() -> None:
    drawing = dag(full(1))
    pace = pacing(drawing, 1, at_ms=0)
    pauses = []
    now_ms = 0
    for _ in range(7):
        pauses.append(pace.repeat_ms(True) - now_ms)
        now_ms = pace.repeat_ms(True)
        pace.note_repeat(now_ms)
    assert pauses == [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]
    drawing.draw(full(2))
    pace.note_clock(now_ms)
    assert pace.repeat_ms(True) == now_ms + 250
    pace.note_repeat(now_ms)
    pace.note_commit(now_ms)
    assert pace.repeat_ms(True) == now_ms + 250
    assert pace.repeat_ms(False) == now_ms + 250 + 1_000 + IDLE_LEAD_MS


def chosen(drawing: Drawing, round_: int, own: str, included: list[int], now_ms: int = 1 << 40) -> list[str] | int:
    """Names of the ancestors of A's block, or when to try again."""
    own_ref = drawing[own].block.ref if own in drawing.vertices else GENESIS[0]
    refs, later_ms = choose_ancestors(drawing.dag, drawing.rules, round_, own_ref, included, GENESIS, now_ms)
    names: dict[BlockRef, str] = {vertex.block.ref: name for name, vertex in drawing.vertices.items()}
    return later_ms if refs is None else [names.get(ref, f"{chr(65 + ref.author)}0") for ref in refs]


def test_round_one_references_genesis() -> None:
    assert chosen(dag(""), 1, "", [0] * 4) == ["A0", "B0", "C0", "D0"]


def test_the_own_block_comes_first_and_others_only_when_newer_than_included() -> None:
    drawing = dag(f"{full(1)}; A2:[*]; B2:[*]; C2:[*]")
    assert chosen(drawing, 3, "A2", [1, 1, 1, 1]) == ["A2", "B2", "C2"]
    assert chosen(drawing, 3, "A2", [1, 1, 1, 0]) == ["A2", "B2", "C2", "D1"]


def test_only_the_first_twin_is_referenced() -> None:
    drawing = dag(f"{full(1)}; A2:[*]; B2':[*]; B2:[*]; C2:[*]")
    assert chosen(drawing, 3, "A2", [1] * 4) == ["A2", "B2'", "C2"]


def test_blocks_of_the_own_round_and_above_are_not_referenced() -> None:
    drawing = dag(f"{full(1, 2)}; {full(3, authors='BCD')}")
    assert chosen(drawing, 3, "A2", [1] * 4) == ["A2", "B2", "C2", "D2"]


def test_a_block_from_the_future_waits_unless_more_than_f_reference_it() -> None:
    drawing = dag("")
    drawing.timestamps_ms.update({"D2": 9_000})
    drawing.draw(full(1, 2))
    assert chosen(drawing, 3, "A2", [1] * 4, now_ms=5_000) == ["A2", "B2", "C2"]
    drawing.draw("B3:[B2 A2 C2 D2]")
    assert chosen(drawing, 3, "A2", [1] * 4, now_ms=5_000) == ["A2", "B2", "C2"]  # f = 1 may be a liar
    drawing.draw("C3:[C2 A2 B2 D2]")
    assert chosen(drawing, 3, "A2", [1] * 4, now_ms=5_000) == ["A2", "B2", "C2", "D2"]


def test_without_a_quorum_of_present_blocks_it_says_when_the_next_one_becomes_usable() -> None:
    drawing = dag("")
    drawing.timestamps_ms.update({"C1": 7_000, "D1": 9_000})
    drawing.draw(full(1))
    assert chosen(drawing, 2, "A1", [0] * 4, now_ms=5_000) == 7_000


def test_the_wait_for_leaders_doubles_with_every_undecided_wave_and_a_decision_resets_it() -> None:
    drawing = dag("; ".join(full(r, authors="ABC") for r in range(1, 19)))
    pace = pacing(drawing, 18)
    waits = []
    for cursor in range(19, 0, -1):
        pace.cursor_round = cursor
        waits.append(pace.leader_wait_ms())
    assert waits[:7] == [250] * 7  # two waves are nothing unusual
    assert waits[7:] == [500] * 3 + [1_000] * 3 + [2_000] * 3 + [4_000] * 3
    pace.cursor_round = -100
    assert pace.leader_wait_ms() == SETTINGS.backoff_ms_max
    pace.cursor_round = 19
    assert pace.leader_wait_ms() == SETTINGS.leader_timeout_ms


def test_a_wave_of_two_waits_for_every_leader_and_for_no_outcome() -> None:
    drawing = dag(full(1, authors="ABCDE"), size=6)
    rules = replace(two_delay(drawing.committee), leader_count=2)
    schedule = LeaderSchedule(drawing.committee, 2, 2)
    pace = Pacing(SETTINGS, rules, drawing.dag, schedule)
    assert schedule.leaders(1) == (1, 2)
    assert pace.has_leaders(1)
    drawing.draw(f"{full(2, authors='ABCDE')}")
    assert schedule.leaders(2) == (2, 3)
    assert pace.has_outcomes(1)
    assert not pace.has_leaders(4)
    assert schedule.leaders(5) == (5, 0)
    drawing.draw(f"{full(3, 4, 5, authors='ABCDE')}")
    assert not pace.has_leaders(5)  # A's block alone is not enough: F leads too
