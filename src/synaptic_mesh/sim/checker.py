"""What must hold in every run: one order, each block once, no equivocation by the honest, nothing promised is lost.

The checker hears from every honest node as it goes and raises CheckFailed at the first broken promise:

  order       every pair of commit logs is a prefix of one another, in index, leader, digest and ordered blocks
  chain       indices are contiguous, each commit names the digest of the one before, time and GC bound never go back
  causality   an ordered block comes after all its ancestors above the GC bound, and in one commit only
  replay      what a node says again after a restart is what it said before
  durability  a commit is told, and an own block sent, only after its record would survive a crash
  slots       an honest validator never signs two blocks of one round, crash or not
  restarts    an honest validator finds every block that it has sent in its log
  once        no transaction of an honest validator is ordered twice, but for a forgetful one: it may propose again what
              it no longer knows to be in a block that it has lost
  promises    transactions in a durable own block, and those that wait at a validator that stays up, are ordered in the
              end, and every commit that anyone was told is told to all

A forgetful validator (`roles.Role.FORGETFUL`) may find blocks lost that it had sent. It is forgiven a second block of a
round if hardly anyone had the first one safe: that is what the amnesia guard does not promise. `protect` names the
rounds in which it does.
"""

from collections.abc import Iterable, Set

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

    def __init__(self, node_count: int, honest: Iterable[int], forgetful: Iterable[int] = ()) -> None:
        self.honest = tuple(honest)
        self.forgetful = frozenset(forgetful)
        self.excused: set[int] = set()  # forgetful nodes that could not know better than to sign a round twice
        self.logs: list[list[Committed]] = [[] for _ in range(node_count)]
        self.order: list[Committed] = []  # the longest log so far; all others are prefixes of it
        self.direct_count = self.indirect_count = self.replayed_count = self.forgotten_count = 0
        self.own_rounds = [0] * node_count  # highest round in which a node has sent a block of its own
        self._commit_of: dict[BlockRef, int] = {}
        self._own_blocks: list[dict[bytes, int]] = [{} for _ in range(node_count)]  # sent: digest -> round
        self._protected: list[set[int]] = [set() for _ in range(node_count)]
        self._waiting: list[dict[bytes, None]] = [{} for _ in range(node_count)]  # submitted, in no durable block yet
        self._promised: dict[bytes, None] = {}  # transactions, in the order of the promises
        self._due: dict[bytes, None] = {}  # those that must still be ordered by the end
        self._due_index = 0  # and the commit that all must be told
        self._ordered_transactions: set[bytes] = set()

    def started(self, node: int, own_blocks: Set[bytes]) -> list[tuple[int, bytes]]:
        """Node `node` starts with these blocks of its own in its log. Returns round and digest of those that it had
        sent and has lost, which only a forgetful one may.
        """
        lost = [(round_, digest) for digest, round_ in self._own_blocks[node].items() if digest not in own_blocks]
        if node not in self.forgetful:
            check(not lost, f"node {node} restarts without its block of round {lost[0][0] if lost else 0}")
        self.forgotten_count += bool(lost)
        self._waiting[node].clear()  # what waits is not durable: clients submit again
        return lost

    def protect(self, node: int, round_: int) -> None:
        """So many hold the lost block of this round that the guard must find it."""
        self._protected[node].add(round_)

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
        sent = self._own_blocks[node]
        if block.digest in sent:
            return  # a forgetful node gets its own block back from others, and may pass it on at once
        is_second = block.round <= self.own_rounds[node] and block.round in sent.values()
        check(is_durable, f"node {node} sends its block of round {block.round} before it is durable")
        self.own_rounds[node] = max(self.own_rounds[node], block.round)
        sent[block.digest] = block.round
        if not is_second:
            return
        is_forgiven = node in self.forgetful and block.round not in self._protected[node]
        check(is_forgiven, f"honest node {node} sends two different blocks of round {block.round}")
        self.excused.add(node)

    def submitted(self, node: int, transactions: Iterable[bytes]) -> None:
        """These transactions are in the pool of a node."""
        if node not in self.forgetful:
            self._waiting[node].update(dict.fromkeys(transactions))

    def refused(self, node: int, transactions: Iterable[bytes]) -> None:
        """The pool of a node would not take them: nothing is owed."""
        for transaction in transactions:
            self._waiting[node].pop(transaction, None)

    def promised(self, node: int, transactions: Iterable[bytes]) -> None:
        """These transactions stand in a durable block of a node."""
        if node in self.forgetful:
            return
        for transaction in transactions:
            self._waiting[node].pop(transaction, None)
            self._promised[transaction] = None

    def call_in_promises(self) -> None:
        """What has been promised or taken in so far must be ordered when the run ends, and all must be told."""
        due = [*self._promised, *(transaction for waiting in self._waiting for transaction in waiting)]
        self._due = {transaction: None for transaction in due if transaction not in self._ordered_transactions}
        self.call_in_commits()

    def call_in_commits(self) -> None:
        """Every commit that anyone was told so far must be told to all."""
        self._due_index = len(self.order)

    def is_settled(self) -> bool:
        """Is everything that is due ordered, and told to everyone?"""
        return not self._due and all(len(self.logs[node]) >= self._due_index for node in self.honest)

    def commit_count(self, node: int) -> int:
        """Commits that this node was told, over all its lives."""
        return len(self.logs[node])

    def finish(self) -> None:
        """Check what only the end can show."""
        due = list(self._due)
        check(not due, f"{len(due)} transactions in durable blocks or pools were never ordered, the first is {due[:1]}")
        for node in self.honest:
            told = len(self.logs[node])
            check(told >= self._due_index, f"node {node} was told {told} of {self._due_index} commits")

    def _compare(self, node: int, said: Committed, known: Committed) -> None:
        if said.digest != known.digest or said.commit != known.commit:
            other = describe(known.commit)
            raise CheckFailed(f"fork: node {node} commits {describe(said.commit)}, another honest node {other}")
        if [block.digest for block in said.blocks] != [block.digest for block in known.blocks]:
            raise CheckFailed(f"node {node}, commit {said.commit.index}: blocks do not match the commit")

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
            self._extend_transactions(where, block)
        self.order.append(said)

    def _extend_transactions(self, where: str, block: VerifiedBlock) -> None:
        is_exact = block.author in self.honest and block.author not in self.forgetful
        for transaction in block.transactions:
            is_new = transaction not in self._ordered_transactions
            check(is_new or not is_exact, f"{where} orders {transaction!r} a second time")
            self._ordered_transactions.add(transaction)
            self._due.pop(transaction, None)

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
