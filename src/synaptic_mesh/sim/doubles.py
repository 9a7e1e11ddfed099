"""Validators that run the code of the honest and sign two blocks of one round all the same.

An amnesiac starts from an old copy of its log and asks nobody. Twins are two instances with one key that hear different
parts of the network for a while (Bano et al. 2021, "Twins: BFT systems made robust", arXiv:2004.10617). The honest code
stops when it meets its own double; `Obstinate` does not, because a stopped liar proves nothing.
"""

from collections.abc import Iterable, Sequence, Set
from random import Random

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.messages import Committed
from synaptic_mesh.sim.checker import Checker
from synaptic_mesh.sim.node import Action, Send, SimNode, Work

TICK_TOKEN = 0
"""Token of the Work that redraws who hears whom; the tokens of a core begin at 1."""
SCRIPT_MS = (20, 100, 400)
"""For how long twins hear the same parts of the network."""
FIRST, SECOND, BOTH = range(3)
SPLITS = ((FIRST, SECOND), (FIRST, SECOND, BOTH), (BOTH,))
"""Sides that are drawn from: a clean split, a split with listeners on both sides, none."""


class Obstinate(Consensus):
    """A core that goes on when another block carries its signature."""

    def _find_own(self, block: VerifiedBlock) -> None:
        if not self.dag.slot(block.round, block.author):
            super()._find_own(block)


class Unheard(Checker):
    """Believes nothing that a faulty node says, but counts the rounds in which it signed two blocks."""

    def __init__(self) -> None:
        super().__init__(0, ())
        self.doubled_count = 0
        self._signed: dict[int, set[bytes]] = {}

    def committed(self, node: int, said: Committed, is_durable: bool) -> None:
        """Whatever it says."""

    def started(self, node: int, own_blocks: Set[bytes]) -> list[tuple[int, bytes]]:  # noqa: ARG002
        """Whatever it has lost."""
        return []

    def submitted(self, node: int, transactions: Iterable[bytes]) -> None:
        """Whatever it was given."""

    def refused(self, node: int, transactions: Iterable[bytes]) -> None:
        """Whatever was refused."""

    def promised(self, node: int, transactions: Iterable[bytes]) -> None:
        """Whatever it promises."""

    def sent_own_block(self, node: int, block: VerifiedBlock, is_durable: bool) -> None:  # noqa: ARG002
        """Count a second block of a round once."""
        signed = self._signed.setdefault(block.round, set())
        self.doubled_count += block.digest not in signed and len(signed) == 1
        signed.add(block.digest)


class Stoppable:
    """A faulty SimNode that may find its own state broken: it stops for good, and the others go on without it."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self.failure = ""

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:
        """Begin, if its own log makes sense to it."""
        try:
            return self.node.start(records, now_ms)
        except InvariantBroken as error:
            return self._stop(error)

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:
        """Pass it on."""
        try:
            return [] if self.failure else self.node.receive(sender, data, now_ms)
        except InvariantBroken as error:
            return self._stop(error)

    def handle_done(self, token: int, now_ms: int) -> list[Action]:
        """Pass it on."""
        try:
            return [] if self.failure else self.node.handle_done(token, now_ms)
        except InvariantBroken as error:
            return self._stop(error)

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:
        """Pass it on."""
        try:
            return [] if self.failure else self.node.handle_link(peer, is_up, now_ms)
        except InvariantBroken as error:
            return self._stop(error)

    def handle_deadline(self, now_ms: int) -> list[Action]:
        """Pass it on."""
        try:
            return [] if self.failure else self.node.handle_deadline(now_ms)
        except InvariantBroken as error:
            return self._stop(error)

    def deadline_ms(self) -> int | None:
        """The node's, until it stops."""
        return None if self.failure else self.node.deadline_ms()

    def _stop(self, error: InvariantBroken) -> list[Action]:
        self.failure = str(error)
        return []


class TwinPair:
    """Two instances behind one address. Who talks to which of them is redrawn every `script_ms`; neither crashes."""

    def __init__(self, twins: tuple[SimNode, SimNode], node_count: int, random: Random) -> None:
        self._twins = twins
        self._random = random
        self._script_ms = random.choice(SCRIPT_MS)
        self._sides = [BOTH] * node_count

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:  # noqa: ARG002
        """Both begin anew: their common disk is never read."""
        actions: list[Action] = []
        for which in (FIRST, SECOND):
            actions += self._tag(which, self._twins[which].start((), now_ms))
        return [*actions, Work(self._script_ms, TICK_TOKEN)]

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:
        """Whoever the sender talks to now hears it."""
        actions: list[Action] = []
        for which in (FIRST, SECOND):
            if self._sides[sender] in (which, BOTH):
                actions += self._tag(which, self._twins[which].receive(sender, data, now_ms))
        return actions

    def handle_done(self, token: int, now_ms: int) -> list[Action]:
        """Redraw the sides, or pass it on to the twin that asked for it."""
        if token == TICK_TOKEN:
            choices = self._random.choice(SPLITS)
            self._sides = [self._random.choice(choices) for _ in self._sides]
            return [Work(self._script_ms, TICK_TOKEN)]
        which = token & 1
        return self._tag(which, self._twins[which].handle_done(token >> 1, now_ms))

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:
        """Both notice."""
        first, second = (twin.handle_link(peer, is_up, now_ms) for twin in self._twins)
        return [*self._tag(FIRST, first), *self._tag(SECOND, second)]

    def handle_deadline(self, now_ms: int) -> list[Action]:
        """Wake whoever is due."""
        actions: list[Action] = []
        for which in (FIRST, SECOND):
            deadline_ms = self._twins[which].deadline_ms()
            if deadline_ms is not None and deadline_ms <= now_ms:
                actions += self._tag(which, self._twins[which].handle_deadline(now_ms))
        return actions

    def deadline_ms(self) -> int | None:
        """The earlier one."""
        due = [deadline for twin in self._twins if (deadline := twin.deadline_ms()) is not None]
        return min(due, default=None)

    def _tag(self, which: int, actions: list[Action]) -> list[Action]:
        """Tokens remember their twin, and messages go only to those who talk to it."""
        tagged: list[Action] = []
        for action in actions:
            if isinstance(action, Send):
                receivers = tuple(index for index in action.receivers if self._sides[index] in (which, BOTH))
                if receivers:
                    tagged.append(Send(receivers, action.data))
            elif isinstance(action, Work):
                tagged.append(Work(action.duration_ms, action.token << 1 | which))
            else:
                tagged.append(type(action)(action.record, action.token << 1 | which))
        return tagged
