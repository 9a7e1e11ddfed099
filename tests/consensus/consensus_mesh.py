"""Consensus cores joined by a driver of a few lines: messages arrive after a fixed delay, disks answer after one. No
randomness.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.messages import (
    Append,
    Appended,
    Broadcast,
    Commit,
    Committed,
    Effect,
    Message,
    PeerConnected,
    ReadStored,
    Send,
    StoredRead,
    TransactionsSubmitted,
    to_event,
)
from synaptic_mesh.consensus.settings import Rules, Settings, mysticeti
from synaptic_mesh.consensus.stored import StoredIndex, read_blocks
from synaptic_mesh.identity.committee import Committee, committee_of
from synaptic_mesh.identity.keys import KeyPair

NETWORK = bytes([9]) * 32
DELAY_MS = 5
DISK_MS = 1


def keys_of(size: int) -> list[KeyPair]:
    """Keys in the order of their author index."""
    return sorted((KeyPair(bytes([seed + 1]) * 32) for seed in range(size)), key=lambda key: key.peer_id)


def committee_for(keys: Sequence[KeyPair], stakes: Sequence[int] = ()) -> Committee:
    return committee_of(0, {key.peer_id: stakes[i] if stakes else 1 for i, key in enumerate(keys)})


class Mesh:
    """`size` validators and `observers` observers under one clock."""

    def __init__(
        self,
        size: int,
        observers: int = 0,
        settings: Settings | None = None,
        stakes: Sequence[int] = (),
        gc_depth: int = 0,
        rules: Callable[[Committee], Rules] | None = None,
    ) -> None:
        self.keys = keys_of(size)
        self.committee = committee_for(self.keys, stakes)
        everyone = [*self.keys, *(KeyPair(bytes([200 + i]) * 32) for i in range(observers))]
        self.peers = [key.peer_id for key in everyone]
        self.index = {peer: i for i, peer in enumerate(self.peers)}
        self.settings = settings or Settings()
        self.rules = rules(self.committee) if rules else None
        if gc_depth:
            self.rules = mysticeti(self.committee, gc_depth)
        parent_stake = self.rules.parent_stake if self.rules else None
        self.verify = Admission(self.committee, NETWORK, parent_stake=parent_stake).verify_untrusted
        self.cores = [self.new_core(i) for i in range(len(everyone))]
        self.now_ms = 0
        self.stored: list[tuple[list[VerifiedBlock], list[Commit]]] = [([], []) for _ in everyone]
        self.told: list[list[Committed]] = [[] for _ in everyone]
        self.effects: list[list[Effect]] = [[] for _ in everyone]
        self.sent: Counter[str] = Counter()
        self.down: set[int] = set()
        self.is_store_read = False  # for peers
        self.disk_ms: dict[int, int] = {}  # of slow disks
        self.is_lost: Callable[[int, int, Message], bool] = lambda *_: False
        self._queue: list[tuple[int, int, int, int, Any]] = []
        self._count = 0
        self._lives = [0] * len(everyone)  # events of an earlier life are lost

    def new_core(self, i: int, incarnation: int = 0) -> Consensus:
        is_validator = i < self.committee.size
        return Consensus(
            self.settings, self.committee, NETWORK,
            author=i if is_validator else None,
            sign=self.keys[i].sign if is_validator else None,
            random=derive_random(i, "mesh"), rules=self.rules, incarnation=incarnation,
        )  # fmt: skip

    def start(self, *only: int) -> None:
        """Start everybody, or some, with what they have stored."""
        for i in only or range(len(self.cores)):
            self.down.discard(i)
            blocks, commits = self.stored[i]
            executed = len(commits) if only else 0
            stored_round = 1 if self.is_store_read else None
            effects = self.cores[i].start(
                self.now_ms, blocks=blocks, commits=commits, executed_index=executed, stored_round=stored_round
            )
            self.act(i, effects)
            for peer in self.peers:
                if peer != self.peers[i]:
                    self.act(i, self.cores[i].handle(PeerConnected(peer), self.now_ms))

    def crash(self, i: int) -> None:
        """Forget everything but the store."""
        self.down.add(i)
        self._lives[i] += 1
        self.cores[i] = self.new_core(i)

    def submit(self, i: int, *transactions: bytes) -> None:
        self.act(i, self.cores[i].handle(TransactionsSubmitted(transactions), self.now_ms))

    def act(self, i: int, effects: list[Effect]) -> None:
        self.effects[i].extend(effects)
        for effect in effects:
            if isinstance(effect, Append | ReadStored):
                self._at(self.disk_ms.get(i, DISK_MS), i, effect)
            elif isinstance(effect, Committed):
                self.told[i].append(effect)
            elif isinstance(effect, Broadcast | Send):
                self.sent[type(effect.message).__name__] += 1
                receivers = [self.index[effect.peer]] if isinstance(effect, Send) else range(len(self.cores))
                for j in receivers:
                    if j != i and not self.is_lost(i, j, effect.message):
                        self._at(DELAY_MS, j, (self.peers[i], effect.message))

    def _at(self, delay_ms: int, i: int, what: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._count, i, self._lives[i], what))

    def run(self, until_ms: int) -> "Mesh":
        """Let the time pass."""
        while True:
            deadline_ms, late = min(
                (
                    (d, i)
                    for i, core in enumerate(self.cores)
                    if i not in self.down and (d := core.deadline_ms()) is not None
                ),
                default=(until_ms + 1, -1),
            )
            next_ms = self._queue[0][0] if self._queue else until_ms + 1
            if min(next_ms, deadline_ms) > until_ms:
                self.now_ms = until_ms
                return self
            if next_ms <= deadline_ms:
                self.now_ms, _, i, life, what = heapq.heappop(self._queue)
                if i not in self.down and life == self._lives[i]:
                    self._deliver(i, what)
            else:
                self.now_ms = max(self.now_ms, deadline_ms)
                self.act(late, self.cores[late].handle_deadline(self.now_ms))

    def _deliver(self, i: int, what: Any) -> None:
        if isinstance(what, Append):
            self.stored[i][0].extend(what.blocks)
            self.stored[i][1].extend(what.commits)
            self.act(i, self.cores[i].handle(Appended(what.token), self.now_ms))
        elif isinstance(what, ReadStored):
            index, records = StoredIndex(), [(block.encoded,) for block in self.stored[i][0]]
            for block in self.stored[i][0]:
                index.note(block.round)
            begin = index.begin(what.place, what.floor_round)
            blocks, place = read_blocks(records[begin[0] :], begin, what.blocks_max, what.bytes_max)
            self.act(i, self.cores[i].handle(StoredRead(what.peer, blocks, place), self.now_ms))
        else:
            self.act(i, self.cores[i].handle(to_event(*what, self.verify), self.now_ms))

    def logs_agree(self) -> bool:
        """Every commit log is a prefix of the longest."""
        logs = [[committed.digest for committed in told] for told in self.told]
        longest = max(logs, key=len)
        return all(longest[: len(log)] == log for log in logs)
