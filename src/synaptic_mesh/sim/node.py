"""What a node under simulation is: takes bytes, durability, connections and time, returns actions.

The adapter between a machine's own events and effects and these calls is a SimNode: `validator.py` is the one for a
consensus core; a whole node assembly gets its own. A crash drops the object; a restart builds a new one and gives it
what the disk kept.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Send(msgspec.Struct, frozen=True):
    """Give `data` to the network for each receiver (positions in the committee; a node may not send to itself)."""

    receivers: tuple[int, ...]
    data: bytes


class Write(msgspec.Struct, frozen=True):
    """Append `record` to the log; `handle_done(token)` follows when it is durable."""

    record: bytes
    token: int


class Work(msgspec.Struct, frozen=True):
    """Something local that takes time (verification, compute); `handle_done(token)` follows after `duration_ms`."""

    duration_ms: int
    token: int


Action = Send | Write | Work


class SimNode(Protocol):
    """A node as the world sees it. Times are the node's own clock, which may be ahead of or behind the others'."""

    def start(self, records: Sequence[bytes], now_ms: int) -> list[Action]:
        """Begin with what the disk kept (nothing on the first start). Called once, before anything else."""

    def receive(self, sender: int, data: bytes, now_ms: int) -> list[Action]:
        """Take one message from the node at position `sender`. Never raises on bad bytes."""

    def handle_done(self, token: int, now_ms: int) -> list[Action]:
        """The Write or Work with this token is done. Tokens are the node's own; Writes and Works share them."""

    def handle_link(self, peer: int, is_up: bool, now_ms: int) -> list[Action]:
        """The transport noticed, a while after the fact, that `peer` can or cannot be reached."""

    def handle_deadline(self, now_ms: int) -> list[Action]:
        """`deadline_ms()` has passed."""

    def deadline_ms(self) -> int | None:
        """When `handle_deadline` wants to be called, or None."""
