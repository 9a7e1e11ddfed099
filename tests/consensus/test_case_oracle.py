"""Random drawings for which no validity rule holds, decided a second time by code that shares nothing with ours.

The oracle reads names and lists alone: votes are the first ancestor in the slot, histories are sets of names.
"""

import json
from collections import Counter
from functools import cache
from random import Random
from typing import Any

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus.case import decide_case, read_case


class Oracle:
    """The rule over names: a block is "B3'", its slot "B3"."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.ancestors: dict[str, list[str]] = dict(case["blocks"])
        self.quorum, self.wave = case["quorum"], case["wave"]
        self.link = 1 if self.wave == 3 else max(1, 3 * self.quorum - 2 * case["n"])
        self.top = max((int(slot(name)[1:]) for name in self.ancestors), default=0)
        self.history = cache(self._history)

    def _history(self, name: str) -> frozenset[str]:
        found = {name}
        for ancestor in self.ancestors.get(name, ()):
            found |= self.history(ancestor)
        return frozenset(found)

    def of_round(self, round_: int) -> list[str]:
        return [name for name in self.ancestors if int(slot(name)[1:]) == round_]

    def vote(self, name: str, leader_slot: str) -> str | None:
        return next((a for a in self.ancestors.get(name, ()) if slot(a) == leader_slot), None)

    def certifies(self, name: str, leader: str) -> bool:
        if self.wave == 2:
            return self.vote(name, slot(leader)) == leader
        voters = {a[0] for a in self.ancestors[name] if self.vote(a, slot(leader)) == leader}
        return len(voters) >= self.quorum

    def decide(self) -> list[list[str | None]]:
        decided: list[list[str | None]] = []
        for round_ in range(self.top, 0, -1):
            if not self.case["pipeline"] and round_ % self.wave:
                continue
            named = (self.case["leader_order"] or {}).get(str(round_))
            n = self.case["n"]
            usual = ["ABCDEFGHIJ"[(round_ + k) % n] for k in range(self.case["leaders_per_round"])]
            for author in reversed(usual if named is None else named):
                decided.insert(0, self._slot(author, round_, list(decided)))
        return decided

    def _slot(self, author: str, round_: int, later: list[list[str | None]]) -> list[str | None]:
        name = f"{author}{round_}"
        blames = {b[0] for b in self.of_round(round_ + 1) if self.vote(b, name) is None}
        if len(blames) >= self.quorum:
            return [name, "Skip", None, "direct"]
        proposals = [b for b in self.ancestors if slot(b) == name]
        last = self.of_round(round_ + self.wave - 1)
        sure = [p for p in proposals if len({b[0] for b in last if self.certifies(b, p)}) >= self.quorum]
        if len(sure) > 1:
            raise LocalError("two")
        if sure:
            return [name, "Commit", sure[0], "direct"]
        for anchor_slot, verdict, anchor, _ in later:
            assert anchor_slot is not None
            if int(anchor_slot[1:]) < round_ + self.wave or verdict == "Skip":
                continue
            if anchor is None:
                break
            seen = [b for b in last if b in self.history(anchor)]
            linked = [p for p in proposals if len({b[0] for b in seen if self.certifies(b, p)}) >= self.link]
            if len(linked) > 1 and self.wave == 3:
                raise LocalError("two")
            return [name, "Commit", linked[0], "indirect"] if len(linked) == 1 else [name, "Skip", None, "indirect"]
        return [name, "Undecided", None, None]


def slot(name: str) -> str:
    return name.rstrip("'")


def drawn(random: Random) -> dict[str, Any]:
    """Missing blocks and parents, twins, both twins in one block, refs over several rounds, doubled refs."""
    wave = random.choice((2, 3))
    n = random.choice((4, 5, 7) if wave == 3 else (4, 6, 7))
    authors = "ABCDEFGHIJ"[:n]
    quorum = 2 * n // 3 + 1 if wave == 3 else n - max(1, (n - 1) // 5)
    density, leader_love, honesty = random.choice((0.6, 0.8, 0.95)), random.random(), random.choice((0.8, 0.95, 1))
    blocks: list[tuple[str, list[str]]] = []
    rounds: list[list[str]] = [[f"{a}0" for a in authors]]
    for round_ in range(1, random.randint(4, 12)):
        produced = []
        for author in authors:
            for twin in range(
                random.choice((1, 1, 1, 1, 2)) if random.random() < honesty else random.choice((0, 2, 3))
            ):
                favourite = authors[(round_ - 1) % n]
                chosen = [b for b in rounds[-1] if random.random() < (leader_love if b[0] == favourite else density)]
                old = [b for below in rounds[:-1][-3:] for b in below if random.random() < 0.05]
                refs = chosen + old + random.sample(chosen, min(len(chosen), random.choice((0, 0, 0, 1))))
                random.shuffle(refs)
                produced.append(f"{author}{round_}" + "'" * twin)
                blocks.append((produced[-1], refs))
        rounds.append(produced)
    order = {str(random.randint(1, 6)): random.sample(authors, random.randint(0, n)) for _ in range(2)}
    return {
        "n": n,
        "wave": wave,
        "pipeline": random.random() < 0.7,
        "leaders_per_round": random.choice((1, 1, 2, n)),
        "leader_order": random.choice((None, None, order)),
        "quorum": quorum,
        "blocks": blocks,
    }


@pytest.mark.parametrize("batch", range(20))
def test_the_oracle_agrees(batch: int) -> None:
    random = derive_random(batch, "oracle")
    seen: Counter[tuple[str | None, str | None]] = Counter()
    refused = 0
    for _ in range(25):
        case = drawn(random)
        try:
            expected = Oracle(case).decide()
        except LocalError:
            refused += 1
            with pytest.raises(LocalError, match="no rule decides this DAG"):
                decide_case(read_case(json.dumps(case).encode()))
            continue
        result = decide_case(read_case(json.dumps(case).encode()))
        assert result["decided"] == expected
        open_at = next((i for i, each in enumerate(expected) if each[1] == "Undecided"), len(expected))
        assert result["prefix"] == [f"{each[0]}:{each[1]}" for each in expected[:open_at]]
        seen.update((each[1], each[3]) for each in expected)
    assert refused < 15
    assert len(seen) == 5, f"a kind of decision is missing: {seen}"
