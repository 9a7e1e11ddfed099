"""Rounds on disk, for peers that were away for longer than memory reaches.

A log holds the accepted blocks in the order of acceptance: every block after its ancestors. So a peer that is fed the
log of another from the first record with a block above its own gc round on finds every ancestor in its place, decides
what the other decided, in the same order, and holds no more than the other did.

A *place* says where the log is to be read: the record, and the block within it. It means something to the node that
named it and to nobody else; 0 is no place.
"""

from array import array
from collections.abc import Iterable, Sequence

ROUNDS_PER_ENTRY = 32
"""The index has 8 bytes for so many rounds. A reader begins at most so many rounds too early."""
PLACE_BITS = 20
"""Bits of a place that count blocks within a record: a record of 64 MiB has fewer."""


class StoredIndex:
    """Finds the first record of a log that has a block of some round. Records are noted in order, from position 0."""

    def __init__(self) -> None:
        self.records = 0
        self._starts = array("Q")  # entry k: the first record with a block of round >= k * ROUNDS_PER_ENTRY

    def note(self, highest_round: int) -> None:
        """The next record has blocks up to this round; 0 if it has none."""
        while len(self._starts) * ROUNDS_PER_ENTRY <= highest_round:
            self._starts.append(self.records)
        self.records += 1

    def position(self, round_: int) -> int:
        """A record before which there is no block of this round or a higher one; the end of the log if nowhere is."""
        entry = round_ // ROUNDS_PER_ENTRY
        return self._starts[entry] if entry < len(self._starts) else self.records

    def begin(self, place: int, floor_round: int) -> tuple[int, int]:
        """Where to read for this place, or without one for the blocks above floor_round: record, and block in it."""
        if place:
            return place >> PLACE_BITS, place & ((1 << PLACE_BITS) - 1)
        return self.position(floor_round + 1), 0


def read_blocks(
    records: Iterable[Sequence[bytes]], begin: tuple[int, int], count_max: int, bytes_max: int
) -> tuple[tuple[bytes, ...], int]:
    """The blocks from `begin` on within both limits, at least one if there is one, and the place behind them.

    records: the blocks of each record of the log, from the record begin[0] on.
    """
    position, skip = begin
    found: list[bytes] = []
    room = bytes_max
    for blocks in records:
        for index, block in enumerate(blocks[skip:], skip):
            room -= len(block)
            if found and (room < 0 or len(found) == count_max):
                return tuple(found), position << PLACE_BITS | index
            found.append(block)
        position, skip = position + 1, 0
        if room <= 0 or len(found) >= count_max:
            break
    return tuple(found), position << PLACE_BITS | skip
