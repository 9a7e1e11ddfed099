"""The clock of a shell."""

import time


class NodeClock:
    """Wall time at the start, advanced by the monotonic clock: a step of the system clock cannot stall deadlines."""

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        """Return integer milliseconds since 1970."""
        return self._offset_ms + time.monotonic_ns() // 1_000_000
