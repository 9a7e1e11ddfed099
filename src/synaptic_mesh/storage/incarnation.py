"""How often a node was started: a number that only grows, kept outside every database.

A node that lost or restored its database must not reuse message numbers nor propose a second block for a round it may
have spoken in. The file says that it has lived before, even when the database does not.
"""

from pathlib import Path

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.storage.directory import disk_errors, write_durably

INCARNATION_MAX = (1 << 62) - 1
_FORMAT = "synaptic-incarnation 1"


def next_incarnation(path: Path) -> int:
    """Add one to the number in the file and return it, durable before this returns. 1 if there was no file.

    Raises ResourceError if the file is damaged: guessing a number could repeat one.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes().decode("ascii", "replace") if path.exists() else None
    incarnation = 0 if text is None else _parse(path, text)
    if incarnation >= INCARNATION_MAX:
        raise ResourceError(f"{path} has reached the largest incarnation: make a new key")
    with disk_errors(path):
        write_durably(path, _format(incarnation + 1).encode())
    return incarnation + 1


def _format(incarnation: int) -> str:
    check = hash_bytes("SM/incarnation", str(incarnation).encode()).hex()[:16]
    return f"{_FORMAT}\n{incarnation}\n{check}\n"


def _parse(path: Path, text: str) -> int:
    lines = text.split("\n")
    number = lines[1] if len(lines) == 4 else ""
    if not (number.isascii() and number.isdigit() and len(number) < 20 and _format(int(number)) == text):
        raise ResourceError(
            f"{path} is damaged: if the node's last incarnation is known from its log, write a larger one there with "
            "`restore_incarnation`; otherwise make a new key"
        )
    return int(number)


def restore_incarnation(path: Path, incarnation: int) -> None:
    """Write a number known from elsewhere in place of a damaged file."""
    if not 0 <= incarnation <= INCARNATION_MAX:
        raise ResourceError(f"incarnation {incarnation} is out of range")
    with disk_errors(path):
        write_durably(path, _format(incarnation).encode())
