"""The addresses of a SCAN's body, step by step: one local for each region, moved at the end of a step."""

from collections.abc import Sequence

from synaptic_mesh.engine.loop_plan import RESULT, Loop, Region, split_address
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import advance
from synaptic_mesh.engine.wasm.opcodes import ValueType
from synaptic_mesh.engine.wasm.renderer import WasmBuilder

I32 = ValueType.I32


class Walker:
    """Turns addresses of a loop's body into code of one function. `operands` and `result`: addresses of the SCAN's
    tensors; `work`: of its scratch memory."""

    def __init__(self, f: Function, loop: Loop, operands: Sequence[Local], result: Local, work: Local) -> None:
        self.f = f
        self.b = WasmBuilder(f)
        self.loop = loop
        self.operands = operands
        self.result = result
        self.places = [work, *(self._begin(region) for region in loop.regions)]

    def before(self) -> None:
        """Put the states of the first step where the steps have them."""
        for operand, copy in self.loop.first:
            self._copy(self.operands[operand], self._local(copy.target), copy.size)

    def push(self, address: int) -> None:
        """Push an address of the body."""
        region, offset = split_address(address)
        self.f.get(self.places[region])
        if offset:
            self.f.i32(offset)
            self.f.emit("i32.add")

    def after(self) -> None:
        """End a step: move what lies elsewhere to where it is kept, and the regions on."""
        for copy in self.loop.after:
            self._copy(self._local(copy.source), self._local(copy.target), copy.size)
        for place, region in zip(self.places[1:], self.loop.regions, strict=True):
            if region.step:
                advance(self.f, place, region.step)

    def _begin(self, region: Region) -> Local:
        source = self.result if region.operand == RESULT else self.operands[region.operand]
        if not region.step:
            return self.b.at(source, region.start)
        place = self.f.local(I32)
        self.f.get(source)
        self.f.i32(region.start)
        self.f.emit("i32.add")
        self.f.set(place)
        return place

    def _local(self, address: int) -> Local:
        self.push(address)
        return self.f.keep(I32)

    def _copy(self, source: Local, target: Local, size: int) -> None:
        if size:
            self.b.copy(source, target, size)
