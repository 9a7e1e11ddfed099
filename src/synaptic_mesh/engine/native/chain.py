"""A kernel's fused chain as matrix products of this package use it: on finished tiles, the state threaded through."""

from typing import NamedTuple

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.renderer import LlvmBuilder
from synaptic_mesh.engine.native.values import Value
from synaptic_mesh.engine.nest import chain as nest
from synaptic_mesh.engine.nest.builder import INT, POINTER, Part, parts_of

__all__ = ["Chain", "Part", "Strides", "parts_of"]
Strides = tuple[int, ...]


class Access(NamedTuple):
    """A tensor as a kernel walks it: the address of the whole, its strides in elements, its lanes' type."""

    pointer: str
    strides: Strides
    kind: str


class Chain:
    """`nest.chain.Chain` over texts: states and addresses are names of values, offsets are bytes."""

    def __init__(
        self,
        b: LlvmBuilder,
        graph: Graph,
        kernel: Kernel,
        parameters: dict[nest.Spot, Value],
        checked: frozenset[int],
    ) -> None:
        self.b = b
        self.f: Function = b.f
        self.profile: Profile = b.profile
        self.graph = graph
        self.kernel = kernel
        self.inner = nest.Chain(b, graph, kernel, parameters, checked)
        self.leaves = {
            node: Access(self.inner.places[access.place].text, access.strides, access.kind)
            for node, access in self.inner.leaves.items()
        }
        self.state_kind = f"<{b.profile.lanes} x i32>"

    def start(self) -> str:
        """The state before anything was checked; empty when nothing is, and then no loop carries it."""
        return "zeroinitializer" if self.inner.checked else ""

    def classes(self) -> list[Strides]:
        """Return the distinct strides of everything loaded or stored."""
        return self.inner.classes()

    def places(self, offsets: dict[Strides, Index]) -> list[Value]:
        """Return the address of each tensor at the byte offset of its strides."""
        pairs = zip(self.inner.places, self.inner.strides, strict=True)
        return [Value(self.f.at(place.text, offsets[strides]), POINTER) for place, strides in pairs]

    def load(self, access: Access, row: str, part: Part) -> Value:
        """The lanes of `part` of the row at an address."""
        return self.inner.load_part(access.kind, access.strides[-1], part, Value(row, POINTER), 0)

    def emit(
        self, offsets: dict[Strides, Index], part: Part, state: str, known: dict[int, Value], root: Value | None = None
    ) -> str:
        """Compute and store `part` of the row at the byte `offsets`, and return the state after it."""
        before = Value(state, INT) if state else None
        shift = (0,) * len(self.kernel.shape)
        after = self.inner.emit(self.places(offsets), shift, part, before, known, root)
        return after.text if after is not None else ""

    def finish(self, _: str, state: str) -> None:
        """After the loops: set bit 0 of the flags word when a checked element was not finite."""
        self.inner.finish(Value(state, INT) if state else None)
