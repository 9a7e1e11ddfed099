"""The shape of everything that decides: a machine takes events and the time, and returns effects.

A machine never awaits, reads a clock, draws unseeded randomness, opens anything, logs or counts metrics. Shells feed
it events, carry out its effects in order, and call `handle_deadline` when `deadline_ms()` has passed. The simulator
is such a shell too.
"""

from typing import Protocol, TypeVar

Event = TypeVar("Event", contravariant=True)
Effect = TypeVar("Effect")


class Machine(Protocol[Event, Effect]):
    """What a driver needs to know of a core. Times are integer milliseconds from the driver's clock."""

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Advance by one event; return what the shell must do, in order."""

    def handle_deadline(self, now_ms: int) -> list[Effect]:
        """Called at or after `deadline_ms()`. Calling it early is harmless and changes nothing."""

    def deadline_ms(self) -> int | None:
        """When `handle_deadline` wants to be called next, or None."""
