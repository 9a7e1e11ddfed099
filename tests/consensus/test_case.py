"""Drawn DAGs as files: the format, and vectors for every rule, in both waves, with one and with many leaders."""

import codecs
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.consensus.case import author_index, author_letters, decide_case, read_case

Block = tuple[str, list[str]]
Parents = dict[str, list[str]]
"""Author letters -> ancestors, of one round."""


class Builder:
    """Draws a case layer by layer: everybody references the whole layer before, but for the exceptions given."""

    def __init__(self, n: int = 4, **settings: Any) -> None:
        self.settings: dict[str, Any] = {"n": n, **settings}
        self.authors = [author_letters(i) for i in range(n)]
        self.blocks: list[Block] = []
        self.round = 0
        self.last = [f"{a}0" for a in self.authors]

    def layer(self, only: Iterable[str] | None = None, **exceptions: list[str]) -> "Builder":
        """One round of blocks of all (or only some) authors; `exceptions` are other ancestors of some, by author."""
        self.round += 1
        names = []
        for author in self.authors if only is None else only:
            name = f"{author}{self.round}"
            self.blocks.append((name, exceptions.get(author, list(self.last))))
            names.append(name)
        self.last = names
        return self

    def layers(self, until: int) -> "Builder":
        while self.round < until:
            self.layer()
        return self

    def add(self, name: str, *ancestors: str) -> "Builder":
        """A block beside the layers, such as a twin. Later layers do not reference it by themselves."""
        self.blocks.append((name, list(ancestors)))
        return self

    def decide(self, **settings: Any) -> dict[str, Any]:
        case = {**self.settings, **settings, "blocks": self.blocks}
        result = decide_case(read_case(json.dumps(case).encode()))
        for decided in result["decided"]:
            assert len(decided) == 4
        return result

    def slot(self, name: str, **settings: Any) -> list[str | None]:
        """Verdict, block and way of one slot."""
        found = [decided[1:] for decided in self.decide(**settings)["decided"] if decided[0] == name]
        assert len(found) == 1, f"slot {name} is decided {len(found)} times"
        result: list[str | None] = found[0]
        return result


COMMIT, SKIP, OPEN = "Commit", "Skip", ["Undecided", None, None]


def without(names: Iterable[str], *left_out: str) -> list[str]:
    return [name for name in names if name not in left_out]


# --- the format


def test_the_example_of_the_documents() -> None:
    """Full rounds 1 to 3 of A, B, C: B1 is committed, the rest is open; the output is exactly these two keys."""
    result = Builder().layer("ABC").layer("ABC").layer("ABC").decide()
    assert result == {
        "decided": [["B1", "Commit", "B1", "direct"], ["C2", *OPEN], ["D3", *OPEN]],
        "prefix": ["B1:Commit"],
    }


def test_slots_go_up_by_round_and_rank() -> None:
    built = Builder().layers(3)
    slots = [decided[0] for decided in built.decide(leaders_per_round=3)["decided"]]
    assert slots == ["B1", "C1", "D1", "C2", "D2", "A2", "D3", "A3", "B3"]
    assert built.decide(leaders_per_round=3)["prefix"] == ["B1:Commit", "C1:Commit", "D1:Commit"]


def test_named_ranks_are_leaders_and_other_rounds_keep_theirs() -> None:
    built = Builder().layers(3)
    decided = built.decide(leader_order={"1": ["D", "A"], "3": []})["decided"]
    assert [each[0] for each in decided] == ["D1", "A1", "C2"]


def test_without_pipeline_only_rounds_divisible_by_the_wave_have_leaders() -> None:
    built = Builder(pipeline=False).layers(9)
    assert [each[0] for each in built.decide()["decided"]] == ["D3", "C6", "B9"]
    assert built.decide()["prefix"] == ["D3:Commit", "C6:Commit"]
    assert [each[0] for each in built.decide(wave=2, quorum=3)["decided"]] == ["C2", "A4", "C6", "A8"]
    order = {"1": ["A"], "3": ["A", "B"]}
    assert [each[0] for each in built.decide(leader_order=order)["decided"]] == ["A3", "B3", "C6", "B9"]


def test_committed_twins_carry_their_primes() -> None:
    built = Builder().layer().add("B1'", "B0", "A0", "C0").add("B1''", "B0", "C0", "D0")
    built.layer("ACD", **{a: ["A1", "B1''", "C1", "D1"] for a in "ACD"}).layer("ACD")
    assert built.slot("B1") == [COMMIT, "B1''", "direct"]
    assert built.decide()["prefix"] == ["B1:Commit"]


def test_authors_beyond_z_have_two_letters() -> None:
    assert [author_letters(i) for i in (0, 25, 26, 27, 51, 52, 701)] == ["A", "Z", "AA", "AB", "AZ", "BA", "ZZ"]
    assert all(author_index(author_letters(i)) == i for i in range(702))
    assert Builder(30).layers(30).slot("AB27") == [COMMIT, "AB27", "direct"]


def test_other_keys_are_not_looked_at() -> None:
    assert Builder(name="full", expect=[1]).layers(3).slot("B1") == [COMMIT, "B1", "direct"]


def test_no_blocks_decide_nothing() -> None:
    assert Builder().decide() == {"decided": [], "prefix": []}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not a drawn DAG in JSON"),
        (b"\xff", "not a drawn DAG in JSON"),
        (b'{"n": 4}', "missing required field `blocks`"),
        (b'{"n": 0, "blocks": []}', "n is 0"),
        (b'{"n": 4, "blocks": [["A1"]]}', "not a drawn DAG"),
        (b'{"n": 4, "blocks": [["E1", []]]}', "author E, but n is 4: they are A to D"),
        (b'{"n": 4, "blocks": [["a1", []]]}', "cannot read the block name 'a1'"),
        (b'{"n": 4, "blocks": [["A0", []]]}', "block A0 is of round 0"),
        (b'{"n": 4, "blocks": [["A99999", []]]}', "drawn rounds are 1 to 10000"),
        (b'{"n": 4, "blocks": [["A1", []], ["A1", []]]}', "A1 is drawn twice"),
        (b'{"n": 4, "blocks": [["A2", ["B1"]], ["B1", []]]}', "ancestor B1, which is not drawn before it"),
        (b'{"n": 4, "blocks": [["A1", []], ["B1", ["A1"]]]}', "ancestors are of lower rounds"),
        (b'{"n": 4, "blocks": [["A1", ["B0\'"]]]}', "B0', which is not drawn"),
        (b'{"n": 4, "wave": 4, "blocks": []}', "a wave of 4 rounds"),
        (b'{"n": 4, "quorum": 5, "blocks": []}', "quorum is 5"),
        (b'{"n": 4, "leaders_per_round": 0, "blocks": []}', "leaders_per_round is 0; 4 validators have 1 to 4"),
        (b'{"n": 4, "leaders_per_round": 5, "blocks": []}', "leaders_per_round is 5; 4 validators have 1 to 4"),
        (b'{"n": 4, "leader_order": {"0": ["A"]}, "blocks": []}', "has the key '0'"),
        (b'{"n": 4, "leader_order": {"1": ["A", "A"]}, "blocks": []}', "names one author twice"),
        (b'{"n": 4, "leader_order": {"1": ["x"]}, "blocks": []}', "names 'x'"),
        (b'{"n": 4, "stakes": [1], "blocks": []}', "stakes has 1 entries"),
        (b'{"n": 1, "stakes": [0], "blocks": []}', "stakes gives A 0"),
    ],
)
def test_what_cannot_be_used_is_named(data: bytes, message: str) -> None:
    with pytest.raises(LocalError, match=message):
        decide_case(read_case(data))


def test_a_byte_order_mark_is_no_fault() -> None:
    assert read_case(codecs.BOM_UTF8 + b'{"n": 4, "blocks": []}').n == 4


# --- the scenarios of the public committer tests, for every leader of a round


def shapes() -> list[Any]:
    """(n, settings) of waves of three and of two, pipelined and not, with one leader, two, a quorum and all."""
    found = []
    for n, wave, quorum in ((4, 3, 3), (10, 3, 7), (6, 2, 5), (11, 2, 9)):
        for count in (1, 2, quorum, n):
            for pipeline in (True, False):
                settings = {"wave": wave, "quorum": quorum, "leaders_per_round": count, "pipeline": pipeline}
                found.append(pytest.param(n, settings, id=f"n{n}-w{wave}-l{count}{'' if pipeline else '-waves'}"))
    return found


class Shape:
    """The first leader round of a shape and what surrounds it."""

    def __init__(self, n: int, settings: dict[str, Any]) -> None:
        self.n, self.settings = n, settings
        self.wave, self.quorum, self.count = settings["wave"], settings["quorum"], settings["leaders_per_round"]
        self.first = 1 if settings["pipeline"] else self.wave
        self.step = 1 if settings["pipeline"] else self.wave

    def builder(self) -> Builder:
        return Builder(self.n, **self.settings)

    def leader(self, round_: int, rank: int) -> str:
        return f"{author_letters((round_ + rank) % self.n)}{round_}"

    def leaders(self, round_: int) -> list[str]:
        return [self.leader(round_, rank) for rank in range(self.count)]


each_shape = pytest.mark.parametrize(("n", "settings"), shapes())


@each_shape
def test_full_rounds_commit_every_leader_directly_at_the_earliest_round(n: int, settings: dict[str, Any]) -> None:
    shape = Shape(n, settings)
    top = shape.first + shape.wave - 1
    assert shape.builder().layers(top - 1).decide()["prefix"] == []
    assert shape.builder().layers(top).decide()["prefix"] == [f"{x}:Commit" for x in shape.leaders(shape.first)]
    rounds = [shape.first + i * shape.step for i in range(5)]
    late = shape.builder().layers(rounds[-1] + shape.wave - 1).decide()
    assert late["prefix"] == [f"{x}:Commit" for r in rounds for x in shape.leaders(r)]
    assert {each[3] for each in late["decided"] if each[1] != "Undecided"} == {"direct"}


@each_shape
@pytest.mark.parametrize("is_proposed", [True, False])
def test_a_leader_without_votes_is_skipped_and_no_other(n: int, settings: dict[str, Any], is_proposed: bool) -> None:
    shape = Shape(n, settings)
    for target in shape.leaders(shape.first):
        built = shape.builder().layers(shape.first - 1)
        built.layer(None if is_proposed else without(built.authors, target.rstrip("0123456789")))
        built.last = without(built.last, target)
        built.layers(shape.first + shape.wave - 1)
        prefix = [f"{x}:{'Skip' if x == target else 'Commit'}" for x in shape.leaders(shape.first)]
        assert built.decide()["prefix"] == prefix
        assert built.slot(target) == [SKIP, None, "direct"]


@each_shape
def test_one_vote_below_every_quorum_decides_nothing(n: int, settings: dict[str, Any]) -> None:
    """quorum - 1 blames and n - quorum + 1 votes; the anchor then says Skip, or Commit where the votes are a link."""
    shape = Shape(n, settings)
    target = shape.leader(shape.first, 0)
    built = shape.builder().layers(shape.first)
    blame = without(built.last, target)
    built.layer(None, **dict.fromkeys(built.authors[: shape.quorum - 1], blame))
    built.layers(shape.first + shape.wave - 1)
    assert built.slot(target) == OPEN
    assert built.decide()["prefix"] == []
    link = max(1, 3 * shape.quorum - 2 * n) if shape.wave == 2 else None
    expected = SKIP if link is None or n - shape.quorum + 1 < link else COMMIT
    anchor = shape.first + -(-shape.wave // shape.step) * shape.step
    built.layers(anchor + shape.wave - 1)
    assert built.slot(target)[::2] == [expected, "indirect"]


@each_shape
def test_certificates_that_an_anchor_reaches_commit(n: int, settings: dict[str, Any]) -> None:
    """w = 3: one author alone certifies. w = 2: as many votes as a link needs; one fewer is skipped."""
    shape = Shape(n, settings)
    target = shape.leader(shape.first, 0)
    anchor = shape.first + -(-shape.wave // shape.step) * shape.step
    if shape.wave == 3:
        built = shape.builder().layers(shape.first)
        voters, blamers = built.authors[: shape.quorum], built.authors[shape.quorum :]
        built.layer(None, **dict.fromkeys(blamers, without(built.last, target)))
        certified, others = list(built.last), without(built.last, f"{voters[0]}{built.round}")
        built.layer(None, **{a: certified if a == built.authors[-1] else others for a in built.authors})
        assert built.slot(target) == OPEN
        built.layers(anchor + 2)
        assert built.slot(target) == [COMMIT, target, "indirect"]
        return
    link = 3 * shape.quorum - 2 * n
    for votes, verdict in ((link, COMMIT), (link - 1, SKIP)):
        built = shape.builder().layers(shape.first)
        voters = built.authors[:votes]
        built.layer(None, **{a: without(built.last, target) for a in built.authors if a not in voters})
        built.last = built.last[: shape.quorum]  # the rest arrives too late for anybody to build on it
        built.blocks = [b for b in built.blocks if not b[0].endswith(str(built.round)) or b[0] in built.last]
        built.layers(anchor + 1)
        assert built.slot(target)[::2] == [verdict, "indirect"]


# --- probes of single rules


def test_votes_and_blames_count_authors_not_blocks() -> None:
    """C2 and its twin blame; with D that is two authors, not three."""
    blame = ["A1", "C1", "D1"]
    built = Builder().layer().add("C2", *blame).add("C2'", *blame).add("D2", *blame).add("A2", "A1", "B1", "C1")
    assert built.slot("B1") == OPEN
    assert built.add("A2'", *blame).slot("B1") == [SKIP, None, "direct"]  # an equivocator counts on both sides


def test_certificates_count_authors_not_blocks() -> None:
    built = Builder().layers(2).layer("AB").add("B3'", "A2", "B2", "C2").add("B3''", "A2", "B2", "D2")
    assert built.slot("B1") == OPEN
    assert built.add("C3", "A2", "B2", "D2").slot("B1") == [COMMIT, "B1", "direct"]


def test_a_certificate_counts_the_authors_of_its_votes() -> None:
    """A3 names two votes of one author: two authors vote, not three."""
    built = Builder().layer().layer("AB").add("A2'", "A1", "B1", "D1")
    for author in "ABC":
        built.add(f"{author}3", "A2", "A2'", "B2")
    assert built.slot("B1") == OPEN


def test_a_vote_through_either_twin_of_the_voter_counts() -> None:
    """C2 blames and C2' votes; a certificate that names both holds C's vote, whatever their order."""
    for order in (["C2", "C2'"], ["C2'", "C2"]):
        built = Builder().layer().layer("AB").add("C2", "A1", "C1", "D1").add("C2'", "A1", "B1", "C1")
        for author in "ABC":
            built.add(f"{author}3", "A2", "B2", *order)
        assert built.slot("B1") == [COMMIT, "B1", "direct"]


def test_the_first_of_two_ancestors_in_a_slot_is_voted_for() -> None:
    for order in (["B1", "B1'"], ["B1'", "B1"]):
        built = Builder().layer().add("B1'", "B0", "C0", "D0")
        built.layer("ACD", **{a: ["A1", *order, "C1"] for a in "ACD"}).layer("ACD")
        assert built.slot("B1") == [COMMIT, order[0], "direct"]


def test_an_older_block_of_the_leader_is_neither_vote_nor_shield() -> None:
    """C leads round 2 and is silent in it: C1 among the ancestors of round 3 saves nothing."""
    built = Builder().layer().layer("ABD").layer("ABD", **{a: ["A2", "B2", "D2", "C1"] for a in "ABD"})
    assert built.slot("C2") == [SKIP, None, "direct"]


def test_blame_is_of_the_slot_not_of_the_proposal() -> None:
    """n = 7: two vote for F1, two for its twin, three for neither. Each twin lacks five votes; the slot lacks three."""
    built = Builder(7, leader_order={"1": ["F"]}).layer().add("F1'", "F0", "A0", "B0", "C0", "D0")
    rest = ["A1", "B1", "C1", "D1", "E1"]
    votes = {"A": [*rest, "F1"], "B": [*rest, "F1"], "C": [*rest, "F1'"], "D": [*rest, "F1'"]}
    built.layer(None, **{a: votes.get(a, rest) for a in built.authors})
    assert built.slot("F1") == OPEN
    built.layers(7)
    assert built.slot("F1") == [SKIP, None, "indirect"]


def test_two_certified_twins_are_refused() -> None:
    built = Builder().layer().add("B1'", "B0", "C0", "D0")
    for author, twin in (("A", "B1"), ("B", "B1"), ("C", "B1")):
        built.add(f"{author}2", "A1", twin, "C1").add(f"{author}2'", "A1", "B1'", "C1")
    for author in "ABC":
        built.add(f"{author}3", "A2", "B2", "C2").add(f"{author}3'", "A2'", "B2'", "C2'")
    with pytest.raises(LocalError, match=r"no rule decides this DAG: .* more than f stake lies"):
        built.decide()


def test_skips_and_certificates_together_are_a_skip() -> None:
    """More than f equivocate: the blames are looked at first."""
    built = Builder().layer()
    for author in "ACD":
        built.add(f"{author}2", "A1", "B1", "C1").add(f"{author}2'", "A1", "C1", "D1")
    for author in "ACD":
        built.add(f"{author}3", "A2", "C2", "D2")
    assert built.slot("B1") == [SKIP, None, "direct"]


def one_certificate() -> Builder:
    """A2, B2, C2 vote for B1, D2 blames it; B3 alone holds the three votes."""
    built = Builder().layer().layer(None, D=["A1", "C1", "D1"])
    return built.layer(None, A=["A2", "B2", "D2"], B=["A2", "B2", "C2"], C=["A2", "C2", "D2"], D=["B2", "C2", "D2"])


def test_an_anchor_is_of_a_round_at_least_a_wave_above() -> None:
    """D3 is committed by round 5, but it is one round early; A4, the first anchor, is decided in round 6."""
    built = one_certificate().layers(5)
    assert built.slot("D3") == [COMMIT, "D3", "direct"]
    assert built.slot("B1") == OPEN
    assert built.layers(6).slot("B1") == [COMMIT, "B1", "indirect"]


def test_only_the_history_of_the_anchor_counts() -> None:
    """A4 does not reach B3; B5 does, but it is not the anchor."""
    built = one_certificate().layer(None, A=["A3", "C3", "D3"]).layers(8)
    assert built.slot("B5") == [COMMIT, "B5", "direct"]
    assert built.slot("B1") == [SKIP, None, "indirect"]


def test_a_certificate_is_reached_through_history_not_only_through_parents() -> None:
    """The anchor B5 (A4 is skipped) reaches B3 by C4."""
    built = one_certificate().layer(None, B=["A3", "C3", "D3"], D=["A3", "C3", "D3"])
    built.last = ["B4", "C4", "D4"]
    built.layers(7)
    assert built.slot("A4") == [SKIP, None, "direct"]
    assert built.slot("B1") == [COMMIT, "B1", "indirect"]


def test_an_undecided_anchor_hides_committed_ones_behind_it() -> None:
    built = one_certificate().layer().layer(None, D=["B4", "C4", "D4"])
    built.layer(None, A=["A5", "B5", "D5"], B=["A5", "B5", "C5"], C=["B5", "C5", "D5"], D=["B5", "C5", "D5"])
    built.layers(7)
    assert (built.slot("A4"), built.slot("B5")[0], built.slot("B1")) == (OPEN, COMMIT, OPEN)
    assert built.layers(9).slot("A4") == [COMMIT, "A4", "indirect"]
    assert built.slot("B1") == [COMMIT, "B1", "indirect"]


def test_ranks_are_anchors_in_their_order() -> None:
    """Two leaders of round 4: D4, the first rank, does not reach the certificate, A4 does; D4 decides."""
    built = one_certificate().layer(None, D=["A3", "C3", "D3"]).layers(6)
    assert built.slot("B1", leader_order={"4": ["D", "A"]}) == [SKIP, None, "indirect"]
    assert built.slot("B1", leader_order={"4": ["A", "D"]}) == [COMMIT, "B1", "indirect"]


def test_stake_decides_not_heads() -> None:
    built = Builder().layer().add("A2", "A1", "B1").add("B2", "A1", "B1").add("A3", "A2", "B2").add("B3", "A2", "B2")
    assert built.slot("B1", stakes=[5, 1, 1, 1]) == [COMMIT, "B1", "direct"]
    assert built.slot("B1") == OPEN


# --- waves of two


def twins_of_six(first: str, second: str) -> Builder:
    """n = 6, w = 2: F2 has a twin; `first` vote for F2, `second` for F2', the others for neither."""
    built = Builder(6, wave=2, quorum=5, leader_order={"2": ["F"]}).layers(2).add("F2'", "F1", "A1", "B1", "C1", "D1")
    rest = ["A2", "B2", "C2", "D2", "E2"]
    votes = {a: [*rest, "F2"] for a in first} | {a: [*rest, "F2'"] for a in second}
    return built.layer(None, **{a: votes.get(a, rest) for a in built.authors})


def test_a_quorum_of_votes_commits_a_twin_after_two_rounds() -> None:
    assert twins_of_six("ABCDE", "F").slot("F2") == [COMMIT, "F2", "direct"]
    assert twins_of_six("A", "BCDEF").slot("F2") == [COMMIT, "F2'", "direct"]
    assert twins_of_six("ABCD", "EF").slot("F2") == OPEN


def test_an_anchor_needs_a_link_of_votes() -> None:
    """3q - 2n = 3 votes link: three do, two do not, and of two twins with three each none is committed."""
    assert twins_of_six("ABC", "F").layers(6).slot("F2") == [COMMIT, "F2", "indirect"]
    assert twins_of_six("AB", "EF").layers(6).slot("F2") == [SKIP, None, "indirect"]
    assert twins_of_six("ABC", "DEF").layers(6).slot("F2") == [SKIP, None, "indirect"]
    assert twins_of_six("ABC", "F").layers(6).slot("F2", link=4) == [SKIP, None, "indirect"]


def test_anchors_of_a_wave_of_two_lie_two_rounds_above() -> None:
    built = twins_of_six("ABC", "F").layers(4)
    assert built.slot("D3") == [COMMIT, "D3", "direct"]
    assert built.slot("F2") == OPEN
    assert built.layers(5).slot("F2") == [COMMIT, "F2", "indirect"]


def test_weighted_votes_of_a_wave_of_two() -> None:
    decide: Callable[[Builder], list[str | None]] = lambda built: built.slot("B1", stakes=[6, 1, 1, 1, 1, 1], quorum=10)  # noqa: E731
    built = Builder(6, wave=2).layer().add("A2", "A1", "B1").add("B2", "A1", "B1").add("C2", "A1", "B1")
    assert decide(built) == OPEN  # 8 of 11
    assert decide(built.add("D2", "B1").add("E2", "B1")) == [COMMIT, "B1", "direct"]
