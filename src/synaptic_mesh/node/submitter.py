"""A client's transactions on their way through one validator: in order, within a window, again after a loss.

    push -> queue -> sent (at most `window` of them) -> Outcomes -> finished
              ^        |
              +--------+  refused for now, or no word for RESEND_MS

Numbers ascend as transactions are pushed, and so do the nonces of each sender among them. So what comes back is queued
again in its place, before everything younger, and a transaction that was refused because an older one was missing runs
when it comes again.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from synaptic_mesh.node.messages import SUBMISSION_TRANSACTIONS_MAX, Outcomes, Submission

WINDOW_TRANSACTIONS = 512
WINDOW_BYTES = 1 << 20
"""On their way at once through one validator: what 5,000 transactions a second need at 0.1 s each. A sixteenth of what
a validator lets wait: many clients fit, and what waits too long waits here and not in everybody's pools.
"""
MESSAGE_BYTES = 640 << 10
"""Of transactions in one message; the largest transaction fits."""
RESEND_MS = 5_000
"""Without a word after this time a message or its answer was lost, or the validator had a fault."""
PAUSE_MS = 50
"""After a refusal for now: about one commit."""
GATHER_SHARE = 24
"""Messages leave no faster than this many in the time that a transaction takes. Every message costs its validator a
signature check, whatever it holds: so about a twenty-fourth is added to the wait, and the longer the queues of a busy
network are, the larger and fewer the messages become (what Nagle's algorithm does for segments, RFC 896).
"""
GATHER_MS_MAX = 50
"""The most that is added, also when transactions have just become faster again."""


class Finished(msgspec.Struct, frozen=True):
    """What became of one transaction. `commit` is where it was executed, 0 when it never was; `reason` is empty when it
    was accepted.
    """

    number: int
    commit: int
    reason: str


class Submitter:
    """See the module's docstring. Times are integer milliseconds of the caller's clock."""

    def __init__(self, window: int = WINDOW_TRANSACTIONS, window_bytes: int = WINDOW_BYTES) -> None:
        self._window = window
        self._window_bytes = window_bytes
        self._queue: deque[tuple[int, bytes]] = deque()
        self._sent: dict[int, tuple[bytes, int]] = {}  # number -> transaction, when
        self._sent_bytes = 0
        self._next = 0
        self._paused_until_ms = 0
        self._gather_until_ms = 0
        self._took_ms = 0  # smoothed, from sending to the outcome
        self.refused_count = 0
        """How often a transaction was refused for now."""

    def __len__(self) -> int:
        """Transactions without an outcome."""
        return len(self._queue) + len(self._sent)

    @property
    def queue_count(self) -> int:
        """Transactions that wait for room in the window."""
        return len(self._queue)

    def push(self, transaction: bytes) -> int:
        """Queue a signed transaction; return its number."""
        number = self._next
        self._next += 1
        self._queue.append((number, transaction))
        return number

    def take(self, now_ms: int) -> list[Submission]:
        """Return what is to be sent now."""
        if not self._queue or now_ms < self._paused_until_ms:
            return []
        if now_ms < self._gather_until_ms and len(self._queue) < self._window // 2:
            return []
        messages: list[Submission] = []
        part: list[bytes] = []
        size = 0
        first = following = self._queue[0][0]
        while self._queue and len(self._sent) < self._window and self._sent_bytes < self._window_bytes:
            number, data = self._queue[0]
            if part and (
                number != following or size + len(data) > MESSAGE_BYTES or len(part) == SUBMISSION_TRANSACTIONS_MAX
            ):
                messages.append(Submission(first, tuple(part)))
                part, size = [], 0
            if not part:
                first = number
            self._queue.popleft()
            part.append(data)
            size += len(data)
            following = number + 1
            self._sent[number] = (data, now_ms)
            self._sent_bytes += len(data)
        if part:
            messages.append(Submission(first, tuple(part)))
            self._gather_until_ms = now_ms + min(self._took_ms // GATHER_SHARE, GATHER_MS_MAX)
        return messages

    def outcomes(self, message: Outcomes, now_ms: int) -> list[Finished]:
        """Take in what the validator says; return what is settled by it. What it has no business with is ignored."""
        finished: list[Finished] = []
        if message.accepted:
            self._learn_time(message.accepted[0][0], now_ms)
        for first, count in message.accepted:
            for number in self._numbers(first, count):
                self._remove(number)
                finished.append(Finished(number, message.commit, ""))
        again: list[int] = []
        for refusal in message.refused:
            numbers = self._numbers(refusal.first, refusal.count)
            if not refusal.is_final:
                again += numbers
                continue
            for number in numbers:
                self._remove(number)
                finished.append(Finished(number, message.commit, refusal.reason))
        if again:
            self.refused_count += len(again)
            self._paused_until_ms = now_ms + PAUSE_MS
            self._queue_again(again)
        return finished

    def handle_deadline(self, now_ms: int) -> None:
        """Queue again what has had no word for too long."""
        late: list[int] = []
        for number, (_, sent_ms) in self._sent.items():  # in the order of sending
            if sent_ms + RESEND_MS > now_ms:
                break
            late.append(number)
        self._queue_again(late)

    def deadline_ms(self) -> int | None:
        """When `take` or `handle_deadline` has something to do although nothing comes in."""
        oldest = next(iter(self._sent.values()), None)
        dues = [] if oldest is None else [oldest[1] + RESEND_MS]
        if self._queue and len(self._sent) < self._window and self._sent_bytes < self._window_bytes:
            dues.append(max(self._paused_until_ms, self._gather_until_ms))
        return min(dues, default=None)

    def _learn_time(self, number: int, now_ms: int) -> None:
        """One more transaction was executed: its time counts an eighth (RFC 6298)."""
        sent = self._sent.get(number)
        if sent is not None:
            took_ms = now_ms - sent[1]
            self._took_ms = (7 * self._took_ms + took_ms) // 8 if self._took_ms else took_ms

    def _numbers(self, first: int, count: int) -> list[int]:
        """Those of a range that are on their way. A range is only as dear as the window, whatever it claims."""
        if count > len(self._sent):
            return [number for number in self._sent if first <= number < first + count]
        return [number for number in range(first, first + count) if number in self._sent]

    def _remove(self, number: int) -> bytes:
        data, _ = self._sent.pop(number)
        self._sent_bytes -= len(data)
        return data

    def _queue_again(self, numbers: Iterable[int]) -> None:
        returned = [(number, self._remove(number)) for number in sorted(numbers)]
        if returned:
            self._queue = deque(sorted([*returned, *self._queue]))
