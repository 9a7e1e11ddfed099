"""A kernel's fused chain as matrix products of this package use it: on finished tiles, the state in a local."""

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.nest import chain as nest
from synaptic_mesh.engine.nest.builder import Part
from synaptic_mesh.engine.nest.chain import is_cheap
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.opcodes import ValueType
from synaptic_mesh.engine.wasm.renderer import LANES, WasmBuilder

__all__ = ["LANES", "Chain", "is_cheap"]
I32, V128 = ValueType.I32, ValueType.V128


class Chain:
    """`nest.chain.Chain` over locals. `offsets` are bytes, one local for each strides tuple."""

    def __init__(
        self, f: Function, graph: Graph, kernel: Kernel, parameters: dict[nest.Spot, Local], checked: frozenset[int]
    ) -> None:
        self.f = f
        self.graph = graph
        self.kernel = kernel
        self.inner = nest.Chain(WasmBuilder(f), graph, kernel, parameters, checked)
        self.state: Local | None = f.local(V128) if self.inner.checked else None
        self._placed: tuple[dict[tuple[int, ...], Local], list[Local]] = ({}, [])

    def classes(self) -> list[tuple[int, ...]]:
        """Return the distinct strides of everything loaded or stored."""
        return self.inner.classes()

    def emit(
        self,
        offsets: dict[tuple[int, ...], Local],
        shift: tuple[int, ...],
        lanes: int = LANES,
        root: Local | None = None,
    ) -> None:
        """Compute and store `lanes` elements. `shift`: elements to add per axis, known while emitting."""
        if self._placed[0] is not offsets:
            self._placed = (offsets, self._places(offsets))
        after = self.inner.emit(self._placed[1], shift, Part(0, lanes, LANES), self.state, {}, root)
        if self.state is not None and after is not None:
            self.f.get(after)
            self.f.set(self.state)

    def finish(self) -> None:
        """After the loops: set bit 0 of the flags word when a checked element was not finite."""
        self.inner.finish(self.state)

    def _places(self, offsets: dict[tuple[int, ...], Local]) -> list[Local]:
        places = []
        for place, strides in zip(self.inner.places, self.inner.strides, strict=True):
            self.f.get(place)
            self.f.get(offsets[strides])
            self.f.emit("i32.add")
            places.append(self.f.keep(I32))
        return places
