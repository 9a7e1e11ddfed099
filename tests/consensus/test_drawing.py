"""The text language for DAGs."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.consensus.committer import decide_all
from synaptic_mesh.consensus.drawing import dag, show_decisions


def test_stars_minus_and_twins() -> None:
    drawing = dag("A1:[*]; B1:[A0 B0 C0]; C1:[*]; B1':[*]; A2:[* -C1]; C2:[* B1']")
    assert [ref.author for ref in drawing["B1"].block.header.ancestors] == [1, 0, 2]  # own block first
    assert drawing["A2"].links == {0: drawing["A1"], 1: drawing["B1"]}
    assert drawing["C2"].links[1] is drawing["B1'"]


def test_what_cannot_be_read_is_named() -> None:
    for text, message in (
        ("A1:A0", "cannot read 'A1:A0'"),
        ("A1:[x]", "cannot read the ancestor 'x'"),
        ("A1:[*]; A1:[*]", "A1 is drawn twice"),
        ("E1:[*]", "committee of 4"),
        ("A2:[A1]", "A1 is not drawn yet"),
    ):
        with pytest.raises(LocalError, match=message):
            dag(text)


def test_decisions_are_shown_in_words() -> None:
    drawing = dag("A1:[A0]; A2:[A1]; A3:[A2]", size=1)
    decisions = decide_all(drawing.dag, drawing.rules, lambda _round: (0,), 0)
    assert show_decisions(decisions) == "A1 commit direct; A2 undecided; A3 undecided"
