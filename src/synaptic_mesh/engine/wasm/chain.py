"""A fused chain over one vector of four neighbouring elements: load what it needs, compute, check, store.

The kernel's iteration space has any number of axes; the last one is walked four elements at a time. Tensors whose
strides are equal share one offset local, so a chain over equal shapes pays for one address.
"""

from typing import NamedTuple

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import Graph, Op
from synaptic_mesh.engine.views import View, dense_strides
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.opcodes import ValueType
from synaptic_mesh.engine.wasm.values import LocalOps, apply

I32, V128 = ValueType.I32, ValueType.V128
INFINITY_BITS = 0x7F800000
LANES = 4


class Access(NamedTuple):
    """A tensor as a kernel walks it: the parameter with its address, and its strides in elements."""

    pointer: Local
    strides: tuple[int, ...]


class Chain:
    """Emits a kernel's elementwise nodes into `f`, whose parameters are one address per buffer of `buffers`.

    Stores to buffers in `checked` are tested for NaN and infinity.
    """

    def __init__(
        self, f: Function, graph: Graph, kernel: Kernel, parameters: dict[int, Local], checked: frozenset[int]
    ) -> None:
        self.f = f
        self.graph = graph
        self.kernel = kernel
        self.ops = LocalOps(f)
        self.leaves = {
            node: Access(parameters[view.base], view.strides)
            for node, view in kernel.leaves.items()
            if not is_constant_view(graph, kernel, view)
        }
        dense = dense_strides(kernel.shape)
        self.targets = {node: Access(parameters[buffer], dense) for node, buffer in kernel.stores}
        self.checked = {node for node, buffer in kernel.stores if buffer in checked}
        self.hoisted: dict[int, Local] = {}
        self.finite: Local | None = None
        if self.checked:
            self.finite = f.local(V128)
            f.splat_bits(0xFFFFFFFF)
            f.set(self.finite)

    def classes(self) -> list[tuple[int, ...]]:
        """Return the distinct strides of everything loaded or stored."""
        accesses = (*self.leaves.values(), *self.targets.values())
        return list(dict.fromkeys(access.strides for access in accesses))

    def restride(self, change: dict[tuple[int, ...], tuple[int, ...]]) -> None:
        """Replace every strides tuple by its form over collapsed axes."""
        self.leaves = {n: Access(a.pointer, change[a.strides]) for n, a in self.leaves.items()}
        self.targets = {n: Access(a.pointer, change[a.strides]) for n, a in self.targets.items()}

    def hoist(self, offsets: dict[tuple[int, ...], Local]) -> None:
        """Load, before the innermost loop, what does not change along it. Such a tensor is never the one stored to:
        a value that is broadcast is not computed in place."""
        for node, access in self.leaves.items():
            if access.strides[-1] == 0:
                self.hoisted[node] = self._load(access, offsets[access.strides], (0,) * len(access.strides), LANES)

    def emit(
        self,
        offsets: dict[tuple[int, ...], Local],
        shift: tuple[int, ...],
        lanes: int = LANES,
        root: Local | None = None,
    ) -> None:
        """Compute and store `lanes` elements. `offsets`: byte offset per strides; `shift`: elements to add per axis,
        known while emitting (a row of a tile, a vector of an unrolled loop). `root` is the matrix product's value.
        All loads come before the first store, so a store may overwrite what its own elements were computed from."""
        values: dict[int, Local] = {}
        if root is not None and self.kernel.root is not None:
            values[self.kernel.root] = root
        for leaf, access in self.leaves.items():
            hoisted = self.hoisted.get(leaf)
            values[leaf] = hoisted or self._load(access, offsets[access.strides], shift, lanes)
        for leaf, view in self.kernel.leaves.items():
            if leaf not in values:
                values[leaf] = self.ops.constant(splat_bits(self.graph, view.base))
        for index in self.kernel.nodes:
            if index != self.kernel.root:
                node = self.graph.nodes[index]
                operands = [values[i] for i in node.inputs]
                values[index] = apply(self.ops, node, self.graph.nodes[node.inputs[0]].dtype, operands)
        for stored, access in self.targets.items():
            if stored in self.checked:
                self._check(values[stored], lanes)
            self._store(values[stored], access, offsets[access.strides], shift, lanes)

    def finish(self, flags: int) -> None:
        """After the loops: set bit 0 of the flags word when a checked element was not finite."""
        if self.finite is None:
            return
        self.f.get(self.finite)
        self.f.emit("i32x4.all_true")
        self.f.emit("i32.eqz")
        with self.f.if_():
            raise_flag(self.f, flags, 1)

    def _load(self, access: Access, offset: Local, shift: tuple[int, ...], lanes: int) -> Local:
        f, inner = self.f, access.strides[-1] if access.strides else 0
        start = 4 * sum(stride * count for stride, count in zip(access.strides, shift, strict=True))
        f.get(access.pointer)
        f.get(offset)
        f.emit("i32.add")
        if inner == 1:
            f.load("v128.load", start)
            return f.keep(V128)
        if inner == 0:
            f.load("f32.load", start)
            f.emit("f32x4.splat")
            return f.keep(V128)
        at = f.keep(I32)
        f.get(at)
        f.load("v128.load32_zero", start)
        value = f.keep(V128)
        for lane in range(1, lanes):
            f.get(at)
            f.get(value)
            f.emit("v128.load32_lane", 0, start + 4 * inner * lane, lane)
            f.set(value)
        return value

    def _store(self, value: Local, access: Access, offset: Local, shift: tuple[int, ...], lanes: int) -> None:
        f = self.f
        start = 4 * sum(stride * count for stride, count in zip(access.strides, shift, strict=True))

        def place() -> None:
            f.get(access.pointer)
            f.get(offset)
            f.emit("i32.add")
            f.get(value)

        if lanes == LANES:
            place()
            f.store("v128.store", start)
            return
        if lanes >= 2:
            place()
            f.emit("v128.store64_lane", 0, start, 0)
        if lanes % 2:
            place()
            f.emit("v128.store32_lane", 0, start + 4 * (lanes - 1), lanes - 1)

    def _check(self, value: Local, lanes: int) -> None:
        f = self.f
        if self.finite is None:
            return
        f.get(value)
        f.emit("f32x4.abs")
        f.splat_bits(INFINITY_BITS)
        f.emit("f32x4.lt")
        if lanes < LANES:
            f.v128(b"\0" * (4 * lanes) + b"\xff" * (4 * (LANES - lanes)))
            f.emit("v128.or")
        f.get(self.finite)
        f.emit("v128.and")
        f.set(self.finite)


def raise_flag(f: Function, flags: int, bit: int) -> None:
    """Or `bit` into the flags word at address `flags`."""
    f.i32(flags)
    f.i32(flags)
    f.load("i32.load")
    f.i32(bit)
    f.emit("i32.or")
    f.store("i32.store")


def is_constant_view(graph: Graph, kernel: Kernel, view: View) -> bool:
    """True when a leaf is a splat constant that has no buffer."""
    return graph.nodes[view.base].is_splat and view.base not in kernel.reads


def splat_bits(graph: Graph, node: int) -> int:
    """Return the bit pattern of a splat constant."""
    return int.from_bytes(graph.nodes[node].attributes.bits, "little")


def is_cheap(graph: Graph, kernel: Kernel) -> bool:
    """True for a chain short enough to unroll."""
    long = {Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID}
    return len(kernel.nodes) <= 12 and not any(graph.nodes[i].op in long for i in kernel.nodes)
