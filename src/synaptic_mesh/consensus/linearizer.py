"""A committed leader becomes an ordered list of blocks, and the next link of the commit chain.

commit(L) orders every block in L's history that is above the gc round of the previous commit and not yet ordered: by
round, then by H(L's digest || block digest), so that no author gains from a low index. Blocks are marked one by one; an
author's last ordered round would lose late blocks. Two twins may both be ordered: executing a transaction twice must be
harmless (nonces).

The time of a commit is the stake-weighted median of the timestamps of the leader's parents in the round before, at
least the previous commit's: with at most f lying stake it lies between honest clocks. The ledger limits its advance
further.
"""

from blake3 import blake3

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest, NetworkId
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.messages import Commit
from synaptic_mesh.consensus.reputation import Reputation
from synaptic_mesh.consensus.settings import Rules


def first_previous(network: NetworkId | bytes, epoch: int) -> Digest:
    """`previous` of the first commit of an epoch."""
    return hash_bytes("SM/commit-genesis/v1", network, epoch.to_bytes(8, "little"))


def commit_digest(commit: Commit) -> Digest:
    """The digest that the next commit names as `previous`."""
    return hash_bytes("SM/commit/v1", encode(commit))


class Linearizer:
    """The end of the commit chain: index, digest, time and gc round of the last commit."""

    def __init__(
        self, dag: Dag, rules: Rules, schedule: LeaderSchedule, reputation: Reputation, previous: Digest
    ) -> None:
        self.dag = dag
        self.rules = rules
        self.schedule = schedule
        self.reputation = reputation
        self.index = 0
        self.digest = previous
        self.timestamp_ms = 0
        self.gc_round = 0

    def commit(self, leader: Vertex) -> tuple[Commit, list[Vertex]]:
        """Order what the leader brings; change the turn above its round when this commit demands it. The dag is not
        pruned here.
        """
        index, schedule = self.index + 1, self.schedule
        ordered = self._collect(leader, index)
        gc_round = max(self.gc_round, leader.round - self.rules.gc_depth)
        self.reputation.note(leader.block.ref, [vertex.block.header for vertex in ordered], gc_round)
        schedule.demote(self._equivocators(ordered), leader.round + 1)
        if index % self.rules.reputation_commits == 0:
            benched, favoured = self.reputation.choose(schedule.demoted)
            schedule.swap(benched, favoured, leader.round + 1)
        commit = Commit(
            index=index,
            previous=self.digest,
            leader=leader.block.ref,
            timestamp_ms=max(self.timestamp_ms, median_timestamp(leader, self.dag.stakes)),
            gc_round=gc_round,
            blocks=tuple([vertex.block.ref for vertex in ordered]),
            demoted=schedule.demoted,
            benched=schedule.benched,
            favoured=schedule.favoured,
        )
        self.restore(commit, commit_digest(commit))
        return commit, ordered

    def restore(self, commit: Commit, digest: Digest) -> None:
        """Make this the last commit."""
        self.index, self.digest = commit.index, digest
        self.timestamp_ms, self.gc_round = commit.timestamp_ms, commit.gc_round

    def _collect(self, leader: Vertex, index: int) -> list[Vertex]:
        floor, stack, found = self.gc_round, [leader], [leader]
        leader.commit_index = index
        while stack:
            for parent in stack.pop().parents:
                if parent.commit_index == 0 and parent.round > floor:
                    parent.commit_index = index
                    found.append(parent)
                    stack.append(parent)
        seed = leader.digest
        found.sort(key=lambda vertex: (vertex.round, blake3(seed + vertex.digest).digest()))
        return found

    def _equivocators(self, ordered: list[Vertex]) -> set[int]:
        authors: set[int] = set()
        for vertex in ordered:
            twins = self.dag.slot(vertex.round, vertex.author)
            if len(twins) > 1 and sum(twin.commit_index > 0 for twin in twins) > 1:
                authors.add(vertex.author)
        return authors


def median_timestamp(leader: Vertex, stakes: tuple[int, ...]) -> int:
    """Lowest parent timestamp with at least half of the parents' stake at or below it; 0 in round 1."""
    times = sorted((parent.block.header.timestamp_ms, stakes[author]) for author, parent in leader.links.items())
    total, below = sum(stake for _, stake in times), 0
    for timestamp_ms, stake in times:
        below += stake
        if 2 * below >= total:
            return timestamp_ms
    return 0
