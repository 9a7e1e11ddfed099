"""Frames that wait, shared fairly between the peers they come from or go to.

Room. Two pools, so that strangers never take the room of validators: one for the peers named `first`, one for all
others. In a pool a peer may hold as much as is still free (dynamic thresholds; Choudhury and Hahne 1998,
doi:10.1109/90.664262). One peer alone fills half of a pool, k peers that want everything get 1/(k + 1) each, and as
much is always left for whoever comes next. What does not fit is dropped as it comes: the oldest frames stay.

Turns. `take` gives one turn: a share for each pool, and inside a pool deficit round robin (Shreedhar and Varghese 1996,
doi:10.1109/90.502236). A frame counts as its bytes and `FRAME_COST`, because a small one is not opened for nothing. So
with k busy peers each gets 1/k of what can be handled, whatever sizes they choose, and frames of one peer stay in
order.
"""

from collections import OrderedDict, deque
from collections.abc import Container

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.transport.links import Frame

FRAME_COST = 8 << 10
"""Bytes that a frame counts in addition to its own: opening one takes about as long as copying so many."""
FIRST_COST_MAX = 48 << 20
OTHERS_COST_MAX = 16 << 20
"""What may wait, in bytes with `FRAME_COST` for each frame: 64 MiB in all, at most 8,192 frames."""
FIRST_TURN_COST = 192 << 10
OTHERS_TURN_COST = 64 << 10
"""What one turn handles, a frame more or less: 32 small frames, some 3 ms. A round takes several turns one after the
other (a block comes, is written, is sent), so a flood may not make them long.
"""
QUANTUM = 32 << 10
"""What a peer may add to its turn before the next peer's."""


class FairQueue:
    """Frames by peer. `first` are served from a pool of their own. Not safe between threads."""

    def __init__(self, first: Container[PeerId] = ()) -> None:
        self._first = first
        self._pools = (_Pool(FIRST_COST_MAX, FIRST_TURN_COST), _Pool(OTHERS_COST_MAX, OTHERS_TURN_COST))

    def __len__(self) -> int:
        """Frames that wait."""
        return sum(pool.count for pool in self._pools)

    def put(self, peer: PeerId, frame: Frame) -> bool:
        """Queue a frame from or to `peer`; False if it was dropped because the peer holds more than is still free."""
        return self._pools[peer not in self._first].put(peer, frame)

    def take(self) -> list[tuple[PeerId, Frame]]:
        """Return the next turn: frames with their peers; empty only when none waits."""
        return [entry for pool in self._pools for entry in pool.take()]

    def clear(self) -> None:
        """Drop everything."""
        self._pools = (_Pool(FIRST_COST_MAX, FIRST_TURN_COST), _Pool(OTHERS_COST_MAX, OTHERS_TURN_COST))


class _Pool:
    """Peers of one kind, in the order of their next visits. A peer without frames is not remembered."""

    def __init__(self, cost_max: int, turn_cost: int) -> None:
        self.count = 0
        self._cost_max = cost_max
        self._turn_cost = turn_cost
        self._cost = 0
        self._lines: OrderedDict[PeerId, _Line] = OrderedDict()

    def put(self, peer: PeerId, frame: Frame) -> bool:
        cost = frame_cost(frame)
        line = self._lines.get(peer)
        if (line.cost if line else 0) + cost > self._cost_max - self._cost:
            return False
        if line is None:
            line = self._lines[peer] = _Line()
        line.frames.append(frame)
        line.cost += cost
        self._cost += cost
        self.count += 1
        return True

    def take(self) -> list[tuple[PeerId, Frame]]:
        taken: list[tuple[PeerId, Frame]] = []
        left = self._turn_cost
        while left > 0 and self._lines:
            peer, line = next(iter(self._lines.items()))
            line.deficit += QUANTUM
            while line.frames and (cost := frame_cost(line.frames[0])) <= line.deficit:
                line.deficit -= cost
                line.cost -= cost
                self._cost -= cost
                self.count -= 1
                left -= cost
                taken.append((peer, line.frames.popleft()))
            if line.frames:
                self._lines.move_to_end(peer)
            else:
                del self._lines[peer]
        return taken


class _Line:
    """Frames of one peer, and what it may still add to a turn."""

    __slots__ = ("cost", "deficit", "frames")

    def __init__(self) -> None:
        self.frames: deque[Frame] = deque()
        self.cost = 0
        self.deficit = 0


def frame_cost(frame: Frame) -> int:
    """What a frame counts in room and turns."""
    return FRAME_COST + len(frame[0]) + len(frame[1])
