"""Every case of one leader slot under a leader with two faces: the code of the rule, not a model of it.

Four validators under the three-delay rule, and at the end six under the two-delay rule.

The liar D leads round 1 and shows two blocks, D1 and D1'. In round 2 each honest validator votes for either or for
neither, and so do both of D's blocks. In round 3 each honest validator references its own block and at least two
others, of D at most one; D's two blocks reference what they like. An anchor references at least three of round 3.
What a block of round 3 certifies is all that matters of it, so one block stands for all that certify the same.

Checked for every combination: a directly committed block is committed through every anchor, a directly skipped slot is
skipped through every anchor and certified by nobody, and no two blocks of the slot are ever certified.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

from synaptic_mesh.consensus.committer import Decision, Verdict, is_certificate, try_direct_decide, try_indirect_decide
from synaptic_mesh.consensus.dag import Dag
from synaptic_mesh.consensus.drawing import Drawing, dag, drawn_committee
from synaptic_mesh.consensus.settings import two_delay

HONEST = "ABC"
CHOICES = ("D1", "D1'", "")
LIAR = 3
Votes = dict[str, str]  # block of round 2 -> the leader that it votes for, or nothing


def all_votes() -> Iterator[Votes]:
    """Votes of A2, B2, C2, and of D's two blocks of round 2, whose order does not matter."""
    for honest in product(CHOICES, repeat=3):
        for liar in combinations_with_replacement(CHOICES, 2):
            yield dict(zip(("A2", "B2", "C2", "D2", "D2'"), (*honest, *liar), strict=True))


def certified(votes: Votes, parents: tuple[str, ...]) -> str:
    """The leader that a block with these parents certifies: three votes of the four authors."""
    said = [votes[parent] for parent in parents]
    return next((leader for leader in ("D1", "D1'") if said.count(leader) >= 3), "")


def honest_parents(author: str) -> Iterator[tuple[str, ...]]:
    """An honest validator's parents in round 3: its own block, and two or three others, of D at most one."""
    own, others = author + "2", tuple(other + "2" for other in HONEST if other != author)
    for liar in ("", "D2", "D2'"):
        if not liar:
            yield (own, *others)
            continue
        yield (own, *others, liar)
        for other in others:
            yield (own, other, liar)


def liar_parents() -> Iterator[tuple[str, ...]]:
    """D's parents in round 3: one of its own blocks and two or three others, or three others."""
    yield ("A2", "B2", "C2")
    for own in ("D2", "D2'"):
        for left_out in ("", "A2", "B2", "C2"):
            yield (own, *(each for each in ("A2", "B2", "C2") if each != left_out))


def representatives(votes: Votes, choices: Iterator[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One choice of parents for each leader that can be certified, or none."""
    return list({certified(votes, parents): parents for parents in choices}.values())


def drawings(votes: Votes) -> Iterator[Drawing]:
    """Every third round upon these votes, and above it a block for every set of parents that an anchor may have."""
    base = "; ".join([*(f"{author}1:[*]" for author in "ABCD"), "D1':[*]"])
    for block, leader in votes.items():
        base += f"; {block}:[A1 B1 C1 {leader}]"
    thirds = [representatives(votes, honest_parents(author)) for author in HONEST]
    liar = representatives(votes, liar_parents())
    for honest in product(*thirds):
        for pair in combinations_with_replacement(liar, 2):
            blocks = dict(zip(("A3", "B3", "C3", "D3", "D3'"), (*honest, *pair), strict=True))
            third = "".join(f"; {block}:[{' '.join(parents)}]" for block, parents in blocks.items())
            yield dag(base + third + anchors())


def anchors() -> str:
    """Blocks of round 4 with three or four parents, of D at most one; primes number them. The last ones, with both of
    D's, stand for anchors further up, which reach more than one block of round 4.
    """
    parents = [("A3", "B3", "C3")]
    for liar in ("D3", "D3'"):
        parents += [("A3", "B3", "C3", liar), ("A3", "B3", liar), ("A3", "C3", liar), ("B3", "C3", liar)]
    parents += [("A3", "B3", "D3", "D3'"), ("A3", "B3", "C3", "D3", "D3'")]
    return "".join(f"; A4{chr(39) * number}:[{' '.join(each)}]" for number, each in enumerate(parents))


def indirect(drawing: Drawing) -> set[tuple[Verdict, str]]:
    """What the anchors say of the slot."""
    found = set()
    for anchor in drawing.dag.slot(4, 0):
        later = [Decision(4, 0, Verdict.COMMIT, anchor)]
        decision = try_indirect_decide(drawing.dag, drawing.rules, 1, LIAR, later)
        found.add((decision.verdict, name_of(drawing, decision)))
    return found


def name_of(drawing: Drawing, decision: Decision) -> str:
    return next((name for name in ("D1", "D1'") if drawing[name] is decision.leader), "")


def test_direct_and_indirect_decisions_agree_in_every_case() -> None:
    seen: dict[str, int] = {}
    for votes in all_votes():
        for drawing in drawings(votes):
            certified_blocks = {
                name
                for name in ("D1", "D1'")
                for block in drawing.dag.vertices(3)
                if is_certificate(drawing.dag, drawing.rules, block, drawing[name])
            }
            assert len(certified_blocks) < 2
            direct = try_direct_decide(drawing.dag, drawing.rules, 1, LIAR)
            said = indirect(drawing)
            if direct.verdict is Verdict.COMMIT:
                assert said == {(Verdict.COMMIT, name_of(drawing, direct))}
            elif direct.verdict is Verdict.SKIP:
                assert said == {(Verdict.SKIP, "")}
                assert not certified_blocks
            seen[direct.verdict.value] = seen.get(direct.verdict.value, 0) + 1
    assert seen.keys() == {"commit", "skip", "undecided"}
    assert sum(seen.values()) > 500


def two_delay_drawings() -> Iterator[Drawing]:
    """Six validators, F leads and shows two blocks; the others vote, and F's two blocks of round 2 as they like. An
    anchor of round 3 references five of the six authors or all, of F one block at most. Honest votes only differ in
    how many there are of each kind, since every set of parents is tried.
    """
    committee = drawn_committee((1,) * 6)
    rules = two_delay(committee)
    leaders = ("F1", "F1'", "")
    base = "; ".join([*(f"{author}1:[*]" for author in "ABCDEF"), "F1':[*]"])
    for honest in combinations_with_replacement(leaders, 5):
        for liar in combinations_with_replacement(leaders, 2):
            votes = zip(("A2", "B2", "C2", "D2", "E2", "F2", "F2'"), (*honest, *liar), strict=True)
            second = "".join(f"; {block}:[A1 B1 C1 D1 E1 {leader}]" for block, leader in votes)
            drawing = Drawing(committee, Dag(committee, rules.parent_stake), rules)
            yield drawing.draw(base + second + two_delay_anchors())


def two_delay_anchors() -> str:
    honest = ("A2", "B2", "C2", "D2", "E2")
    parents = [honest]
    for liar in ("F2", "F2'"):
        parents += [(*honest, liar), *((*(each for each in honest if each != absent), liar) for absent in honest)]
    parents.append((*honest, "F2", "F2'"))  # an anchor further up
    return "".join(f"; A3{chr(39) * number}:[{' '.join(each)}]" for number, each in enumerate(parents))


def test_direct_and_indirect_decisions_agree_in_every_case_of_two_delays() -> None:
    seen = set()
    for drawing in two_delay_drawings():
        direct = try_direct_decide(drawing.dag, drawing.rules, 1, 5)
        seen.add(direct.verdict)
        for anchor in drawing.dag.slot(3, 0):
            later = [Decision(3, 0, Verdict.COMMIT, anchor)]
            said = try_indirect_decide(drawing.dag, drawing.rules, 1, 5, later)
            if direct.verdict is not Verdict.UNDECIDED:
                assert (said.verdict, said.leader) == (direct.verdict, direct.leader)
    assert seen == set(Verdict)
