"""The one queue of a simulation: calls ordered by (time, sequence), so that equal times run in the order they were
asked for."""

import heapq
from collections.abc import Callable

from synaptic_mesh.base.errors import broken

EVENTS_PENDING_MAX = 1_000_000
"""A simulation with more calls pending than this is flooding itself."""

Call = Callable[[], None]


class EventQueue:
    """Virtual time. `now_ms` only moves in `run_next`, and never backwards."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.event_count = 0
        self._heap: list[tuple[int, int, Call]] = []
        self._sequence = 0

    def at(self, time_ms: int, call: Call) -> None:
        """Run `call` at `time_ms` (at once, but after this event, when that has passed)."""
        if len(self._heap) >= EVENTS_PENDING_MAX:
            broken(f"over {EVENTS_PENDING_MAX} simulated events are pending")
        self._sequence += 1
        heapq.heappush(self._heap, (time_ms if time_ms > self.now_ms else self.now_ms, self._sequence, call))

    def run_next(self) -> bool:
        """Run the earliest call; returns False when none is left."""
        if not self._heap:
            return False
        self.now_ms, _, call = heapq.heappop(self._heap)
        self.event_count += 1
        call()
        return True
