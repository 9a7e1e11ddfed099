"""The commit rule as pure functions of the DAG: the definition. `tally.py` is the same rule with its counts cached.

A leader slot (round r, author) is decided by the rounds above it. With a wave of w = 3 rounds the blocks of r+1 vote
and those of r+2 certify; with w = 2 a vote of r+1 is itself the certificate:

  support       a block of r+1 supports the first block of the slot among its ancestors; validity V6 leaves at most one
  certificate   w = 3: a block of r+2 whose parents that support L have stake >= certificate_stake
  direct        Skip when authors with stake >= skip_stake have a block in r+1 without any ancestor in the slot;
                Commit L when authors with stake >= commit_stake have a block in r+w-1 that certifies L
  indirect      the anchor is the first slot of a round >= r+w, in the order of rounds and ranks, that is not skipped.
                While it is undecided, so is this one. If it is committed: Commit L when certificates of L in the
                anchor's history have stake >= link_stake, else Skip. Two such twins (possible only for w = 2, and
                only if neither was committed directly anywhere): Skip

Blame is counted per slot: a block of r+1 that references any twin of the slot does not blame it; one that references
only an older block of the leader does. Stake is that of authors, never of blocks: an equivocator counts once on each
side. Two honest nodes never decide one slot differently: a quorum of certificates and a quorum of blames would share an
honest author that voted both ways, and every anchor's parents meet every quorum of certificates. Babel et al., NDSS
2025, arXiv:2310.14821, section on decision rules; `settings` has the arithmetic for w = 2.
"""

import enum
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from synaptic_mesh.base.errors import broken
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.settings import Rules


class Verdict(enum.Enum):
    """What is known about a leader slot."""

    COMMIT = "commit"
    SKIP = "skip"
    UNDECIDED = "undecided"


class Decision(msgspec.Struct, frozen=True):
    """The verdict on a leader slot; `leader` is the committed block."""

    round: int
    author: int
    verdict: Verdict
    leader: Vertex | None = None
    direct: bool = True


def support(block: Vertex, author: int) -> Vertex | None:
    """The block of slot (block.round - 1, author) that this block votes for, if any."""
    return block.links.get(author)


def is_certificate(dag: Dag, rules: Rules, block: Vertex, leader: Vertex) -> bool:
    """Does this block, wave_rounds - 1 above the leader, vote for it (w = 2) or hold votes of certificate_stake?"""
    if rules.wave_rounds == 2:
        return support(block, leader.author) is leader
    below = block.round - 1
    voters = [p.author for p in block.parents if p.round == below and support(p, leader.author) is leader]
    return stake_of(dag, voters) >= rules.certificate_stake


def try_direct_decide(dag: Dag, rules: Rules, round_: int, author: int) -> Decision:
    """Decide a leader slot from the rounds of its wave alone."""
    blamers = [vote.author for vote in dag.vertices(round_ + 1) if support(vote, author) is None]
    if stake_of(dag, blamers) >= rules.skip_stake:
        return Decision(round_, author, Verdict.SKIP)
    top = round_ + rules.wave_rounds - 1
    committed = [
        leader
        for leader in dag.slot(round_, author)
        if stake_of(dag, certifiers(dag, rules, leader, dag.vertices(top))) >= rules.commit_stake
    ]
    if len(committed) > 1:
        broken(f"two blocks of author {author} in round {round_} are certified by quorums: more than f stake lies")
    if committed:
        return Decision(round_, author, Verdict.COMMIT, committed[0])
    return Decision(round_, author, Verdict.UNDECIDED)


def try_indirect_decide(dag: Dag, rules: Rules, round_: int, author: int, later: Sequence[Decision]) -> Decision:
    """Decide a leader slot through its anchor. `later`: decisions of the slots above, in order of round and rank."""
    for anchor in later:
        if anchor.round < round_ + rules.wave_rounds or anchor.verdict is Verdict.SKIP:
            continue
        if anchor.leader is None:
            break
        history = reach(anchor.leader, round_ + rules.wave_rounds - 1)
        linked = [
            leader
            for leader in dag.slot(round_, author)
            if stake_of(dag, certifiers(dag, rules, leader, history)) >= rules.link_stake
        ]
        return linked_decision(rules, round_, author, linked)
    return Decision(round_, author, Verdict.UNDECIDED, direct=False)


def linked_decision(rules: Rules, round_: int, author: int, linked: Sequence[Vertex]) -> Decision:
    """What an anchor says that links these blocks of a slot. Raises InvariantBroken for two in a wave of three."""
    if len(linked) > 1 and rules.wave_rounds > 2:
        broken(f"an anchor links two blocks of author {author} in round {round_}: more than f stake lies")
    if len(linked) == 1:
        return Decision(round_, author, Verdict.COMMIT, linked[0], direct=False)
    return Decision(round_, author, Verdict.SKIP, direct=False)


def decide_all(
    dag: Dag, rules: Rules, leaders_of: Callable[[int], Sequence[int]], decided_round: int
) -> list[Decision]:
    """The decisions of every leader slot above decided_round up to the highest round, in order of round and rank; any
    may be undecided. leaders_of: round -> authors by rank, perhaps none.
    """
    decisions: deque[Decision] = deque()
    for round_ in range(dag.highest_round, decided_round, -1):
        for author in reversed(leaders_of(round_)):
            decision = try_direct_decide(dag, rules, round_, author)
            if decision.verdict is Verdict.UNDECIDED:
                decision = try_indirect_decide(dag, rules, round_, author, decisions)
            decisions.appendleft(decision)
    return list(decisions)


def decided_prefix(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions before the first undecided one: only these may be acted upon."""
    prefix: list[Decision] = []
    for decision in decisions:
        if decision.verdict is Verdict.UNDECIDED:
            break
        prefix.append(decision)
    return prefix


def certifiers(dag: Dag, rules: Rules, leader: Vertex, blocks: Iterable[Vertex]) -> list[int]:
    """Authors, perhaps repeated, of those blocks that certify the leader."""
    return [block.author for block in blocks if is_certificate(dag, rules, block, leader)]


def stake_of(dag: Dag, authors: Iterable[int]) -> int:
    """Stake of a set of authors; an author that occurs twice counts once."""
    return sum(dag.stakes[author] for author in set(authors))


def reach(vertex: Vertex, round_: int) -> list[Vertex]:
    """The blocks of a round in the history of a block of a higher round, in a fixed order."""
    found: dict[bytes, Vertex] = {}
    stack, seen = [vertex], {vertex.digest}
    while stack:
        for parent in stack.pop().parents:
            if parent.round < round_ or parent.digest in seen:
                continue
            seen.add(parent.digest)
            if parent.round == round_:
                found[parent.digest] = parent
            else:
                stack.append(parent)
    return [found[digest] for digest in sorted(found)]
