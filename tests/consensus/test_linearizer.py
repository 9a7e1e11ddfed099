"""The order of a commit, its time, its gc bound and the chain of digests."""

from dataclasses import replace

from blake3 import blake3

from synaptic_mesh.consensus.dag import Vertex
from synaptic_mesh.consensus.drawing import DRAWN_NETWORK, Drawing, dag
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.linearizer import Linearizer, commit_digest, first_previous, median_timestamp
from synaptic_mesh.consensus.reputation import Reputation


def full(*rounds: int) -> str:
    return "; ".join(f"{author}{round_}:[*]" for round_ in rounds for author in "ABCD")


def linearizer(drawing: Drawing, gc_depth: int = 60, reputation_commits: int = 100) -> Linearizer:
    schedule, reputation = LeaderSchedule(drawing.committee), Reputation(drawing.committee)
    rules = replace(drawing.rules, gc_depth=gc_depth, reputation_commits=reputation_commits)
    return Linearizer(drawing.dag, rules, schedule, reputation, first_previous(DRAWN_NETWORK, 0))


def names(drawing: Drawing, vertices: list[Vertex]) -> list[str]:
    known = {vertex.digest: name for name, vertex in drawing.vertices.items()}
    return [known[vertex.digest] for vertex in vertices]


def test_a_leader_orders_its_history_by_round_then_hash() -> None:
    drawing = dag(f"{full(1)}; C2:[*]")
    commit, ordered = linearizer(drawing).commit(drawing["C2"])
    seed = drawing["C2"].digest
    first = sorted("ABCD", key=lambda a: blake3(seed + drawing[f"{a}1"].digest).digest())
    assert names(drawing, ordered) == [f"{a}1" for a in first] + ["C2"]
    assert commit.leader == drawing["C2"].block.ref == commit.blocks[-1]


def test_the_order_depends_on_the_leader_not_on_the_index() -> None:
    drawing = dag(full(1, 2, 3, 4, 5))
    orders = set()
    for name in ("A2", "B2", "C2", "D2"):
        fresh = dag(full(1, 2, 3, 4, 5))
        orders.add(tuple(names(fresh, linearizer(fresh).commit(fresh[name])[1][:4])))
    assert len(orders) > 1, drawing


def test_a_block_is_ordered_once_and_late_blocks_are_not_lost() -> None:
    """D1 is outside B2's history and comes with C3 although D2 is not ordered before it: marks are per block."""
    drawing = dag(f"{full(1)}; A2:[A1 B1 C1]; B2:[B1 A1 C1]; C2:[C1 A1 B1]; D2:[*]; C3:[*]")
    line = linearizer(drawing)
    _, first = line.commit(drawing["B2"])
    _, second = line.commit(drawing["C3"])
    assert set(names(drawing, first)) == {"A1", "B1", "C1", "B2"}
    assert set(names(drawing, second)) == {"D1", "A2", "C2", "D2", "C3"}


def test_commits_form_a_chain() -> None:
    drawing = dag(full(1, 2))
    line = linearizer(drawing)
    first, _ = line.commit(drawing["B1"])
    second, _ = line.commit(drawing["C2"])
    assert (first.index, second.index) == (1, 2)
    assert first.previous == first_previous(DRAWN_NETWORK, 0)
    assert second.previous == commit_digest(first)
    assert line.digest == commit_digest(second)


def test_the_gc_round_of_the_previous_commit_bounds_this_one() -> None:
    """gc_depth 2: the commit of round 4 leaves gc round 2, so the next does not order D1 and D2, who came late."""
    text = f"{full(1)}; A2:[A1 B1 C1]; B2:[B1 A1 C1]; C2:[C1 A1 B1]; D2:[*]"
    for round_ in (3, 4):
        text += "; " + "; ".join(f"{a}{round_}:[* -D{round_ - 1}]" for a in "ABC")
    drawing = dag(f"{text}; D3:[*]; D4:[*]; A5:[*]")
    line = linearizer(drawing, gc_depth=2)
    first, _ = line.commit(drawing["A4"])
    assert first.gc_round == 2
    _, second = line.commit(drawing["A5"])
    assert set(names(drawing, second)) == {"B4", "C4", "D3", "D4", "A5"}


def test_time_is_the_median_of_parents_weighted_by_stake_and_never_goes_back() -> None:
    drawing = dag("", size=4)
    drawing.timestamps_ms.update({"A1": 50, "B1": 10, "C1": 30, "D1": 9_999_999})
    drawing.draw(f"{full(1)}; A2:[*]; B2:[B1 A1 C1]")
    stakes = drawing.dag.stakes
    assert median_timestamp(drawing["A2"], stakes) == 30  # 10 30 50 9999999: half of the stake is at or below 30
    assert median_timestamp(drawing["B2"], stakes) == 30  # 10 30 50
    assert median_timestamp(drawing["A2"], (9, 1, 1, 1)) == 50
    assert median_timestamp(drawing["A1"], stakes) == 0
    line = linearizer(drawing)
    line.timestamp_ms = 40
    assert line.commit(drawing["A2"])[0].timestamp_ms == 40


def test_two_ordered_twins_take_their_author_out_of_the_turn() -> None:
    text = f"{full(1)}; D1':[*]; A2:[*]; B2:[* D1']; C2:[*]; A3:[A2 B2 C2]"
    drawing = dag(text)
    line = linearizer(drawing)
    before, _ = line.commit(drawing["A2"])
    assert before.demoted == ()
    after, ordered = line.commit(drawing["A3"])
    assert "D1'" in names(drawing, ordered)
    assert after.demoted == (3,)
    assert [line.schedule.leaders(r) for r in range(3, 9)] == [(a,) for a in (3, 1, 2, 0, 1, 2)]


def test_who_does_not_vote_is_benched_after_the_period() -> None:
    """D references no leader: after three commits it is benched, and A, the best with B and C, leads in its turns."""
    votes = "; ".join(
        f"{'; '.join(f'{a}{r}:[*]' for a in 'ABC')}; D{r}:[* -{'DABC'[r % 4]}{r - 1}]" for r in (2, 3, 4, 5)
    )
    drawing = dag(f"{full(1)}; {votes}")
    line = linearizer(drawing, reputation_commits=4)
    commits = [line.commit(drawing[name])[0] for name in ("B1", "C2", "D3", "A4")]
    assert [(c.benched, c.favoured) for c in commits] == [((), ())] * 3 + [((3,), (0,))]
    assert [line.schedule.leaders(r) for r in range(1, 9)] == [(a,) for a in (1, 2, 3, 0, 1, 2, 0, 0)]


def test_a_change_of_the_turn_spares_the_other_leaders_of_the_round() -> None:
    """Two leaders a round. C6 ends the period and D is benched: D still leads round 6 beside C, and no more after."""
    votes = "; ".join(
        f"{'; '.join(f'{a}{r}:[*]' for a in 'ABC')}; D{r}:[* -{'ABCD'[(r - 1) % 4]}{r - 1}]" for r in range(2, 7)
    )
    drawing = dag(f"{full(1)}; {votes}")
    line = linearizer(drawing, reputation_commits=6)
    line.schedule = LeaderSchedule(drawing.committee, leader_count=2)
    for name in ("B1", "C2", "D3", "A4", "B5"):
        line.commit(drawing[name])
    assert line.commit(drawing["C6"])[0].benched == (3,)
    assert [line.schedule.leaders(r) for r in (6, 10)] == [(2, 3), (2, 0)]  # C is the best, but leads 10 already


def test_a_period_ends_with_the_same_choice_wherever_it_is_replayed() -> None:
    def lines() -> list[bytes]:
        drawing = dag(full(*range(1, 9)))
        line = linearizer(drawing, reputation_commits=3)
        return [commit_digest(line.commit(drawing[f"{'ABCD'[r % 4]}{r}"])[0]) for r in range(1, 8)]

    assert lines() == lines()
