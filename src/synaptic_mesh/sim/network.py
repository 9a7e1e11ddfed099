"""The network: every message between two nodes meets delay, loss, duplication and partitions, each link with its own
generator.

Delays are integers drawn with a cubic tail: most messages take little over `base_ms`, a few take several times as
long, and one in a hundred or so takes `tail_factor` times that. Messages overtake one another unless the run is
`fifo`, as over one TCP stream.
"""

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.sim.queue import Call, EventQueue

MILLION = 1_000_000
PPM_BITS = 20


class LinkSettings(msgspec.Struct, frozen=True):
    """What a message meets on every link. Probabilities are parts per million."""

    base_ms: int = 5  # smallest one-way delay
    spread_ms: int = 20  # the cubic tail on top of it
    tail_ppm: int = 10_000  # messages that take `tail_factor` times as long
    tail_factor: int = 8
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    asymmetry_ms: int = 0  # each directed link is slower than the others by up to this, all the time
    fifo: bool = False  # deliver in the order of sending on each link

    def __post_init__(self) -> None:
        for name in ("tail_ppm", "loss_ppm", "duplicate_ppm"):
            if not 0 <= getattr(self, name) <= MILLION:
                raise LocalError(f"{name} is {getattr(self, name)}; it is a number of parts per million")
        if min(self.base_ms, self.spread_ms, self.asymmetry_ms) < 0:
            raise LocalError(f"a delay of {self.base_ms}+{self.spread_ms}+{self.asymmetry_ms} ms is negative")

    def mean_ms(self) -> int:
        """Mean delay in whole milliseconds (the cube of a uniform number has mean 1/4), the rare tail left out."""
        return self.base_ms + self.spread_ms // 4

    def typical_ms(self) -> int:
        """Mean delay with the tail and half of the asymmetry counted in."""
        tail_ms = self.mean_ms() * (self.tail_factor - 1) * self.tail_ppm // MILLION
        return self.mean_ms() + tail_ms + self.asymmetry_ms // 2


class Network:
    """Carries calls from node to node. The faults switch `extra_loss_ppm`, `extra_delay_ms` and `groups` while it
    runs. The counts say what really happened: `delayed_count` messages met the tail or an extra delay, of which a
    duplicate counts apart, and `overtaken_count` arrived before an earlier one of their link.
    """

    def __init__(self, queue: EventQueue, node_count: int, settings: LinkSettings, seed: int) -> None:
        self.settings = settings
        self.extra_loss_ppm = 0
        self.extra_delay_ms = [0] * node_count  # on every message from or to that node
        self.groups: list[int] | None = None  # group of each node; only nodes of one group hear each other
        self.sent_count = self.lost_count = self.duplicate_count = self.partitioned_count = 0
        self.delayed_count = self.overtaken_count = 0
        self._queue = queue
        self._random = [[derive_random(seed, "link", a, b) for b in range(node_count)] for a in range(node_count)]
        self._slower_ms = [[random.randint(0, settings.asymmetry_ms) for random in row] for row in self._random]
        self._latest_ms = [[0] * node_count for _ in range(node_count)]  # latest arrival on each link so far

    def send(self, sender: int, receiver: int, deliver: Call) -> None:
        """Run `deliver` once the message has crossed the link: never, once, or twice."""
        self.sent_count += 1
        if self.groups is not None and self.groups[sender] != self.groups[receiver]:
            self.partitioned_count += 1
            return
        settings, bits = self.settings, self._random[sender][receiver].getrandbits(64)
        if _ppm(bits) < settings.loss_ppm + self.extra_loss_ppm:
            self.lost_count += 1
            return
        self._queue.at(self._arrival_ms(sender, receiver, bits >> PPM_BITS), deliver)
        if settings.duplicate_ppm:
            bits = self._random[sender][receiver].getrandbits(64)
            if _ppm(bits) < settings.duplicate_ppm:
                self.duplicate_count += 1
                self._queue.at(self._arrival_ms(sender, receiver, bits >> PPM_BITS), deliver)

    def _arrival_ms(self, sender: int, receiver: int, bits: int) -> int:
        """When a message that is sent now arrives; `bits` holds 30 random bits or more."""
        settings, latest_ms = self.settings, self._latest_ms[sender]
        share = bits & 1023
        delay_ms = settings.base_ms + (settings.spread_ms * share * share * share >> 30)
        extra_ms = self.extra_delay_ms[sender] + self.extra_delay_ms[receiver]
        is_late = _ppm(bits >> 10) < settings.tail_ppm
        if is_late:
            delay_ms *= settings.tail_factor
        self.delayed_count += is_late or extra_ms > 0
        arrival_ms = self._queue.now_ms + delay_ms + self._slower_ms[sender][receiver] + extra_ms
        if arrival_ms >= latest_ms[receiver]:
            latest_ms[receiver] = arrival_ms
        elif settings.fifo:
            return latest_ms[receiver]
        else:
            self.overtaken_count += 1
        return arrival_ms


def _ppm(bits: int) -> int:
    """The lowest 20 random bits as a number of parts per million, below a million."""
    return (bits & ((1 << PPM_BITS) - 1)) * MILLION >> PPM_BITS
