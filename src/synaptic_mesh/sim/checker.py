"""What must hold in every run: one order, each block once, no equivocation by the honest, nothing promised is lost.

The checker hears from every honest node as it goes and raises CheckFailed at the first broken promise:

  order       every pair of commit logs is a prefix of one another, in index, leader, digest and ordered blocks
  chain       indices are contiguous, each commit names the digest of the one before, time and GC bound never go back
  causality   an ordered block comes after all its ancestors above the GC bound, and in one commit only
  replay      what a node says again after a restart is what it said before
  durability  a commit is told, and an own block sent, only after its record would survive a crash
  slots       an honest validator never signs two blocks of one round, crash or not
  promises    transactions in a durable own block are ordered in the end
"""

from collections.abc import Iterable

from synaptic_mesh.consensus.block import BlockRef, VerifiedBlock
from synaptic_mesh.consensus.messages import Commit, Committed


class CheckFailed(Exception):
    """A promise of the protocol is broken. The message names the nodes and values."""


def check(condition: bool, message: str) -> None:
    """Raise CheckFailed(message) unless `condition` is true."""
    if not condition:
        raise CheckFailed(message)


class Checker:
    """Collects what honest nodes say. `logs[index]` is what node `index` has been told so far, oldest commit first."""

    def __init__(self, node_count: int, honest: Iterable[int]) -> None:
        self.honest = tuple(honest)
        self.logs: list[list[Committed]] = [[] for _ in range(node_count)]
        self.order: list[Committed] = []  # the longest log so far; all others are prefixes of it
        self.direct_count = self.indirect_count = self.replayed_count = 0
        self.own_rounds = [0] * node_count  # highest round in which a node has sent a block of its own
        self._commit_of: dict[BlockRef, int] = {}
        self._own_blocks: list[dict[int, bytes]] = [{} for _ in range(node_count)]
        self._promised: dict[bytes, None] = {}  # transactions, in the order of the promises
        self._due: tuple[bytes, ...] = ()  # those of them that must be ordered by the end
        self._ordered_transactions: set[bytes] = set()

    def committed(self, node: int, said: Committed, is_durable: bool) -> None:
        """Node `node` was told the next commit, or in a restart one that it had been told before."""
        index, log = said.commit.index, self.logs[node]
        check(is_durable, f"node {node} was told commit {index} before it was durable")
        check(1 <= index <= len(log) + 1, f"node {node} was told commit {index} after commit {len(log)}")
        if index <= len(log):
            self.replayed_count += 1
            check(said.digest == log[index - 1].digest, f"node {node} replays another commit {index} than it was told")
            return
        if index <= len(self.order):
            self._compare(node, said, self.order[index - 1])
        else:
            self._extend_order(node, said)
        log.append(said)
        self.direct_count += said.direct
        self.indirect_count += not said.direct

    def sent_own_block(self, node: int, block: VerifiedBlock, is_durable: bool) -> None:
        """Honest node `node` gave a block of its own to the network."""
        check(is_durable, f"node {node} sends its block of round {block.round} before it is durable")
        self.own_rounds[node] = max(self.own_rounds[node], block.round)
        known = self._own_blocks[node].setdefault(block.round, block.digest)
        check(known == block.digest, f"honest node {node} sends two different blocks of round {block.round}")

    def promised(self, transactions: Iterable[bytes]) -> None:
        """These transactions stand in a durable block of an honest node."""
        for transaction in transactions:
            self._promised[transaction] = None

    def call_in_promises(self) -> None:
        """What has been promised so far must be ordered when the run ends."""
        self._due = tuple(self._promised)

    def commit_count(self, node: int) -> int:
        """Commits that this node was told, over all its lives."""
        return len(self.logs[node])

    def finish(self) -> None:
        """Compare every pair of logs once more, in full; every promise called in must be kept."""
        for a in self.honest:
            for b in self.honest:
                if a < b:
                    for said_a, said_b in zip(self.logs[a], self.logs[b], strict=False):
                        self._compare(a, said_a, said_b)
        lost = [transaction for transaction in self._due if transaction not in self._ordered_transactions]
        check(not lost, f"{len(lost)} transactions in durable blocks were never ordered, the first is {lost[:1]}")

    def _compare(self, node: int, said: Committed, known: Committed) -> None:
        if said.digest != known.digest or said.commit != known.commit:
            other = describe(known.commit)
            raise CheckFailed(f"fork: node {node} commits {describe(said.commit)}, another honest node {other}")

    def _extend_order(self, node: int, said: Committed) -> None:
        commit = said.commit
        previous = self.order[-1] if self.order else None
        where = f"node {node}, commit {commit.index}"
        if previous is not None:
            check(commit.previous == previous.digest, f"{where} does not name the digest of the commit before")
            check(commit.timestamp_ms >= previous.commit.timestamp_ms, f"{where}: commit time goes back")
            check(commit.gc_round >= previous.commit.gc_round, f"{where}: the GC bound goes back")
        check(bool(commit.blocks) and commit.leader in commit.blocks, f"{where} does not order its leader")
        check(tuple(block.ref for block in said.blocks) == commit.blocks, f"{where}: blocks do not match the commit")
        gc_round = previous.commit.gc_round if previous is not None else 0
        for block in said.blocks:
            self._extend_history(where, block, gc_round)
            self._commit_of[block.ref] = commit.index
            self._ordered_transactions.update(block.transactions)
        self.order.append(said)

    def _extend_history(self, where: str, block: VerifiedBlock, gc_round: int) -> None:
        check(block.ref not in self._commit_of, f"{where} orders {block} a second time")
        check(block.round > gc_round, f"{where} orders {block}, at or below the GC bound {gc_round}")
        for ancestor in block.header.ancestors:
            if ancestor.round > gc_round and ancestor not in self._commit_of:
                raise CheckFailed(f"{where} orders {block} before its ancestor of round {ancestor.round}")


def describe(commit: Commit) -> str:
    """One commit in words."""
    leader, blocks = commit.leader, len(commit.blocks)
    return f"#{commit.index} leader {leader.author}@{leader.round} {leader.digest[:4].hex()} with {blocks} blocks"
