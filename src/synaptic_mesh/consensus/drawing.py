"""DAGs as text, for tests and for looking inside.

    drawing = dag("A1:[A0 B0 C0 D0]; B1:[*]; C1:[*]; D1:[*]; A2:[*]; B2:[A1 B1 C1]; A2':[A1 B1 D1]", size=4)
    drawing["A2"]        # the vertex of author A (index 0) in round 2

A block is author letter, round, and a prime for each further twin. `[...]` lists its ancestors, own block first by
rule; `[*]` means the first twin of every author in the round before, `[* -C1]` without C's. Refs to round 0 are
genesis. Order of text is order of arrival.
"""

import re
from dataclasses import dataclass, field

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import NetworkId, PeerId
from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.committer import Decision, Verdict
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.settings import Rules, mysticeti
from synaptic_mesh.identity.committee import Committee, committee_of

BLOCK = re.compile(r"\s*([A-Z])(\d+)('*)\s*:\s*\[([^\]]*)\]\s*")
REF = re.compile(r"(-?)([A-Z])(\d+)('*)")
DRAWN_NETWORK = NetworkId(hash_bytes("SM/drawn-network"))


def drawn_committee(stakes: tuple[int, ...]) -> Committee:
    """Return a committee whose authors are A, B, C, ... in index order."""
    return committee_of(0, {PeerId(bytes([65 + index]) * 32): stake for index, stake in enumerate(stakes)})


def unsigned(_domain: str, _message: bytes) -> bytes:
    """The signature of a drawn block: none. Drawn blocks never pass admission."""
    return bytes(64)


@dataclass
class Drawing:
    """A drawn DAG: the dag itself and its blocks by name."""

    committee: Committee
    dag: Dag
    rules: Rules
    vertices: dict[str, Vertex] = field(default_factory=dict)
    timestamps_ms: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Vertex:
        return self.vertices[name]

    def draw(self, text: str) -> "Drawing":
        """Add blocks. Raises LocalError naming what cannot be read."""
        for part in filter(str.strip, text.replace("\n", ";").split(";")):
            match = BLOCK.fullmatch(part)
            if match is None:
                raise LocalError(f"cannot read {part.strip()!r}: write a block as A2:[A1 B1 C1]")
            author, round_ = ord(match[1]) - 65, int(match[2])
            name = match[1] + match[2] + match[3]
            if author >= self.committee.size or name in self.vertices:
                raise LocalError(
                    f"block {name} is drawn twice or its author is not in a committee of {self.committee.size}"
                )
            self.vertices[name] = self.dag.insert(self.block(name, author, round_, match[4]))
        return self

    def block(self, name: str, author: int, round_: int, ancestors: str) -> VerifiedBlock:
        """The block that this text describes. Its name is its only transaction, so twins differ."""
        return seal_block(
            unsigned,
            network=DRAWN_NETWORK,
            epoch=0,
            round_=round_,
            author=author,
            incarnation=0,
            timestamp_ms=self.timestamps_ms.get(name, 1_000 * round_),
            ancestors=self._refs(author, round_, ancestors),
            transactions=(name.encode(),),
        )

    def _refs(self, author: int, round_: int, text: str) -> tuple[BlockRef, ...]:
        refs: dict[int, BlockRef] = {}
        for token in text.replace(",", " ").split():
            if token == "*":
                for other in range(self.committee.size):
                    letter = chr(65 + other)
                    if round_ == 1 or f"{letter}{round_ - 1}" in self.vertices:
                        refs[other] = self._ref(other, round_ - 1, f"{letter}{round_ - 1}")
                continue
            match = REF.fullmatch(token)
            if match is None:
                raise LocalError(f"cannot read the ancestor {token!r}: write A1, A1' or -A1")
            other = ord(match[2]) - 65
            if match[1]:
                refs.pop(other, None)
            else:
                refs[other] = self._ref(other, int(match[3]), match[2] + match[3] + match[4])
        return tuple(sorted(refs.values(), key=lambda ref: (ref.author != author, ref.author)))

    def _ref(self, author: int, round_: int, name: str) -> BlockRef:
        if round_ == 0:
            return genesis_ref(DRAWN_NETWORK, 0, author)
        if name not in self.vertices:
            raise LocalError(f"ancestor {name} is not drawn yet: draw ancestors first")
        return self.vertices[name].block.ref


def dag(text: str, size: int = 4, stakes: tuple[int, ...] | None = None) -> Drawing:
    """Return the DAG that the text draws, for `size` validators of stake 1 or the stakes given."""
    committee = drawn_committee(stakes or (1,) * size)
    rules = mysticeti(committee)
    return Drawing(committee, Dag(committee, rules.parent_stake), rules).draw(text)


def show_decisions(decisions: list[Decision]) -> str:
    """Decisions as text: "B1 commit direct; C2 skip indirect; D3 undecided"."""
    parts = []
    for decision in decisions:
        way = "" if decision.verdict is Verdict.UNDECIDED else " direct" if decision.direct else " indirect"
        parts.append(f"{chr(65 + decision.author)}{decision.round} {decision.verdict.value}{way}")
    return "; ".join(parts)
