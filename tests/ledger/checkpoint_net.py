"""Certifiers linked by a network that loses, repeats and delays; everything follows from one seed."""

from collections.abc import Callable, Sequence

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.identity.committee import Committee, committee_of
from synaptic_mesh.identity.hybrid import HybridKey
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.certifier import Certifier
from synaptic_mesh.ledger.checkpoint import Checkpoint, CheckpointRules
from synaptic_mesh.ledger.checkpoint_effects import Broadcast, Effect, Send, StoreVote

NETWORK = bytes(range(32))
COMMITS = 10
KEYS = sorted((KeyPair(derive_bytes(3, "validator", index)) for index in range(4)), key=lambda key: key.peer_id)
PEERS = [key.peer_id for key in KEYS]


def rules_of(*, is_hybrid: bool = False, stakes: Sequence[int] = (1, 1, 1, 1)) -> CheckpointRules:
    keys = {key.peer_id: HybridKey(key).public for key in KEYS} if is_hybrid else None
    committee: Committee = committee_of(0, dict(zip(PEERS, stakes, strict=True)), keys)
    return CheckpointRules(committee, NETWORK, COMMITS)


RULES = rules_of()


def checkpoint(index: int, root: int = 0, rules: CheckpointRules = RULES) -> Checkpoint:
    """The state after a commit; root 0 is the right one."""
    return rules.checkpoint(index, index.to_bytes(32, "big"), 1_000 * index, bytes([root]) * 32, 77)


def certifier(author: int, rules: CheckpointRules = RULES) -> Certifier:
    key = KEYS[author]
    machine = Certifier(rules, author, HybridKey(key).sign if rules.committee.is_hybrid else key.sign)
    machine.resume(0)
    return machine


Liar = Callable[[int, int], bytes]
"""(receiver, now_ms) -> what it is sent."""


class Net:
    """Four validators, of which the liar (if any) is no machine but bytes. The disk takes a random time."""

    def __init__(self, seed: int, *, loss: float, rules: CheckpointRules = RULES, liar: int | None = None) -> None:
        self.random = derive_random(seed, "net")
        self.loss = loss
        self.now_ms = 0
        self.liar = liar
        self.machines = {author: certifier(author, rules) for author in range(4) if author != liar}
        self.effects: list[tuple[int, Effect]] = []
        self.refused = 0
        self._events: list[tuple[int, int, Callable[[], list[Effect]], int]] = []
        self._count = 0
        for author, machine in self.machines.items():
            for peer in PEERS:
                if peer != PEERS[author]:
                    self.carry_out(author, machine.connected(peer, 0))

    def later(self, delay_ms: int, author: int, event: Callable[[], list[Effect]]) -> None:
        self._count += 1
        self._events.append((self.now_ms + delay_ms, self._count, event, author))

    def send(self, sender: int, receiver: int, data: bytes) -> None:
        if receiver not in self.machines:
            return
        for _ in range(self.random.choice((1, 1, 1, 2))):
            if self.random.random() >= self.loss:
                self.later(self.random.randint(1, 80), receiver, lambda: self._receive(sender, receiver, data))

    def _receive(self, sender: int, receiver: int, data: bytes) -> list[Effect]:
        try:
            return self.machines[receiver].receive_untrusted(PEERS[sender], data, self.now_ms)
        except PeerError:
            self.refused += 1
            return []

    def execute(self, author: int, what: Checkpoint) -> None:
        self.carry_out(author, self.machines[author].executed(what, self.now_ms))

    def carry_out(self, author: int, effects: Sequence[Effect]) -> None:
        machine = self.machines[author]
        for effect in effects:
            self.effects.append((author, effect))
            match effect:
                case StoreVote():
                    self.later(self.random.randint(1, 20), author, lambda: machine.stored(self.now_ms))
                case Broadcast(message):
                    for receiver in range(4):
                        if receiver != author:
                            self.send(author, receiver, encode(message))
                case Send(peer, message):
                    self.send(author, PEERS.index(PeerId(peer)), encode(message))
                case _:
                    pass

    def run(self, until_ms: int) -> None:
        while self.now_ms < until_ms:
            self.now_ms += 10
            due = sorted(event for event in self._events if event[0] <= self.now_ms)
            self._events = [event for event in self._events if event[0] > self.now_ms]
            for _, _, event, author in due:
                self.carry_out(author, event())
            for author, machine in self.machines.items():
                at_ms = machine.deadline_ms()
                if at_ms is not None and at_ms <= self.now_ms:
                    self.carry_out(author, machine.handle_deadline(self.now_ms))

    def found(self, kind: type[Effect]) -> list[tuple[int, Effect]]:
        return [(author, effect) for author, effect in self.effects if isinstance(effect, kind)]
