"""What a store's blocks and commits look like as text."""

from synaptic_mesh.consensus.block import Header
from synaptic_mesh.consensus.drawing import Drawing, dag
from synaptic_mesh.consensus.messages import Commit
from synaptic_mesh.consensus.picture import Picture


def stored(drawing: Drawing) -> list[tuple[bytes, Header]]:
    return [(vertex.digest, vertex.block.header) for vertex in drawing.vertices.values()]


def commit(drawing: Drawing, index: int, leader: str, demoted: tuple[int, ...] = ()) -> Commit:
    return Commit(index, bytes(32), drawing[leader].block.ref, 0, 0, (), demoted)


def test_cells_leaders_twins_and_holes() -> None:
    text = "A1:[*]; B1:[*]; C1:[*]; D1:[*]; A2:[*]; B2:[* -D1]; D2:[*]; A3:[*]; B3:[*]; D3:[*]; D3':[A2 B2 D2]"
    drawing = dag(text)
    picture = Picture(
        drawing.committee, drawing.rules, stored(drawing), [commit(drawing, 7, "B1"), commit(drawing, 8, "D3")], 9
    )
    assert list(picture.lines()) == [
        "round  A        B        C        D",
        "    1  ABCD     ABCD     ABCD     ABCD      B Commit #7",
        "    2  ABCD     ABC.     -        ABCD      C Skip",
        "    3  AB.D     AB.D     -        AB.D+1    D Commit #8",
    ]


def test_slots_above_the_newest_commit_are_open_and_turns_follow_the_commits() -> None:
    """D is demoted by the commit of round 2, so round 3 is led by A and round 4 by B."""
    drawing = dag("; ".join(f"{a}{r}:[*]" for r in (1, 2, 3, 4) for a in "ABCD"))
    commits = [commit(drawing, 1, "B1"), commit(drawing, 2, "C2", (3,))]
    picture = Picture(drawing.committee, drawing.rules, stored(drawing), commits, 2)
    assert [line.split()[-2:] for line in picture.lines()][1:] == [["A", "Undecided"], ["B", "Undecided"]]


def test_nothing_stored_is_an_empty_picture() -> None:
    drawing = dag("")
    assert list(Picture(drawing.committee, drawing.rules, [], [], 5).lines()) == ["round  A     B     C     D"]
