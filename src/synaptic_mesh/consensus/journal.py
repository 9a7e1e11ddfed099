"""What waits to be written, and what may leave once it is: the guard between signing and sending.

Accepted blocks gather until an own block or a commit makes a write worth its fsync. At most one Append is in flight, so
a slow disk makes batches larger instead of queues longer. The effects that depend on a batch come out of `appended`, in
order.
"""

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.messages import Append, Blocks, Broadcast, Committed, Effect

GATHERED_BLOCKS_MAX = 256
"""Blocks that wait without an own block or commit (an observer, or a stalled mesh) before they are written anyway."""
UNWRITTEN_BLOCKS_MAX = 8_192
UNWRITTEN_BYTES_MAX = 64 << 20
"""Blocks and their bytes that wait for the batch before them to be written. With more the node takes in nothing: it
falls behind, and comes back out of the others' stores as fast as it can write (and, since the shell may hold written
batches back until signatures are checked, execute).
"""


class Journal:
    """Gathers a batch while the one before is being written."""

    def __init__(self) -> None:
        self._blocks: list[VerifiedBlock] = []
        self._bytes = 0  # of those
        self._commits: list[Committed] = []
        self._own: VerifiedBlock | None = None
        self._is_own_in_flight = False
        self._is_own_withdrawn = False
        self._token = 0
        self._in_flight: list[Effect] | None = None  # what the written batch releases

    @property
    def has_own(self) -> bool:
        """An own block is signed but not on stable storage."""
        return self._own is not None

    @property
    def is_full(self) -> bool:
        """Do more blocks wait than may?"""
        return len(self._blocks) > UNWRITTEN_BLOCKS_MAX or self._bytes > UNWRITTEN_BYTES_MAX

    def is_own_unwritten(self, digest: bytes) -> bool:
        """Must this block stay here for now?"""
        return self._own is not None and self._own.digest == digest

    def add_block(self, block: VerifiedBlock) -> None:
        """An accepted block, after its ancestors."""
        self._blocks.append(block)
        self._bytes += len(block.encoded)

    def add_own(self, block: VerifiedBlock) -> None:
        """Our new block (also given to add_block): broadcast it once it is written."""
        invariant(self._own is None, f"{block} signed while {self._own} is not written")
        self._own = block

    def withdraw(self, digest: bytes) -> None:
        """If this own block is not on stable storage yet: write it, and broadcast it to nobody."""
        if self.is_own_unwritten(digest):
            self._is_own_withdrawn = True

    def add_commit(self, commit: Committed) -> None:
        """Hand this out once it is written."""
        self._commits.append(commit)

    def flush(self) -> Append | None:
        """The next batch, if one is worth writing and none is in flight."""
        if self._in_flight is not None:
            return None
        is_own_waiting = self._own is not None
        if not is_own_waiting and not self._commits and len(self._blocks) < GATHERED_BLOCKS_MAX:
            return None
        self._token += 1
        append = Append(self._token, tuple(self._blocks), tuple([committed.commit for committed in self._commits]))
        self._in_flight = []
        if self._own is not None:
            self._in_flight.append(Broadcast(Blocks((self._own.encoded,))))
        self._in_flight.extend(self._commits)
        self._is_own_in_flight = is_own_waiting
        self._blocks, self._commits, self._bytes = [], [], 0
        return append

    def appended(self, token: int) -> list[Effect]:
        """The batch is on stable storage: return what it releases. The own block first, others wait for it."""
        invariant(self._in_flight is not None and token == self._token, f"token {token} came back, not {self._token}")
        released, self._in_flight = self._in_flight or [], None
        if self._is_own_in_flight:
            if self._is_own_withdrawn:
                released = released[1:]  # the own block's broadcast
            self._own, self._is_own_in_flight, self._is_own_withdrawn = None, False, False
        return released

    def restart(self) -> list[Committed]:
        """Forget the gathered blocks, which came from the store, and return the commits that they led to."""
        commits, self._commits, self._blocks, self._bytes = self._commits, [], [], 0
        return commits
