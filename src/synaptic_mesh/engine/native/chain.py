"""A fused chain over one vector of neighbouring elements: load what it needs, compute, check, store.

The kernel's iteration space has any number of axes; the last one is walked a vector at a time. The end of a row is
computed as a whole vector too, the narrowest that covers it: what lies behind the row is loaded (the arena has room
for that) and never stored. Whether a checked element was not finite is a vector of bits that loops carry: its sign
bits are set once some element had all exponent bits set.
"""

from typing import NamedTuple

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import DType, Graph
from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.values import FLOAT, INT, MASK, Value, VectorOps, apply
from synaptic_mesh.engine.views import dense_strides
from synaptic_mesh.engine.wasm.chain import is_constant_view, splat_bits

Strides = tuple[int, ...]
LANES_MIN = 4
MAGNITUDE_BITS = 0x7FFFFFFF
EXPONENT_CARRY = 0x00800000
"""Added to a magnitude it carries into the sign bit exactly when the exponent bits are all set."""


class Access(NamedTuple):
    """A tensor as a kernel walks it: the parameter with its address, its strides in elements, its lanes' type. A mask
    is stored as words of all ones or all zeros."""

    pointer: str
    strides: Strides
    kind: str


class Part(NamedTuple):
    """A piece of a row: `lanes` elements computed in a vector of `width`."""

    first: int
    lanes: int
    width: int


def parts_of(extent: int, lanes: int) -> list[Part]:
    """Return a row of `extent` elements as full vectors and the narrowest one that covers the rest."""
    whole = extent // lanes * lanes
    parts = [Part(first, lanes, lanes) for first in range(0, whole, lanes)]
    rest = extent - whole
    if rest:
        width = LANES_MIN
        while width < rest:
            width *= 2
        parts.append(Part(whole, rest, width))
    return parts


class Chain:
    """Emits a kernel's elementwise nodes into `f`, whose `parameters` are one address per buffer. Stores to buffers in
    `checked` are tested for NaN and infinity."""

    def __init__(
        self,
        f: Function,
        profile: Profile,
        graph: Graph,
        kernel: Kernel,
        parameters: dict[int, str],
        checked: frozenset[int],
    ) -> None:
        self.f = f
        self.profile = profile
        self.graph = graph
        self.kernel = kernel
        self.leaves = {
            node: Access(parameters[view.base], view.strides, self._kind(node))
            for node, view in kernel.leaves.items()
            if not is_constant_view(graph, kernel, view)
        }
        dense = dense_strides(kernel.shape)
        self.targets = {node: Access(parameters[buffer], dense, self._kind(node)) for node, buffer in kernel.stores}
        self.checked = {node for node, buffer in kernel.stores if buffer in checked}
        self.state_kind = f"<{profile.lanes} x i32>"

    def _kind(self, node: int) -> str:
        return {DType.F32: FLOAT, DType.BOOL: MASK}.get(self.graph.nodes[node].dtype, INT)

    def start(self) -> str:
        """The state before anything was checked; empty when nothing is, and then no loop carries it."""
        return "zeroinitializer" if self.checked else ""

    def classes(self) -> list[Strides]:
        """Return the distinct strides of everything loaded or stored."""
        accesses = (*self.leaves.values(), *self.targets.values())
        return list(dict.fromkeys(access.strides for access in accesses))

    def restride(self, change: dict[Strides, Strides]) -> None:
        """Replace every strides tuple by its form over collapsed axes."""
        self.leaves = {n: a._replace(strides=change[a.strides]) for n, a in self.leaves.items()}
        self.targets = {n: a._replace(strides=change[a.strides]) for n, a in self.targets.items()}

    def hoist(self, offsets: dict[Strides, Index], width: int) -> dict[int, Value]:
        """Load, before the innermost loop, what does not change along it. Such a tensor is never the one stored to:
        a value that is broadcast is not computed in place."""
        part = Part(0, width, width)
        return {
            node: self.load(access, self.f.at(access.pointer, offsets[access.strides]), part)
            for node, access in self.leaves.items()
            if access.strides[-1] == 0
        }

    def emit(
        self,
        offsets: dict[Strides, Index],
        part: Part,
        state: str,
        known: dict[int, Value],
        root: Value | None = None,
    ) -> str:
        """Compute and store `part` of the row at the byte `offsets`, and return the state after it. `known`: leaves
        already loaded. `root` is the matrix product's value. All loads come before the first store, so a store may
        overwrite what its own elements were computed from."""
        ops = VectorOps(self.f, self.profile, part.width)
        values = dict(known)
        if root is not None and self.kernel.root is not None:
            values[self.kernel.root] = root
        for leaf, access in self.leaves.items():
            if leaf not in values:
                values[leaf] = self.load(access, self.f.at(access.pointer, offsets[access.strides]), part)
        for leaf, view in self.kernel.leaves.items():
            if leaf not in values:
                values[leaf] = ops.constant(splat_bits(self.graph, view.base))
        for index in self.kernel.nodes:
            if index != self.kernel.root:
                node = self.graph.nodes[index]
                operands = [values[i] for i in node.inputs]
                values[index] = apply(ops, node, self.graph.nodes[node.inputs[0]].dtype, operands)
        for stored, access in self.targets.items():
            value = values[stored]
            if stored in self.checked:
                state = self.check(ops, value, part.lanes, state)
            if access.kind == MASK:
                value = ops.spread(value)
            name = ops.as_float(value) if access.kind == FLOAT else ops.as_int(value)
            target = self.f.at(self.f.at(access.pointer, offsets[access.strides]), 4 * part.first)
            self.f.store_lanes(name, FLOAT if access.kind == FLOAT else INT, part.width, part.lanes, target)
        return state

    def load(self, access: Access, row: str, part: Part) -> Value:
        """The lanes of `part` of the row at an address."""
        if access.kind == MASK:
            words = self.load(access._replace(kind=INT), row, part)
            return VectorOps(self.f, self.profile, part.width).is_set(words)
        f, inner = self.f, access.strides[-1] if access.strides else 0
        pointer = f.at(row, 4 * inner * part.first)
        if inner == 1:
            return VectorOps(f, self.profile, part.width).load(access.kind, pointer)
        if inner == 0:
            return Value(f.splat(f.load(access.kind, pointer), access.kind, part.width), access.kind)
        name = "zeroinitializer"
        for lane in range(part.lanes):
            one = f.load(access.kind, f.at(pointer, 4 * inner * lane))
            name = f.value(f"insertelement <{part.width} x {access.kind}> {name}, {access.kind} {one}, i64 {lane}")
        return Value(name, access.kind)

    def check(self, ops: VectorOps, value: Value, lanes: int, state: str) -> str:
        """Return the state after the first `lanes` of a vector were looked at."""
        found, full = exponents_full(ops, value), self.profile.lanes
        if lanes < full:
            picked = [*range(lanes), *(ops.width for _ in range(full - lanes))]
            found = self.f.lanes(found, INT, ops.width, picked, "zeroinitializer")
        return self.f.value(f"or {self.state_kind} {state}, {found}")

    def finish(self, flags: str, state: str) -> None:
        """After the loops: set bit 0 of the flags word when a checked element was not finite."""
        if self.checked:
            raise_if_not_finite(self.f, self.profile.lanes, flags, state)


def exponents_full(ops: VectorOps, value: Value) -> str:
    """Return words whose sign bit is set where a lane is NaN or infinite."""
    magnitude = ops.bit_and(value, ops.constant(MAGNITUDE_BITS))
    return ops.int_add(magnitude, ops.constant(EXPONENT_CARRY)).text


def raise_if_not_finite(f: Function, lanes: int, flags: str, state: str) -> None:
    """Or 1 into the flags word when a lane of the state has its sign bit set."""
    signs = f.value(f"icmp slt <{lanes} x i32> {state}, zeroinitializer")
    bits = f.value(f"bitcast <{lanes} x i1> {signs} to i{lanes}")
    some = f.value(f"icmp ne i{lanes} {bits}, 0")
    raise_flag(f, flags, f.value(f"zext i1 {some} to i32"))


def raise_flag(f: Function, flags: str, bit: str) -> None:
    """Or `bit` into the flags word at address `flags`."""
    before = f.load("i32", flags)
    f.store("i32", f.value(f"or i32 {before}, {bit}"), flags)
