"""Errors that say whose fault it was.

MeshError
  LocalError      the caller: a bad argument, file, option or transaction of our own
  PeerError       a remote: its bytes are dropped and counted, never answered with a crash
  ResourceError   the machine: disk, socket, device
  Diverged        this replica: more of the others than may lie hold another state
InvariantBroken   our own bug: stop, never catch
"""

from typing import NoReturn

PEER_MESSAGE_CHARS_MAX = 500
"""Longer messages about a peer's bytes are cut: they may quote what the peer chose, and are counted and kept."""


class MeshError(Exception):
    """Base of every error that this package raises on purpose. The message is one sentence a user can act on."""


class LocalError(MeshError):
    """The caller's input cannot be used. The message names the value and says what to do."""


class PeerError(MeshError):
    """Bytes from a remote are not acceptable. `peer` is the sender's id where it is known."""

    def __init__(self, message: str, peer: bytes | None = None) -> None:
        super().__init__(
            message if len(message) <= PEER_MESSAGE_CHARS_MAX else message[:PEER_MESSAGE_CHARS_MAX] + " ..."
        )
        self.peer = peer


class ResourceError(MeshError):
    """The machine failed us: disk full, socket closed, no such device."""


class Diverged(MeshError):
    """This replica has another state than an honest one. It must stop before it executes, writes or sends anything."""


class InvariantBroken(Exception):
    """A fact that the code relies on does not hold. The machine must stop before it writes anything."""


def invariant(condition: object, message: str) -> None:
    """Raise InvariantBroken(message) unless `condition` is true. Unlike assert it survives `python -O`."""
    if not condition:
        broken(message)


def broken(message: str) -> NoReturn:
    """Raise InvariantBroken: for branches that cannot be reached."""
    raise InvariantBroken(message)
