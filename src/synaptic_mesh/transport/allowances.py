"""How many frames a peer may have opened per second: a token bucket for each (ITU-T I.371, the generic cell rate
algorithm in its form with one time for each peer).

Fair turns alone give a flooder whatever honest peers leave. Where validators share cores with anything else, and with
each other in small meshes, that is not free: opening a useless frame costs as much as opening a block.
"""

from collections import OrderedDict

from synaptic_mesh.base.ids import PeerId

FRAMES_PER_S = 500
"""Frames of one peer that are opened in the long run. Validators under load send each other some tens per second."""
FRAMES_BURST = 2_000
"""Frames of one peer that are taken at once after it was quiet for 4 s."""
PEERS_MAX = 4_096
"""Peers whose use is remembered; beyond it the one that was heard longest ago starts anew."""


class Allowances:
    """Frames that peers may still send. Not safe between threads."""

    def __init__(self, per_s: int = FRAMES_PER_S, burst: int = FRAMES_BURST, peers_max: int = PEERS_MAX) -> None:
        self._gap_ns = 1_000_000_000 // per_s
        self._lead_ns = self._gap_ns * (burst - 1)
        self._peers_max = peers_max
        self._paid_until_ns: OrderedDict[PeerId, int] = OrderedDict()

    def spend(self, peer: PeerId, now_ns: int) -> bool:
        """Count one frame of `peer` at `now_ns` (a clock that never goes back); False, and not counted, if it is one
        too many.
        """
        start_ns = max(self._paid_until_ns.get(peer, now_ns), now_ns)
        if start_ns - now_ns > self._lead_ns:
            return False
        self._paid_until_ns[peer] = start_ns + self._gap_ns
        self._paid_until_ns.move_to_end(peer)
        if len(self._paid_until_ns) > self._peers_max:
            self._paid_until_ns.popitem(last=False)
        return True
