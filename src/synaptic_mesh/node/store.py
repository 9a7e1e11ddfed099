"""This node's log as a source of old rounds for peers that were away for longer than memory reaches.

`StoredRounds` decides where to read; `read_log` reads, through a function that the shell gives it.
"""

from collections.abc import Callable, Iterator, Sequence

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.consensus.messages import ReadStored, StoredRead
from synaptic_mesh.consensus.stored import StoredIndex, read_blocks
from synaptic_mesh.node.messages import LogRead, LogRecord, ReadLog

RECORD_BYTES_MAX = 1 << 30
"""Of a record of our own log: none is larger than the log accepts."""
RECORDS_AT_A_TIME = 16
"""Records that are read from the log before it is looked whether they are enough."""
ReadRecords = Callable[[int, int], Sequence[bytes]]
"""(position, count) -> the records from there on, fewer at the end of the log."""


class StoredRounds:
    """Knows where in the log the blocks of a round begin. Every record is noted, in the order of the log.

    oldest_round: the first round of which the log has every block, for a log that does not begin at genesis.
    """

    def __init__(self, oldest_round: int = 1) -> None:
        self.oldest_round = oldest_round
        self._index = StoredIndex()

    def note(self, rounds: Sequence[int]) -> None:
        """The next record of the log holds blocks of these rounds."""
        self._index.note(max(rounds, default=0))

    def question(self, effect: ReadStored) -> ReadLog:
        """What the shell has to read for a late peer."""
        position, block = self._index.begin(effect.place, effect.floor_round)
        return ReadLog(effect.peer, position, block, effect.blocks_max, effect.bytes_max)

    def answer(self, event: LogRead) -> StoredRead:
        """What was read."""
        return StoredRead(event.peer, event.blocks, event.place, self.oldest_round)


def read_log(read: ReadRecords, question: ReadLog) -> LogRead:
    """Carry out a ReadLog."""

    def records() -> Iterator[tuple[bytes, ...]]:
        position = question.position
        while chunk := read(position, RECORDS_AT_A_TIME):
            for data in chunk:
                yield decode_untrusted(LogRecord, data, RECORD_BYTES_MAX).blocks
            position += len(chunk)

    begin = (question.position, question.block)
    blocks, place = read_blocks(records(), begin, question.blocks_max, question.bytes_max)
    return LogRead(question.peer, blocks, place)
