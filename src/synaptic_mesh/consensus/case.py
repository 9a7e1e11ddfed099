"""A drawn DAG with the numbers of its rule, as JSON: what does the committer decide?

    {"n": 4, "wave": 3, "pipeline": true, "leaders_per_round": 1, "leader_order": {"1": ["B", "A"]}, "quorum": 3,
     "blocks": [["A1", ["A0", "B0", "C0", "D0"]], ["B1", [...]], ["B1'", [...]], ...]}

A block is its author's letter (after Z comes AA), its round, and primes for equivocating twins; then its ancestors, all
drawn before it. Their order matters where two are of one slot: the first one is voted for. Round 0 is a full genesis
that is not drawn. Nothing else is demanded of a block: no own parent, no quorum below, so that rules can be probed.
"""

import codecs
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from synaptic_mesh.base.errors import InvariantBroken, LocalError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus.block import BlockRef, genesis_ref, seal_block
from synaptic_mesh.consensus.committer import Decision, Verdict, decide_all, decided_prefix
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.drawing import DRAWN_NETWORK, unsigned
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.settings import Rules
from synaptic_mesh.identity.committee import Committee, committee_of

CASE_BYTES_MAX = 16 << 20
ROUND_MAX = 10_000
"""Highest round of a drawn block: every round from 1 up to the highest one is decided."""
NAME = re.compile(r"([A-Z]{1,2})(0|[1-9]\d{0,8})('*)")
LETTERS = 26
AUTHORS_MAX = LETTERS + LETTERS * LETTERS
"""A to Z and AA to ZZ."""
WORDS = {Verdict.COMMIT: "Commit", Verdict.SKIP: "Skip", Verdict.UNDECIDED: "Undecided"}


class Case(msgspec.Struct, frozen=True):
    """The file. Fields that it has besides these are not looked at: a name, or what is expected."""

    n: int
    blocks: list[tuple[str, list[str]]]
    wave: int = 3
    pipeline: bool = True
    leaders_per_round: int = 1
    leader_order: dict[str, list[str]] | None = None  # round -> its leaders by rank; other rounds as usual
    quorum: int | None = None  # every threshold but the link; None: 2S//3 + 1, in a wave of two S - (S-1)//5
    link: int | None = None  # certificates that an anchor needs; None: 1, in a wave of two 3q - 2S, at least 1
    stakes: list[int] | None = None  # by author; None: 1 each


def read_case(data: bytes) -> Case:
    """Return the case in the bytes of a file. Raises LocalError naming the first thing that cannot be used."""
    if len(data) > CASE_BYTES_MAX:
        raise LocalError(f"the file has {len(data)} bytes, a drawn DAG has at most {CASE_BYTES_MAX}: draw less")
    try:
        return msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8), type=Case)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LocalError(f"this is not a drawn DAG in JSON: {error}") from None


def decide_case(case: Case) -> dict[str, Any]:
    """Return {"decided": [[slot, verdict, block or null, "direct" | "indirect" | null], ...], "prefix": ["A1:Commit",
    ...]} over every leader slot from the first to the highest round, by round and rank. Raises LocalError.
    """
    drawn = Drawn(case)
    schedule = drawn.schedule()
    try:
        decisions = decide_all(drawn.dag, drawn.rules, lambda round_: drawn.leaders(schedule, round_), 0)
    except InvariantBroken as error:  # in a network a reason to stop; in a drawing the drawer's choice
        raise LocalError(f"no rule decides this DAG: {error}; draw fewer liars") from None
    return {
        "decided": [drawn.describe(decision) for decision in decisions],
        "prefix": [f"{slot_name(d.author, d.round)}:{WORDS[d.verdict]}" for d in decided_prefix(decisions)],
    }


class Drawn:
    """A case whose blocks have been put into a dag. Raises LocalError naming what does not fit together."""

    def __init__(self, case: Case) -> None:
        if not 1 <= case.n <= AUTHORS_MAX:
            raise LocalError(f"n is {case.n}; a drawn committee has 1 to {AUTHORS_MAX} validators")
        if not 1 <= case.leaders_per_round <= case.n:
            count = case.leaders_per_round
            raise LocalError(f"leaders_per_round is {count}; {case.n} validators have 1 to {case.n} leaders a round")
        self.case = case
        self.committee = drawn_committee(case)
        self.rules = rules_of(case, self.committee)
        self.dag = Dag(self.committee, self.rules.parent_stake)
        self.names: dict[bytes, str] = {}
        self._vertices: dict[str, Vertex] = {}
        self._order = {
            read_round(round_): self._ranks(round_, names) for round_, names in (case.leader_order or {}).items()
        }
        for name, ancestors in case.blocks:
            self._draw(name, ancestors)

    def schedule(self) -> LeaderSchedule:
        """Leaders where the case names none."""
        rules = self.rules
        return LeaderSchedule(self.committee, rules.leader_count, rules.wave_rounds, rules.is_pipelined)

    def leaders(self, schedule: LeaderSchedule, round_: int) -> Sequence[int]:
        """Authors by rank: those that the case names, in rounds that have leaders at all."""
        return self._order.get(round_, schedule.leaders(round_)) if self.rules.has_leaders(round_) else ()

    def describe(self, decision: Decision) -> list[str | None]:
        """[slot, verdict, block, way] of one decision."""
        is_open = decision.verdict is Verdict.UNDECIDED
        way = None if is_open else "direct" if decision.direct else "indirect"
        block = None if decision.leader is None else self.names[decision.leader.digest]
        return [slot_name(decision.author, decision.round), WORDS[decision.verdict], block, way]

    def _ranks(self, round_: str, names: list[str]) -> tuple[int, ...]:
        ranks = tuple(self._author(name, f"leader_order of round {round_}") for name in names)
        if len(set(ranks)) < len(ranks):
            raise LocalError(f"leader_order of round {round_} names one author twice: {' '.join(names)}")
        return ranks

    def _author(self, letters: str, where: str) -> int:
        if not re.fullmatch("[A-Z]{1,2}", letters):
            raise LocalError(f"{where} names {letters!r}; an author is a capital letter, or two after Z")
        author = author_index(letters)
        if author >= self.case.n:
            raise LocalError(
                f"{where} names author {letters}, but n is {self.case.n}: they are A to {last_of(self.case)}"
            )
        return author

    def _draw(self, name: str, ancestors: list[str]) -> None:
        author, round_, _ = self._read(name)
        if not 1 <= round_ <= ROUND_MAX:
            raise LocalError(
                f"block {name} is of round {round_}; drawn rounds are 1 to {ROUND_MAX}, genesis is implied"
            )
        if name in self._vertices:
            raise LocalError(f"block {name} is drawn twice: give a twin a prime, {name}'")
        block = seal_block(
            unsigned,
            network=DRAWN_NETWORK,
            epoch=0,
            round_=round_,
            author=author,
            incarnation=0,
            timestamp_ms=0,
            ancestors=tuple(self._ref(name, round_, ancestor) for ancestor in ancestors),
            transactions=(name.encode(),),  # twins differ
        )
        self._vertices[name] = self.dag.insert(block)
        self.names[block.digest] = name

    def _ref(self, name: str, round_: int, ancestor: str) -> BlockRef:
        author, ancestor_round, primes = self._read(ancestor)
        if ancestor_round >= round_:
            raise LocalError(f"block {name} has the ancestor {ancestor}; ancestors are of lower rounds")
        if ancestor_round == 0 and not primes:
            return genesis_ref(DRAWN_NETWORK, 0, author)
        vertex = self._vertices.get(ancestor)
        if vertex is None:
            raise LocalError(f"block {name} has the ancestor {ancestor}, which is not drawn before it")
        return vertex.block.ref

    def _read(self, name: str) -> tuple[int, int, str]:
        match = NAME.fullmatch(name)
        if match is None:
            raise LocalError(
                f"cannot read the block name {name!r}: write a letter, a round and primes for twins, as B2'"
            )
        return self._author(match[1], f"block {name}"), int(match[2]), match[3]


def rules_of(case: Case, committee: Committee) -> Rules:
    """The rule that the case asks for. `quorum` is the one number of them all but the link, which is 1 in a wave of
    three. In a wave of two an anchor must tell a committed leader from a twin: with q = S - f that is S - 3f = 3q - 2S.
    """
    total = committee.total_stake
    quorum = case.quorum
    if quorum is None:
        quorum = total - (total - 1) // 5 if case.wave == 2 else committee.quorum
    if not 1 <= quorum <= total:
        raise LocalError(f"quorum is {quorum}; with a total stake of {total} it is between 1 and {total}")
    link = case.link
    if link is None:
        link = max(1, 3 * quorum - 2 * total) if case.wave == 2 else 1
    return Rules(case.wave, quorum, quorum, quorum, quorum, link, total - quorum, case.leaders_per_round, case.pipeline)


def drawn_committee(case: Case) -> Committee:
    """Authors in the order of their letters."""
    stakes = case.stakes or [1] * case.n
    if len(stakes) != case.n:
        raise LocalError(f"stakes has {len(stakes)} entries for {case.n} validators")
    for author, stake in enumerate(stakes):
        if stake < 1:
            raise LocalError(
                f"stakes gives {author_letters(author)} {stake}; every validator has a stake of at least 1"
            )
    try:
        return committee_of(0, {PeerId((i + 1).to_bytes(32, "big")): stake for i, stake in enumerate(stakes)})
    except ValueError as error:
        raise LocalError(f"stakes cannot be used: {error}") from None


def read_round(text: str) -> int:
    """A key of leader_order."""
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise LocalError(f"leader_order has the key {text!r}; its keys are rounds from 1")
    return int(text)


def author_letters(author: int) -> str:
    """A to Z, then AA, AB, ..."""
    high, low = divmod(author, LETTERS)
    return (chr(64 + high) if high else "") + chr(65 + low)


def author_index(letters: str) -> int:
    """The inverse of author_letters, for one or two capital letters."""
    index = 0
    for letter in letters:
        index = index * LETTERS + ord(letter) - 64
    return index - 1


def last_of(case: Case) -> str:
    """The letters of the last author."""
    return author_letters(case.n - 1)


def slot_name(author: int, round_: int) -> str:
    """A slot as text: B7."""
    return f"{author_letters(author)}{round_}"
