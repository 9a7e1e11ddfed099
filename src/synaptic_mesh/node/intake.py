"""Transactions on their way into a validator's pool, and what their clients are told about them.

    submitted -> its turn -> signature checked -> due: nonce soon, sender known -> in the pool -> executed -> Outcomes
        |                           |                     |                           |             |
     too many                    invalid               refused                     no room       refused

What has no room is put off: that is the back pressure that a client feels, and it sends again later. To check a
signature is what a transaction costs before anyone knows that it can pay. So whoever submits has a line of its own:
lines are checked in turn, and no line takes more room than it leaves for others (`transport/fair_queue.py` says where
both rules come from). A client that floods waits for itself. What has passed, and can pay, waits in the pool in the
order of its coming. After that every transaction ends in one outcome, unless this node stops before; then the client
submits it once more, and its nonce sees to it that it runs once.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import PeerId, short
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.events import TransactionApplied
from synaptic_mesh.ledger.transactions import ActionUnion
from synaptic_mesh.node.checks import Checks, Verdict
from synaptic_mesh.node.messages import (
    SUBMISSION_TRANSACTIONS_MAX,
    TOPIC_CLIENT,
    Outcomes,
    Refusal,
    SendMessage,
    Submission,
)

WAITING_TRANSACTIONS_MAX = 8_192
WAITING_BYTES_MAX = 16 << 20
"""What may wait here and in the pool while others' transactions are still taken. The pool has room for more: that is
for this validator's own. A client may have as many here as are still free: half of all when it is alone.
"""
TURN_TRANSACTIONS = 256
"""Of one client, before the next client's."""
CHECKING_MAX = 1_024
"""Transactions of all clients that are being checked: some 60 ms of one process, and the blocks of other validators
wait for no more than these.
"""
NONCES_AHEAD_MAX = 4_096
"""How far a nonce may be ahead of its account's: what comes later would take room and wait."""
RECENT_MAX = 1 << 14
"""Outcomes kept for a client that lost the message which said so and submits again."""
TRACKED_MAX = 1 << 16
"""Transactions whose clients wait for an outcome; beyond it the oldest is forgotten, and its client asks again."""
FOLLOWERS_MAX = 16
"""Numbers under which one transaction is followed: a client may hand it in again and again."""
OUTCOMES_MAX = 4_096
REASON_BYTES_MAX = 200
"""What one message to a client says at most: 0.9 MiB if every transaction was refused for a reason of its own."""
NUMBER_MAX = 1 << 62

GetAccount = Callable[[bytes], Account]
Objection = Callable[[bytes, ActionUnion], str]
"""Why the ledger would refuse an account's action now, or ""."""
Told = tuple[int, str, bool]
"""What became of a transaction: commit, reason of a refusal or "", whether that is final."""


class Waiting(msgspec.Struct, frozen=True):
    """A part of a message. A client is told what becomes of it, a node is not."""

    sender: PeerId
    is_client: bool
    first: int
    transactions: tuple[bytes, ...]
    bytes_count: int


class _Line:
    """What one sender has here: waiting for its turn, or being checked."""

    __slots__ = ("bytes", "count", "parts")

    def __init__(self) -> None:
        self.parts: deque[Waiting] = deque()
        self.count = 0
        self.bytes = 0


class Intake:
    """See the module's docstring. `checks` gives the verdicts, `get_account` and `objection` the ledger's state."""

    def __init__(self, checks: Checks, get_account: GetAccount, objection: Objection) -> None:
        self._checks = checks
        self._get_account = get_account
        self._objection = objection
        self._lines: dict[PeerId, _Line] = {}  # of whoever has something here
        self._turns: deque[PeerId] = deque()  # whose line has parts that are not being checked, the next one first
        self._checking: deque[tuple[int, Waiting]] = deque()  # with the ticket
        self._checking_count = 0
        self._count = 0
        self._bytes = 0
        self._tracked: OrderedDict[bytes, list[tuple[PeerId, int]]] = OrderedDict()  # id -> who waits, by what number
        self._recent: OrderedDict[bytes, Told] = OrderedDict()
        self._told: dict[PeerId, list[tuple[int, Told]]] = {}
        self._put_off: dict[PeerId, list[Refusal]] = {}  # whole messages, in a word each: a flood is mostly these

    @property
    def tracked_count(self) -> int:
        """Transactions whose clients wait for an outcome."""
        return len(self._tracked)

    def submit(self, client: PeerId, message: Submission, pool_count: int, pool_bytes: int) -> None:
        """Take what has room of a client's message, from the front, and put off the rest. Raises PeerError when it
        breaks a rule.
        """
        count = len(message.transactions)
        if not 1 <= count <= SUBMISSION_TRANSACTIONS_MAX or not 0 <= message.first < NUMBER_MAX:
            raise PeerError(f"{count} transactions from number {message.first} on in one message")
        taken = self._room(client, message.transactions, pool_count, pool_bytes)
        self._enqueue(client, True, message.first, message.transactions[:taken])
        if taken < count:
            full = self._full(client, pool_count, pool_bytes)
            rest = Refusal(message.first + taken, count - taken, full, False)
            self._put_off.setdefault(client, []).append(rest)

    def relay(self, node: PeerId, transactions: tuple[bytes, ...], pool_count: int, pool_bytes: int) -> None:
        """Take what a node without a vote hands on. Raises PeerError when there is nothing in it, and, after what has
        room was taken, when not all of it has.
        """
        if not transactions:
            raise PeerError("a message without transactions")
        taken = self._room(node, transactions, pool_count, pool_bytes)
        self._enqueue(node, False, 0, transactions[:taken])
        if taken < len(transactions):
            raise PeerError(self._full(node, pool_count, pool_bytes))

    def take_due(self) -> tuple[list[bytes], list[tuple[PeerId, str]]]:
        """Return the transactions that may enter the pool now, in order, and why some of a node's may not."""
        due: list[bytes] = []
        dropped: list[tuple[PeerId, str]] = []
        refused: list[bytes] = []
        nonces: dict[bytes, int] = {}
        self._check_more()
        while self._is_next_checked():
            while self._is_next_checked():
                _, waiting = self._checking.popleft()
                self._leave(waiting)
                for number, data in enumerate(waiting.transactions, waiting.first):
                    verdict = self._checks.verdict(data)
                    told = self._refusal(verdict, nonces)
                    if told is None:
                        due.append(data)
                        if waiting.is_client and not isinstance(verdict, str):
                            self._track(verdict.id, waiting.sender, number)
                        continue
                    refused.append(data)
                    if waiting.is_client:
                        self._tell(waiting.sender, number, told)
                    else:
                        dropped.append((waiting.sender, told[1]))
            self._check_more()
        self._checks.forget(refused)  # not before: copies of one transaction have one verdict
        return due, dropped

    def no_room(self, transactions: Iterable[bytes], reason: str) -> None:
        """The pool did not take these after all."""
        for data in transactions:
            verdict = self._checks.verdict(data)
            if not isinstance(verdict, str):
                for client, number in self._tracked.pop(verdict.id, ()):
                    self._tell(client, number, (0, reason, False))
        self._checks.forget(transactions)

    def executed(self, commit: int, applied: Sequence[TransactionApplied]) -> None:
        """Commit `commit` has dealt with these: who submitted them here will hear of it."""
        tracked = self._tracked
        if not tracked:
            return
        for event in applied:
            waiting = tracked.pop(event.id, None)
            if waiting is None:
                continue
            told = (commit, event.reason, event.accepted or self._get_account(event.sender).nonce > event.nonce)
            if told[2]:
                self._remember(event.id, told)
            for client, number in waiting:
                self._tell(client, number, told)

    def take_messages(self) -> list[SendMessage]:
        """Return what clients are to be told now: one message for each client and commit, more if it is much."""
        told, self._told = self._told, {}
        put_off, self._put_off = self._put_off, {}
        messages = [
            SendMessage(client, TOPIC_CLIENT, encode(Outcomes(0, (), tuple(refused))))
            for client, refused in sorted(put_off.items())
        ]
        for client in sorted(told):
            by_commit: dict[int, list[tuple[int, Told]]] = {}
            for entry in told[client]:
                by_commit.setdefault(entry[1][0], []).append(entry)
            for commit, entries in sorted(by_commit.items()):
                entries.sort()
                for start in range(0, len(entries), OUTCOMES_MAX):
                    outcomes = outcomes_of(commit, entries[start : start + OUTCOMES_MAX])
                    messages.append(SendMessage(client, TOPIC_CLIENT, encode(outcomes)))
        return messages

    def _room(self, sender: PeerId, transactions: tuple[bytes, ...], pool_count: int, pool_bytes: int) -> int:
        """Return how many of these may wait here, so that this sender has no more than it leaves for others. Not all or
        none: a client that sends large messages would never get in beside clients that send small ones.
        """
        line = self._lines.get(sender)
        own_count, own_bytes = (line.count, line.bytes) if line else (0, 0)
        room = min(len(transactions), max(WAITING_TRANSACTIONS_MAX - self._count - pool_count - own_count, 0))
        left = WAITING_BYTES_MAX - self._bytes - pool_bytes - own_bytes
        for taken, data in enumerate(transactions[:room]):
            left -= len(data)
            if left < 0:
                return taken
        return room

    def _full(self, sender: PeerId, pool_count: int, pool_bytes: int) -> str:
        own = self._lines[sender].count if sender in self._lines else 0
        count, size = self._count + pool_count, self._bytes + pool_bytes
        return f"{count} transactions ({size} bytes) wait here already, {own} of them yours: submit again later"

    def _enqueue(self, sender: PeerId, is_client: bool, first: int, transactions: tuple[bytes, ...]) -> None:
        if not transactions:
            return
        line = self._lines.setdefault(sender, _Line())
        if not line.parts:
            self._turns.append(sender)
        for start in range(0, len(transactions), TURN_TRANSACTIONS):
            part = transactions[start : start + TURN_TRANSACTIONS]
            waiting = Waiting(sender, is_client, first + start, part, sum(map(len, part)))
            line.parts.append(waiting)
            line.count += len(part)
            line.bytes += waiting.bytes_count
            self._count += len(part)
            self._bytes += waiting.bytes_count
        self._check_more()

    def _check_more(self) -> None:
        """Have signatures checked, a turn of each sender after the other, while few enough are being checked. They are
        handed over together: few at a time would be checked on the event loop (`checks.AT_ONCE_MAX`).
        """
        chosen: list[Waiting] = []
        while self._turns and self._checking_count < CHECKING_MAX:
            sender = self._turns.popleft()
            parts = self._lines[sender].parts
            left = TURN_TRANSACTIONS
            while parts and len(parts[0].transactions) <= left:
                left -= len(parts[0].transactions)
                chosen.append(parts.popleft())
            self._checking_count += TURN_TRANSACTIONS - left
            if parts:
                self._turns.append(sender)
        if chosen:
            ticket = self._checks.want(data for waiting in chosen for data in waiting.transactions)
            self._checking += [(ticket, waiting) for waiting in chosen]

    def _is_next_checked(self) -> bool:
        return bool(self._checking) and self._checking[0][0] < self._checks.oldest

    def _leave(self, waiting: Waiting) -> None:
        """This part has its verdicts: its room is free."""
        count, line = len(waiting.transactions), self._lines[waiting.sender]
        self._checking_count -= count
        self._count -= count
        self._bytes -= waiting.bytes_count
        line.count -= count
        line.bytes -= waiting.bytes_count
        if not line.count:
            del self._lines[waiting.sender]

    def _refusal(self, verdict: Verdict, nonces: dict[bytes, int]) -> Told | None:
        """Return why a transaction cannot run soon, or None. One of a stranger to the ledger, or of an account that
        cannot pay, would take room in a block for nothing.
        """
        if isinstance(verdict, str):
            return (0, verdict, True)
        transaction = verdict.transaction
        sender = transaction.sender
        nonce = nonces.get(sender)
        if nonce is None:
            nonce = nonces[sender] = self._get_account(sender).nonce
        if nonce <= transaction.nonce < nonce + NONCES_AHEAD_MAX:
            objection = self._objection(sender, transaction.action)
            return (0, objection, True) if objection else None
        if transaction.nonce < nonce:
            used = f"nonce {transaction.nonce} of {short(sender)} is used already, the next is {nonce}"
            return self._recent.get(verdict.id, (0, used, True))
        return (0, f"nonce {transaction.nonce} is far ahead, the next of {short(sender)} is {nonce}", False)

    def _track(self, transaction: bytes, client: PeerId, number: int) -> None:
        followers = self._tracked.setdefault(transaction, [])
        if (client, number) in followers:
            return  # it was submitted again because a message was lost
        if len(followers) >= FOLLOWERS_MAX:
            self._tell(client, number, (0, f"{FOLLOWERS_MAX} submissions of this transaction wait already", False))
            return
        followers.append((client, number))
        if len(self._tracked) > TRACKED_MAX:
            self._tracked.popitem(last=False)

    def _remember(self, transaction: bytes, told: Told) -> None:
        if len(self._recent) >= RECENT_MAX:
            self._recent.popitem(last=False)
        self._recent[transaction] = told

    def _tell(self, client: PeerId, number: int, told: Told) -> None:
        commit, reason, is_final = told
        if len(reason) > REASON_BYTES_MAX // 4:  # a character may take four bytes
            reason = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
        self._told.setdefault(client, []).append((number, (commit, reason, is_final)))


def outcomes_of(commit: int, entries: Iterable[tuple[int, Told]]) -> Outcomes:
    """Return the message about transactions by number, neighbours with one fate in one range."""
    accepted: list[tuple[int, int]] = []
    refused: list[Refusal] = []
    for number, (_, reason, is_final) in sorted(entries):
        if not reason:
            if accepted and sum(accepted[-1]) == number:
                accepted[-1] = (accepted[-1][0], accepted[-1][1] + 1)
            else:
                accepted.append((number, 1))
            continue
        last = refused[-1] if refused else None
        if last and last.first + last.count == number and (last.reason, last.is_final) == (reason, is_final):
            refused[-1] = Refusal(last.first, last.count + 1, reason, is_final)
        else:
            refused.append(Refusal(number, 1, reason, is_final))
    return Outcomes(commit, tuple(accepted), tuple(refused))
