"""Schedule and memory: in which order kernels run, and where in one arena every buffer lies.

Inputs, outputs and constants keep their place for the program's life; other buffers live from the kernel that writes
them to the last one that reads them, and share space outside that time. Every buffer starts on a 64-byte line.

A carried input takes its new value *in place* when the kernel that computes it reads the old value at most element by
element where it writes, and when every other reader can be scheduled before it. Otherwise the new value gets its own
buffer and is copied at the end.

The body of a SCAN is planned in the same way, but its inputs and what it keeps of every step lie in buffers of the
graph around it: `Plan.homes`.
"""

import heapq
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from synaptic_mesh.base.errors import LocalError, invariant
from synaptic_mesh.engine.fusion import Kernel, KernelKind, output_copy
from synaptic_mesh.engine.ir import Graph, Op
from synaptic_mesh.engine.views import Views, dense_strides

ALIGNMENT_BYTES = 64
HEADER_BYTES = 64
"""The first line of the arena: the step's invalidity flags."""
TAIL_BYTES = 128
"""After the last buffer: a vector load at the end of a row may read this far past it and drop what it read; the longest
is two vectors of 16 lanes for every second element."""
ARENA_BYTES_MAX = (1 << 30) + (64 << 20)
"""The admission limit plus what the packed matrix product needs beside it."""


NO_HOMES: Mapping[int, str] = MappingProxyType({})


class Plan(NamedTuple):
    """Where everything lies and in which order it is computed. Offsets and sizes are bytes."""

    kernels: tuple[Kernel, ...]
    offsets: dict[int, int]  # buffer name -> byte offset; a buffer in place has the offset of its input
    output_buffers: dict[str, int]  # output name -> buffer name
    copies_last: tuple[tuple[int, int], ...]  # (from buffer, to input node), after all kernels
    constants: tuple[int, ...]  # CONSTANT nodes stored as data
    workspace: int  # offset of the scratch memory of matrix products
    arena_bytes: int
    homes: Mapping[int, str] = NO_HOMES  # of a body: buffer name -> the input or output whose place it has


def make_plan(graph: Graph, kernels: list[Kernel], views: Views, workspace_bytes: int, is_body: bool = False) -> Plan:
    """Return the plan. Raises LocalError when the arena would not fit."""
    planner = _Planner(graph, kernels, views, is_body)
    planner.choose_in_place()
    order = planner.schedule()
    invariant(order is not None, "the kernels depend on each other in a circle")
    return planner.place(order or [], workspace_bytes)


class _Planner:
    def __init__(self, graph: Graph, kernels: list[Kernel], views: Views, is_body: bool) -> None:
        self.graph = graph
        self.is_body = is_body
        self.kernels = kernels
        self.views = views
        self.writer = {buffer: at for at, kernel in enumerate(kernels) for _, buffer in kernel.stores}
        self.readers: dict[int, list[int]] = {}
        for at, kernel in enumerate(kernels):
            for buffer in kernel.reads:
                self.readers.setdefault(buffer, []).append(at)
        self.edges: list[set[int]] = [set() for _ in kernels]  # kernel -> kernels that must follow it
        for buffer, readers in self.readers.items():
            if buffer in self.writer:
                self.edges[self.writer[buffer]].update(readers)
        self.in_place: dict[int, int] = {}  # buffer -> input node
        self.output_buffers = {name: self._output_buffer(node) for name, node in graph.outputs.items()}

    def _output_buffer(self, node: int) -> int:
        kind = self.graph.nodes[node].op
        return output_copy(node) if kind in (Op.INPUT, Op.CONSTANT) else self.views.views[node].base

    def choose_in_place(self) -> None:
        """Fill `in_place`, adding the edges that let every reader of the old value run before its writer."""
        for source, target in sorted(self.graph.carried.items()):
            old, new = self.graph.inputs[source], self.output_buffers[target]
            writer = self.writer[new]
            if new in self.in_place or new < 0 or not self._reads_where_it_writes(writer, old):
                continue
            others = [at for at in self.readers.get(old, []) if at != writer]
            added = [at for at in others if writer not in self.edges[at]]
            for at in added:
                self.edges[at].add(writer)
            if self.schedule() is None:
                for at in added:
                    self.edges[at].remove(writer)
            else:
                self.in_place[new] = old

    def _reads_where_it_writes(self, writer: int, old: int) -> bool:
        kernel = self.kernels[writer]
        if old not in kernel.reads:
            return True
        if kernel.kind not in (KernelKind.FUSED, KernelKind.ROWS):
            return False
        dense = dense_strides(kernel.shape)
        if any(view.base == old and view.strides != dense for view in kernel.leaves.values()):
            return False
        if kernel.root is None:
            return True
        operands = self.graph.nodes[kernel.root].inputs
        return all(self.views.views[operand].base != old for operand in operands)

    def schedule(self) -> list[int] | None:
        """Return the kernels in an order that respects all edges, earliest first node first; None for a circle."""
        waiting = [0] * len(self.kernels)
        for followers in self.edges:
            for at in followers:
                waiting[at] += 1
        ready = [at for at, count in enumerate(waiting) if count == 0]
        order: list[int] = []
        while ready:
            at = heapq.heappop(ready)
            order.append(at)
            for follower in self.edges[at]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    heapq.heappush(ready, follower)
        return order if len(order) == len(self.kernels) else None

    def place(self, order: list[int], workspace_bytes: int) -> Plan:
        """Assign offsets: what stays first, then temporaries by falling size into the first gap that is free."""
        homes = self._homes() if self.is_body else {}
        offsets, constants, top = self._place_kept(homes)
        step_of = {at: step for step, at in enumerate(order)}
        placed: list[tuple[int, int, int, int]] = []  # (first step, last step, offset, end)
        elsewhere = offsets.keys() | homes.keys() | self.in_place.keys()
        temporaries = [buffer for buffer in self.writer if buffer not in elsewhere]
        bottom = top
        for buffer in sorted(temporaries, key=lambda b: (-self._bytes(b), b)):
            first = step_of[self.writer[buffer]]
            last = max([step_of[at] for at in self.readers.get(buffer, [])], default=first)
            size = self._bytes(buffer)
            at = bottom
            for _, _, start, end in sorted(
                (p for p in placed if p[0] <= last and first <= p[1]), key=lambda p: (p[2], p[3])
            ):
                if at + size <= start:
                    break
                at = max(at, end)
            offsets[buffer] = at
            placed.append((first, last, at, at + size))
            top = max(top, at + size)
        for buffer, source in self.in_place.items():
            if source in offsets:
                offsets[buffer] = offsets[source]
        workspace = top
        arena = workspace + _lines(workspace_bytes) + TAIL_BYTES
        if arena > ARENA_BYTES_MAX:
            raise LocalError(f"the graph needs {arena} bytes of memory, the limit is {ARENA_BYTES_MAX}")
        copies = self._copies_last()
        kernels = tuple(self.kernels[at] for at in order)
        return Plan(kernels, offsets, self.output_buffers, copies, constants, workspace, arena, homes)

    def _homes(self) -> dict[int, str]:
        """Return which buffers of a body are its inputs, or what it keeps of a step. An output that is a state as well,
        or another output, is copied at the end of the step."""
        homes = {index: name for name, index in self.graph.inputs.items()}
        homes |= {buffer: homes[source] for buffer, source in self.in_place.items()}
        for name, buffer in sorted(self.output_buffers.items()):
            if name not in self.graph.inputs:
                homes.setdefault(buffer, name)
        return homes

    def _place_kept(self, homes: dict[int, str]) -> tuple[dict[int, int], tuple[int, ...], int]:
        """Place inputs, outputs and the constants that some kernel reads, but for what has a home."""
        constants = tuple(
            b for b in sorted(self.readers) if b not in self.writer and b >= 0 and self._op(b) is Op.CONSTANT
        )
        inputs = sorted(self.graph.inputs.values())
        outputs = sorted({b for b in self.output_buffers.values() if b not in self.in_place})
        offsets: dict[int, int] = {}
        top = HEADER_BYTES
        for buffer in (*constants, *inputs, *outputs):
            if buffer not in homes:
                offsets[buffer] = top
                top += self._bytes(buffer)
        return offsets, constants, top

    def _copies_last(self) -> tuple[tuple[int, int], ...]:
        """Carried outputs that are not in place in their own input."""
        pairs = (
            (self.output_buffers[target], self.graph.inputs[source]) for source, target in self.graph.carried.items()
        )
        return tuple((new, old) for new, old in pairs if self.in_place.get(new) != old)

    def _op(self, buffer: int) -> Op:
        return self.graph.nodes[buffer].op

    def _bytes(self, buffer: int) -> int:
        return max(ALIGNMENT_BYTES, _lines(4 * self.graph.nodes[buffer if buffer >= 0 else -1 - buffer].size))


def _lines(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
