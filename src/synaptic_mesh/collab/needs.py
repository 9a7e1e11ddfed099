"""What a participant is waiting for: blobs and results, wanted anew at every look at the job.

A look (`begin` ... `finish`) asks for whatever the job's state calls for. What is there is returned at once; what is
not becomes an effect, once, within the bounds on work in flight and in the order of asking. What a look no longer asks
for is forgotten, and a computation for it cancelled. So a changed phase needs no bookkeeping anywhere else, and a
restart is only the first look.
"""

from collections.abc import Iterable

import msgspec

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.collab.messages import (
    BlobFetched,
    BlobMissing,
    CancelCompute,
    Compute,
    Computed,
    Effect,
    Failed,
    FetchBlob,
    PublishBlob,
    Refusal,
    Result,
    SubmitAction,
    Task,
    task_key,
)
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.transactions import Action

DOUBLINGS_MAX = 16
"""Keeps the pause between fetches an ordinary integer, however long a blob is missing."""


class Pace(msgspec.Struct, frozen=True):
    """How much a participant has under way at once, and how soon it asks again."""

    fetches_max: int = 8
    """Enough to hide a round trip; bulk bandwidth is the transport's business."""
    computes_max: int = 1
    """A worker thread runs one program at a time."""
    fetch_retry_ms: int = 50
    """First pause after a failed fetch, doubled at each further one: a sealed blob opens when its holder has seen the
    commit that we have seen, which is a matter of a round trip or two."""
    fetch_retry_ms_max: int = 2_000
    settled_misses: int = 3
    """A blob that was missing so often is not waited for: with the pauses above, after 150 ms."""
    settled_ms: int = 1_000
    """Nor is one that was asked for so long ago: its holder may be silent on purpose. Its fetch goes on, and the next
    blob is fetched beside it."""
    compute_retry_ms: int = 2_000
    """After a failure of this machine."""


class Source(msgspec.Struct, frozen=True):
    """A blob and who has it: peers to ask first, and others that should have it too."""

    blob: BlobRef
    first: tuple[bytes, ...]
    others: tuple[bytes, ...]


class Needs:
    """See the module's docstring. Not a machine by itself: the participant drives it."""

    def __init__(self, peer: PeerId, pace: Pace) -> None:
        self._peer = peer
        self._pace = pace
        self._held: set[bytes] = set()
        self._fetching: dict[bytes, int | None] = {}
        """Digest -> None while the fetch runs, else the time from which it may be asked for again."""
        self._misses: dict[bytes, int] = {}
        """Digest -> how often its fetch failed."""
        self._asked_ms: dict[bytes, int] = {}
        """Digest of a blob that is being fetched -> when it was first asked for."""
        self._wake_ms: int | None = None
        """When a fetch will have taken so long that something else no longer waits for it."""
        self._results: dict[bytes, Result] = {}
        self._computing: dict[bytes, int | None] = {}
        """Task key -> None while the task runs, else as above."""
        self._done: set[bytes] = set()
        """Submissions and publications already asked for."""
        self._now_ms = 0
        # What the present look wants, in the order of asking:
        self._wanted: set[bytes] = set()
        self._effects: list[Effect] = []
        self._blobs: dict[bytes, Source] = {}
        self._tasks: dict[bytes, Task] = {}

    # --- events

    def note(self, event: Computed | Failed | BlobFetched | BlobMissing, now_ms: int) -> bool:
        """Take in an answer, and say whether somebody waited for it. Others change nothing."""
        match event:
            case Computed(key, result) if key in self._computing:
                del self._computing[key]
                self._results[key] = result
            case Failed(key, _) if key in self._computing:
                self._computing[key] = now_ms + self._pace.compute_retry_ms
            case BlobFetched(digest) if digest in self._fetching:
                del self._fetching[digest]
                self._held.add(digest)
            case BlobMissing(digest) if digest in self._fetching:
                misses = self._misses[digest] = self._misses.get(digest, 0) + 1
                pause_ms = self._pace.fetch_retry_ms << min(misses - 1, DOUBLINGS_MAX)
                self._fetching[digest] = now_ms + min(pause_ms, self._pace.fetch_retry_ms_max)
            case _:
                return False
        return True

    def forget_results(self, keep: bytes) -> None:
        """Drop all finished results but one: the outer step they belong to is over."""
        self._results = {key: result for key, result in self._results.items() if key == keep}

    def deadline_ms(self) -> int | None:
        """When something that failed may be asked for again."""
        times = (*self._fetching.values(), *self._computing.values(), self._wake_ms)
        return min((at for at in times if at is not None), default=None)

    # --- one look

    def begin(self, now_ms: int) -> None:
        """Start a look."""
        self._now_ms = now_ms
        self._wanted, self._effects, self._blobs, self._tasks = set(), [], {}, {}
        self._wake_ms = None

    def hold(self, source: Source) -> bool:
        """Want a blob; answer whether it lies here."""
        digest = source.blob.digest
        self._wanted.add(digest)
        if digest in self._held:
            return True
        self._blobs.setdefault(digest, source)
        return False

    def hold_all(self, sources: Iterable[Source]) -> bool:
        """Want several blobs at once; answer whether all lie here."""
        held = [self.hold(source) for source in sources]  # every one is asked for before any is judged
        return all(held)

    def is_settled(self, blob: BlobRef) -> bool:
        """Answer whether a wanted blob lies here, or was missing so often, or takes so long, that waiting longer may
        not help.
        """
        if blob.digest in self._held or self._misses.get(blob.digest, 0) >= self._pace.settled_misses:
            return True
        return self._is_overdue(blob.digest)

    def result(self, task: Task) -> Result | None:
        """Want a task's result; return it when it is there."""
        key = task_key(task)
        self._wanted.add(key)
        if key in self._results:
            return self._results[key]
        self._tasks.setdefault(key, task)
        return None

    def submit(self, action: Action) -> None:
        """Want an action on the ledger."""
        self._once(hash_bytes("SM/once/submit", encode(action)), SubmitAction(action))

    def publish(self, blob: BlobRef) -> None:
        """Want a blob that lies here to be given to whoever asks."""
        self._once(hash_bytes("SM/once/publish", blob.digest), PublishBlob(blob.digest))

    def say(self, note: Refusal) -> None:
        """Tell the operator once, for as long as every look says it."""
        self._once(hash_bytes("SM/once/say", encode(note)), note)

    def finish(self) -> list[Effect]:
        """End the look; return what the shell must do: cancel, submit and publish, fetch, compute."""
        dropped = [key for key in self._computing if key not in self._wanted]
        cancelled = [CancelCompute(key) for key in dropped if self._computing.pop(key) is None]
        for digest in [digest for digest in self._fetching if digest not in self._wanted]:
            del self._fetching[digest]
        self._misses = {digest: count for digest, count in self._misses.items() if digest in self._fetching}
        self._asked_ms = {digest: at for digest, at in self._asked_ms.items() if digest in self._fetching}
        self._held &= self._wanted
        self._done &= self._wanted
        computing = sum(at is None for at in self._computing.values())
        computes = [
            Compute(key, self._tasks[key])
            for key in self._start(self._computing, self._tasks, self._pace.computes_max - computing)
        ]
        return [*cancelled, *self._effects, *self._start_fetches(), *computes]

    def _start_fetches(self) -> list[FetchBlob]:
        """A fetch that takes too long leaves its place to the next: silent holders must not keep others' blobs away."""
        running = [digest for digest, at in self._fetching.items() if at is None]
        places = self._pace.fetches_max - sum(not self._is_overdue(digest) for digest in running)
        started = self._start(self._fetching, self._blobs, max(places, 0))
        for digest in started:
            self._asked_ms.setdefault(digest, self._now_ms)
            self._is_overdue(digest)
        return [FetchBlob(self._blobs[digest].blob, self._holders(self._blobs[digest])) for digest in started]

    def _is_overdue(self, digest: bytes) -> bool:
        """Answer whether a blob was first asked for long ago; if not, look again when it will have been."""
        due_ms = self._asked_ms.get(digest, self._now_ms) + self._pace.settled_ms
        if due_ms > self._now_ms:
            self._wake_ms = min(self._wake_ms or due_ms, due_ms)
        return due_ms <= self._now_ms

    def _start(self, waiting: dict[bytes, int | None], wanted: Iterable[bytes], places: int) -> list[bytes]:
        """Choose, in the order of asking, what is put under way now."""
        ready = [key for key in wanted if (at := waiting.get(key, self._now_ms)) is not None and at <= self._now_ms]
        for key in ready[:places]:
            waiting[key] = None
        return ready[:places]

    def _holders(self, source: Source) -> tuple[bytes, ...]:
        """Where to look: the first ones, then the others in an order of our own, so that not all ask the same one."""
        ranked = sorted(
            set(source.others),
            key=lambda holder: hash_bytes("SM/holder", self._peer, source.blob.digest, holder),
        )
        return tuple(peer for peer in dict.fromkeys((*source.first, *ranked)) if peer != self._peer)

    def _once(self, name: Digest, effect: Effect) -> None:
        self._wanted.add(name)
        if name not in self._done:
            self._done.add(name)
            self._effects.append(effect)
