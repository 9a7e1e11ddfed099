"""A fused chain over one vector of neighbouring elements: load what it needs, compute, check, store.

The kernel's iteration space has any number of axes; the last one is walked a vector at a time. The end of a row is
computed as a whole vector too, the narrowest that covers it: what lies behind the row is loaded (the arena has room
for that) and never stored. Whether a checked element was not finite is a vector of bits that loops carry: its sign
bits are set once some element had all exponent bits set.
"""

from typing import Generic, NamedTuple, TypeVar

from synaptic_mesh.engine.fusion import Kernel, cost
from synaptic_mesh.engine.ir import DType, Graph
from synaptic_mesh.engine.nest.builder import FLOAT, INT, MASK, Builder, Carried, Part
from synaptic_mesh.engine.nest.vectors import Vectors, apply
from synaptic_mesh.engine.views import View, dense_strides

H = TypeVar("H")
Strides = tuple[int, ...]
Spot = tuple[int, int]
"""A buffer, and the element of it at which something begins: what one parameter of a kernel's function points to."""
CHEAP_NODES_MAX = 12
MAGNITUDE_BITS = 0x7FFFFFFF
EXPONENT_CARRY = 0x00800000
"""Added to a magnitude it carries into the sign bit exactly when the exponent bits are all set."""


class Access(NamedTuple):
    """A tensor as a kernel walks it: the number of its address, its strides in elements, its lanes' type."""

    place: int
    strides: Strides
    kind: str


class Chain(Generic[H]):
    """Builds a kernel's elementwise nodes. `parameters` are one address per spot; `places` holds those that the
    kernel walks, in the order in which `emit` expects them. Stores to buffers in `checked` are tested for NaN and
    infinity."""

    def __init__(
        self,
        b: Builder[H],
        graph: Graph,
        kernel: Kernel,
        parameters: dict[Spot, H],
        checked: frozenset[int],
    ) -> None:
        self.b = b
        self.graph = graph
        self.kernel = kernel
        self.places: list[H] = []
        self.strides: list[Strides] = []
        self._place_of: dict[tuple[int, int, Strides], int] = {}
        self.leaves = {
            node: self._access(node, view, parameters)
            for node, view in kernel.leaves.items()
            if not is_constant_view(graph, kernel, view)
        }
        dense = dense_strides(kernel.shape)
        self.targets = {node: self._access(node, View(buffer, dense), parameters) for node, buffer in kernel.stores}
        self.checked = {node for node, buffer in kernel.stores if buffer in checked}
        self.is_cheap = is_cheap(graph, kernel)

    def _access(self, node: int, view: View, parameters: dict[Spot, H]) -> Access:
        key = (view.base, view.offset, view.strides)
        if key not in self._place_of:
            self._place_of[key] = len(self.places)
            self.places.append(parameters[view.base, view.offset])
            self.strides.append(view.strides)
        kind = {DType.F32: FLOAT, DType.BOOL: MASK}.get(self.graph.nodes[node].dtype, INT)
        return Access(self._place_of[key], view.strides, kind)

    def classes(self) -> list[Strides]:
        """Return the distinct strides of everything loaded or stored."""
        return list(dict.fromkeys(self.strides))

    def restride(self, change: dict[Strides, Strides]) -> None:
        """Replace every strides tuple by its form over collapsed axes."""
        self.strides = [change[strides] for strides in self.strides]
        self.leaves = {n: a._replace(strides=change[a.strides]) for n, a in self.leaves.items()}
        self.targets = {n: a._replace(strides=change[a.strides]) for n, a in self.targets.items()}

    def start(self) -> list[Carried[H]]:
        """What loops carry: the state before anything was checked, or nothing when nothing is."""
        lanes = self.b.schedule.lanes
        return [Carried(INT, lanes, self.b.vectors(lanes).constant(0))] if self.checked else []

    def carry(self, state: H | None) -> list[Carried[H]]:
        """What a loop carries that begins in `state`."""
        return [] if state is None else [Carried(INT, self.b.schedule.lanes, state)]

    def hoist(self, places: list[H], width: int) -> dict[int, H]:
        """Load, before the innermost loop, what does not change along it. Such a tensor is never the one stored to:
        a value that is broadcast is not computed in place."""
        part = Part(0, width, width)
        return {
            node: self._load(access, places, part, (0,) * len(access.strides))
            for node, access in self.leaves.items()
            if access.strides[-1] == 0
        }

    def emit(
        self,
        places: list[H],
        shift: tuple[int, ...],
        part: Part,
        state: H | None,
        known: dict[int, H],
        root: H | None = None,
    ) -> H | None:
        """Compute and store `part` of a row, and return the state after it. `places`: where each tensor's row begins;
        `shift`: elements to add on each axis, known while building (a row of a tile, a vector of an unrolled loop).
        `known`: leaves already loaded; leaves that are the same in all rows or along them are added to it.
        `root` is the matrix product's value. All loads come before the first store, so a store may overwrite what its
        own elements were computed from."""
        ops = self.b.vectors(part.width)
        values = dict(known)
        if root is not None and self.kernel.root is not None:
            values[self.kernel.root] = root
        for leaf, access in self.leaves.items():
            if leaf not in values:
                values[leaf] = self._load(access, places, part, shift)
        for leaf, view in self.kernel.leaves.items():
            if leaf not in values:
                values[leaf] = ops.constant(splat_bits(self.graph, view.base))
        nodes = self.graph.nodes
        for index in self.kernel.nodes:
            if index != self.kernel.root:
                operands = [values[i] for i in nodes[index].inputs]
                values[index] = apply(ops, nodes[index], nodes[nodes[index].inputs[0]].dtype, operands)
        for stored, access in self.targets.items():
            if stored in self.checked and state is not None:
                state = self._check(ops, values[stored], part, state)
            at = _bytes(access.strides, shift) + 4 * part.first
            self.b.store(access.kind, part, values[stored], places[access.place], at)
        return state

    def finish(self, state: H | None) -> None:
        """After the loops: set the flag when a checked element was not finite."""
        if state is not None:
            self.b.raise_if_negative(state)

    def _load(self, access: Access, places: list[H], part: Part, shift: tuple[int, ...]) -> H:
        inner = access.strides[-1] if access.strides else 0
        return self.load_part(access.kind, inner, part, places[access.place], _bytes(access.strides, shift))

    def load_part(self, kind: str, stride: int, part: Part, row: H, offset: int) -> H:
        """The lanes of `part` of a row whose elements lie `stride` elements apart."""
        offset += 4 * stride * part.first
        if stride == 1:
            return self.b.load(kind, part.width, row, offset)
        if stride == 0:
            return self.b.load_splat(kind, part.width, row, offset)
        return self.b.load_strided(kind, part, 4 * stride, row, offset)

    def _check(self, ops: Vectors[H], value: H, part: Part, state: H) -> H:
        lanes = self.b.schedule.lanes
        found = exponents_full(ops, value)
        if part.lanes < lanes:
            found = self.b.keep_lanes(INT, part, found, 0, lanes)
        return self.b.vectors(lanes).bit_or(state, found)


def exponents_full(ops: Vectors[H], value: H) -> H:
    """Return words whose sign bit is set where a lane is NaN or infinite."""
    return ops.int_add(ops.bit_and(value, ops.constant(MAGNITUDE_BITS)), ops.constant(EXPONENT_CARRY))


def _bytes(strides: Strides, shift: tuple[int, ...]) -> int:
    return 4 * sum(stride * count for stride, count in zip(strides, shift, strict=True))


def is_constant_view(graph: Graph, kernel: Kernel, view: View) -> bool:
    """True when a leaf is a splat constant that has no buffer."""
    return graph.nodes[view.base].is_splat and view.base not in kernel.reads


def splat_bits(graph: Graph, node: int) -> int:
    """Return the bit pattern of a splat constant."""
    return int.from_bytes(graph.nodes[node].attributes.bits, "little")


def is_cheap(graph: Graph, kernel: Kernel) -> bool:
    """True for a chain short enough to unroll."""
    return len(kernel.nodes) <= CHEAP_NODES_MAX and all(cost(graph.nodes[i].op) == 1 for i in kernel.nodes)
