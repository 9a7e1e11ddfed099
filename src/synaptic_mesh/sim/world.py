"""Drives nodes over a virtual network and virtual disks: the simulator's shell around every SimNode.

One call of a node runs at a time and takes no virtual time. What it returns is carried out in order. The digest over
all deliveries is the run's fingerprint: two runs with the same digest did the same things at the same times.
"""

import struct
from collections.abc import Callable, Sequence
from functools import partial

from blake3 import blake3

from synaptic_mesh.base.errors import broken
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.sim.disk import Disk, DiskSettings
from synaptic_mesh.sim.network import LinkSettings, Network
from synaptic_mesh.sim.node import Action, Send, SimNode, Write
from synaptic_mesh.sim.queue import EventQueue

EPOCH_MS = 1_000_000
"""What a node with an exact clock reads at virtual time 0."""
WAKES_PER_MS_MAX = 1_000
"""A node whose deadline stays in the past this often within one millisecond is spinning."""

_DELIVERY = struct.Struct("<qHHI")
Observe = Callable[[int, int, bytes], None]
Trace = Callable[[int, str], None]


class Host:
    """One machine: its disk stays, its node comes and goes."""

    def __init__(self, build: Callable[[], SimNode], disk: Disk, skew_ms: int) -> None:
        self.build = build
        self.disk = disk
        self.skew_ms = skew_ms
        self.node: SimNode | None = None
        self.crash_count = 0
        self.life = 0  # counts starts; what was asked for in an earlier life is dropped
        self.wake_ms: int | None = None  # virtual time of the one pending wake that counts
        self.wake_count = 0  # wakes within the millisecond `wake_at_ms`
        self.wake_at_ms = -1


class World:
    """The running simulation. `observe(sender, receiver, data)` sees every message at the time of sending.

    Transports notice within `detect_ms` that a node is gone or back; with 0 they never do, and every link counts as up.
    """

    def __init__(
        self,
        seed: int,
        builders: Sequence[Callable[[], SimNode]],
        link: LinkSettings,
        disk: DiskSettings,
        skews_ms: Sequence[int] | None = None,
        detect_ms: int = 0,
        observe: Observe | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.queue = EventQueue()
        self.network = Network(self.queue, len(builders), link, seed)
        skews = skews_ms if skews_ms is not None else [0] * len(builders)
        self.hosts = [
            Host(build, Disk(self.queue, disk, derive_random(seed, "disk", index)), skews[index])
            for index, build in enumerate(builders)
        ]
        self._detect_ms = detect_ms
        self._random = derive_random(seed, "detection")
        self._told = [[False] * len(builders) for _ in builders]  # what each node believes of each link
        self._observe = observe
        self._trace = trace
        self._fingerprint = blake3(b"SM/sim/fingerprint")

    @property
    def now_ms(self) -> int:
        """Virtual time."""
        return self.queue.now_ms

    def fingerprint(self) -> bytes:
        """32 bytes over every delivery so far: time, sender, receiver and content."""
        return self._fingerprint.digest()

    def note(self, text: str) -> None:
        """Write one line into the trace, if there is one."""
        if self._trace is not None:
            self._trace(self.queue.now_ms, text)

    def run_until(self, finished: Callable[[], bool], horizon_ms: int, every: int = 1) -> bool:
        """Run events until `finished()`, asked after `every` so many, or virtual time `horizon_ms`; returns whether it
        finished."""
        queue = self.queue
        while not finished():
            for _ in range(every):
                if queue.now_ms >= horizon_ms or not queue.run_next():
                    return False
        return True

    def start(self, index: int) -> None:
        """Build the node and start it from its disk. Harmless when it is up."""
        host = self.hosts[index]
        if host.node is not None:
            return
        host.life += 1
        host.node = host.build()
        records = host.disk.records()
        self.note(f"node {index} starts with {len(records)} records")
        self._told[index] = [False] * len(self.hosts)
        self._do(index, host.node.start(records, self._local_ms(host)))
        self.links_changed()

    def crash(self, index: int, forgotten_records: int = 0) -> None:
        """Stop the node between two events and lose what its disk had not synced, and the last so many records that it
        had. Harmless when it is down, but for those.
        """
        host = self.hosts[index]
        is_up = host.node is not None
        if is_up:
            host.node = None
            host.wake_ms = None
            host.crash_count += 1
            host.disk.crash()
            self.note(f"node {index} crashes")
        if forgotten_records:
            host.disk.forget(forgotten_records)
            self.note(f"the disk of node {index} forgets {forgotten_records} records")
        if is_up:
            self.links_changed()

    def links_changed(self) -> None:
        """Let the transports notice, each after its own time, which nodes can be reached now."""
        for index in range(len(self.hosts)):
            for peer in range(len(self.hosts)):
                if index != peer and self._told[index][peer] != self._is_up(index, peer):
                    delay_ms = self._random.randint(0, self._detect_ms) if self._detect_ms else 0
                    self.queue.at(self.queue.now_ms + delay_ms, partial(self._tell, index, peer))

    def _is_up(self, index: int, peer: int) -> bool:
        if not self._detect_ms:
            return True
        groups = self.network.groups
        return self.hosts[peer].node is not None and (groups is None or groups[index] == groups[peer])

    def _tell(self, index: int, peer: int) -> None:
        host, is_up = self.hosts[index], self._is_up(index, peer)
        if host.node is not None and self._told[index][peer] != is_up:
            self._told[index][peer] = is_up
            self._do(index, host.node.handle_link(peer, is_up, self._local_ms(host)))

    def _local_ms(self, host: Host) -> int:
        return EPOCH_MS + self.queue.now_ms + host.skew_ms

    def _do(self, index: int, actions: list[Action]) -> None:
        host = self.hosts[index]
        life = host.life
        for action in actions:
            if isinstance(action, Send):
                for receiver in action.receivers:
                    self._send(index, receiver, action.data)
            elif isinstance(action, Write):
                host.disk.append(action.record, partial(self._done, index, life, action.token))
            else:
                self.queue.at(self.queue.now_ms + action.duration_ms, partial(self._done, index, life, action.token))
        self._arm(index)

    def _send(self, sender: int, receiver: int, data: bytes) -> None:
        if sender == receiver:
            broken(f"node {sender} sends to itself")
        if self._observe is not None:
            self._observe(sender, receiver, data)
        self.network.send(sender, receiver, partial(self._deliver, sender, receiver, data))

    def _deliver(self, sender: int, receiver: int, data: bytes) -> None:
        host = self.hosts[receiver]
        if host.node is None:
            return
        self._fingerprint.update(_DELIVERY.pack(self.queue.now_ms, sender, receiver, len(data)))
        self._fingerprint.update(data)
        self._do(receiver, host.node.receive(sender, data, self._local_ms(host)))

    def _done(self, index: int, life: int, token: int) -> None:
        host = self.hosts[index]
        if host.node is not None and host.life == life:
            self._do(index, host.node.handle_done(token, self._local_ms(host)))

    def _arm(self, index: int) -> None:
        host = self.hosts[index]
        deadline_ms = host.node.deadline_ms() if host.node is not None else None
        if deadline_ms is None:
            return
        wake_ms = max(deadline_ms - EPOCH_MS - host.skew_ms, self.queue.now_ms)
        if host.wake_ms is None or wake_ms < host.wake_ms:
            host.wake_ms = wake_ms
            life = host.life
            self.queue.at(wake_ms, partial(self._wake, index, life, wake_ms))

    def _wake(self, index: int, life: int, wake_ms: int) -> None:
        host = self.hosts[index]
        if host.node is None or host.life != life or host.wake_ms != wake_ms:
            return
        host.wake_ms = None
        deadline_ms = host.node.deadline_ms()
        if deadline_ms is None or deadline_ms > self._local_ms(host):
            self._arm(index)
            return
        host.wake_count = host.wake_count + 1 if host.wake_at_ms == self.queue.now_ms else 1
        host.wake_at_ms = self.queue.now_ms
        if host.wake_count > WAKES_PER_MS_MAX:
            broken(f"node {index} keeps a deadline in the past: {deadline_ms} ms")
        self._do(index, host.node.handle_deadline(self._local_ms(host)))
