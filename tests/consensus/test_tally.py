"""The cached counts say what the definition says on random DAGs with twins; two views of one DAG never disagree."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus.committer import Decision, Verdict, decide_all, decided_prefix
from synaptic_mesh.consensus.dag import Dag
from synaptic_mesh.consensus.drawing import Drawing, drawn_committee
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.settings import Rules, mysticeti, two_delay
from synaptic_mesh.consensus.tally import Committer
from synaptic_mesh.identity.committee import Committee

RULES: dict[str, tuple[tuple[int, ...], Callable[[Committee], Rules]]] = {
    "three delays": ((4, 4, 7), mysticeti),
    "two leaders": ((4, 7), lambda committee: replace(mysticeti(committee), leader_count=2)),
    "all lead": ((4, 5), lambda committee: replace(mysticeti(committee), leader_count=committee.size)),
    "not pipelined": ((4,), lambda committee: replace(mysticeti(committee), leader_count=2, is_pipelined=False)),
    "two delays": ((6, 7, 8), two_delay),
    "two delays, two leaders": ((6, 11), lambda committee: replace(two_delay(committee), leader_count=2)),
}


def empty(size: int, rules_of: Callable[[Committee], Rules] = mysticeti) -> Drawing:
    committee = drawn_committee((1,) * size)
    rules = rules_of(committee)
    return Drawing(committee, Dag(committee, rules.parent_stake), rules)


def schedule_of(drawing: Drawing) -> LeaderSchedule:
    rules = drawing.rules
    return LeaderSchedule(drawing.committee, rules.leader_count, rules.wave_rounds, rules.is_pipelined)


def random_text(random: Random, drawing: Drawing, rounds: int) -> list[str]:
    """Blocks in causal order, each with a random quorum of parents; the first f authors make twins. How often the
    leader is among the parents varies, so that there are commits, skips and undecided stretches.
    """
    size, quorum, liars = drawing.dag.size, drawing.rules.parent_stake, drawing.rules.faulty_stake_max
    names: list[list[str]] = [[f"{chr(65 + author)}0"] for author in range(size)]
    text = []
    leader_love = random.choice((0.1, 0.4, 0.7, 0.95))
    for round_ in range(1, rounds + 1):
        produced: list[list[str]] = []
        for author in range(size):
            letter = chr(65 + author)
            own = names[author]
            twins = []
            for twin in range(random.choice((1, 1, 2)) if author < liars else 1):
                others = [other for other in range(size) if other != author and names[other]]
                random.shuffle(others)
                leader = (round_ - 1) % size  # of the round that this block votes in
                if leader in others:
                    others.remove(leader)
                    others.insert(0 if random.random() < leader_love else len(others), leader)
                count = random.randint(quorum - 1, max(quorum - 1, len(others)))
                chosen = [random.choice(names[other]) for other in others[:count]]
                name = f"{letter}{round_}" + "'" * twin
                text.append(f"{name}:[{' '.join([random.choice(own), *chosen])}]")
                twins.append(name)
            produced.append(twins)
        names = produced
    return text


def shown(decisions: list[Decision]) -> list[tuple[int, int, str, bytes]]:
    return [(d.round, d.author, d.verdict.value, d.leader.digest if d.leader else b"") for d in decisions]


def advance(committer: Committer, into: list[Decision]) -> None:
    while (decision := committer.next_decision()) is not None:
        committer.advance()
        into.append(decision)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", RULES)
def test_tally_equals_definition(kind: str, seed: int) -> None:
    random = derive_random(seed, "tally")
    sizes, rules_of = RULES[kind]
    drawing = empty(random.choice(sizes), rules_of)
    schedule = schedule_of(drawing)
    committer = Committer(drawing.dag, drawing.rules, schedule)
    decided: list[Decision] = []
    for step, block in enumerate(random_text(random, drawing, 16)):
        drawing.draw(block)
        committer.note(drawing.vertices[block.split(":")[0]])
        advance(committer, decided)
        if step % 11 == 0:
            definition = decide_all(drawing.dag, drawing.rules, schedule.leaders, 0)
            assert shown(decided) == shown(decided_prefix(definition))


@pytest.mark.parametrize("kind", RULES)
def test_the_random_dags_reach_every_kind_of_decision(kind: str) -> None:
    kinds = set()
    sizes, rules_of = RULES[kind]
    for seed in range(12):
        random = derive_random(seed, "tally")
        drawing = empty(random.choice(sizes), rules_of)
        drawing.draw("; ".join(random_text(random, drawing, 16)))
        for d in decide_all(drawing.dag, drawing.rules, schedule_of(drawing).leaders, 0):
            kinds.add((d.verdict, d.direct))
    assert {(Verdict.COMMIT, True), (Verdict.COMMIT, False), (Verdict.SKIP, True), (Verdict.SKIP, False)} <= kinds


@pytest.mark.parametrize("batch", range(4))
@pytest.mark.parametrize("kind", RULES)
def test_views_of_one_dag_never_disagree(kind: str, batch: int) -> None:
    """Nodes see causally closed parts of the blocks; their decided prefixes are prefixes of one another."""
    assert sum(decided_in_views(derive_random(batch, "views", seed), *RULES[kind]) for seed in range(4)) > 0


def decided_in_views(random: Random, sizes: tuple[int, ...], rules_of: Callable[[Committee], Rules]) -> int:
    """Compare six views of a random DAG; return how many slots the best informed one decided."""
    size = random.choice(sizes)
    text = {block.split(":")[0]: block for block in random_text(random, empty(size, rules_of), 18)}
    parents = {name: block.split("[")[1].rstrip("]").split() for name, block in text.items()}
    prefixes = []
    for _ in range(6):
        newest = random.randint(8, 18)
        tips = [name for name in text if newest - 2 <= int(name[1:].rstrip("'")) <= newest]
        closed: set[str] = set()
        todo = random.sample(tips, random.randint(1, len(tips)))
        while todo:
            name = todo.pop()
            if name in text and name not in closed:
                closed.add(name)
                todo.extend(parents[name])
        view = empty(size, rules_of)
        committer = Committer(view.dag, view.rules, schedule_of(view))
        seen: list[Decision] = []
        for name in [name for name in text if name in closed]:
            view.draw(text[name])
            committer.note(view.vertices[name])
            advance(committer, seen)
        prefixes.append(shown(seen))
    longest = max(prefixes, key=len)
    assert all(longest[: len(prefix)] == prefix for prefix in prefixes)
    return len(longest)


def test_reset_decides_again_under_the_new_schedule() -> None:
    """C is demoted after round 1: the decisions made for rounds 2 to 5 belonged to other leaders and are gone."""
    drawing = empty(4)
    schedule = LeaderSchedule(drawing.committee)
    committer = Committer(drawing.dag, drawing.rules, schedule)
    drawing.draw("; ".join(f"{a}{r}:[*]" for r in range(1, 8) for a in "ABCD"))
    for vertex in drawing.vertices.values():
        committer.note(vertex)
    assert committer.next_decision() is not None
    committer.advance()
    schedule.demote({2}, 2)
    committer.reset()
    rest: list[Decision] = []
    advance(committer, rest)
    assert [(d.round, d.author) for d in rest] == [(2, 3), (3, 0), (4, 1), (5, 3)]
    assert [d.leader for d in rest] == [drawing[name] for name in ("D2", "A3", "B4", "D5")]
