"""A validator whose store is empty or restored from a copy may have signed rounds it does not know of: it asks before
it signs.

Every peer is asked for the newest block of ours that it has accepted. When answers from a quorum, ourselves included,
are in, at least q - f of that stake is honest, and we propose above the highest block that came.
Only signed blocks count, so nobody can push us to an invented round. A block of ours that turns up later still raises
the round. n = 1 has nobody to ask.

What remains: a block that no answering honest peer had received. Blocks are sent only after an fsync, so that needs a
lost store and a message in flight at once.
"""

from random import Random

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus.messages import OwnRoundRequest
from synaptic_mesh.consensus.sync import NEVER_MS
from synaptic_mesh.identity.committee import Committee

ASK_MS = 250
ASK_MS_MAX = 4_000


class Amnesia:
    """Whether we still have to ask, and who has answered."""

    def __init__(self, committee: Committee, author: int | None, random: Random) -> None:
        self._committee = committee
        self._author = author
        self._random = random
        self._answered: set[int] = set()
        self._nonce = 0
        self._wait_ms = ASK_MS
        self.is_active = False
        self.next_ms = NEVER_MS

    def begin(self, now_ms: int) -> None:
        """Ask, unless there is nobody else."""
        if self._author is None or self._needed_stake() <= 0:
            return
        self.is_active = True
        self._nonce = self._random.getrandbits(63)
        self.next_ms = now_ms

    def request(self) -> OwnRoundRequest:
        """What peers are asked. The nonce keeps answers of an earlier life out."""
        return OwnRoundRequest(self._nonce)

    def note_asked(self, now_ms: int) -> None:
        """Everybody was asked: ask again later."""
        self.next_ms = now_ms + self._wait_ms
        self._wait_ms = min(2 * self._wait_ms, ASK_MS_MAX)

    def answered(self, peer: PeerId, nonce: int) -> bool:
        """Count an answer; False if it is not one to our question."""
        index = self._committee.index_of(peer)
        if nonce != self._nonce or index is None or index == self._author or self._author is None:
            return False
        self._answered.add(index)
        if self._committee.stake(self._answered) >= self._needed_stake():
            self.is_active = False
            self.next_ms = NEVER_MS
        return True

    def _needed_stake(self) -> int:
        """Stake of others that makes a quorum with our own: never more than all others have, since q <= S."""
        own = 0 if self._author is None else self._committee.stakes[self._author]
        return self._committee.quorum - own
