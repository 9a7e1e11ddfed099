"""The addresses of a SCAN's body, step by step: a region begins at its start plus position times step."""

from collections.abc import Callable, Sequence

from synaptic_mesh.engine.loop_plan import RESULT, Loop, Region, split_address
from synaptic_mesh.engine.native.function import Function
from synaptic_mesh.engine.native.renderer import LlvmBuilder
from synaptic_mesh.engine.native.values import Value
from synaptic_mesh.engine.nest.builder import POINTER


class Walker:
    """Turns addresses of a loop's body into values of one function. `operands` and `result`: addresses of the SCAN's
    tensors; `work`: of its scratch memory."""

    def __init__(self, b: LlvmBuilder, loop: Loop, operands: Sequence[Value], result: Value, work: Value) -> None:
        self.b = b
        self.loop = loop
        self.operands = operands
        self.work = work.text
        self.starts = [self._start(region, result) for region in loop.regions]
        self.places = [self.work, *self.starts]

    def before(self) -> None:
        """Put the states of the first step where the steps have them."""
        for operand, copy in self.loop.first:
            self._copy(self.operands[operand].text, self.address(copy.target), copy.size)

    def begin(self, position: str) -> None:
        """Begin the step at a position of the loop."""
        moved = [
            self.b.f.at(start, self.b.f.mul(position, region.step))
            for start, region in zip(self.starts, self.loop.regions, strict=True)
        ]
        self.places = [self.work, *moved]

    def address(self, address: int) -> str:
        """Return an address of the body in this step."""
        region, offset = split_address(address)
        return self.b.f.at(self.places[region], offset)

    def after(self) -> None:
        """End a step: move what lies elsewhere to where it is kept."""
        for copy in self.loop.after:
            self._copy(self.address(copy.source), self.address(copy.target), copy.size)

    def _start(self, region: Region, result: Value) -> str:
        source = result if region.operand == RESULT else self.operands[region.operand]
        return self.b.f.at(source.text, region.start)

    def _copy(self, source: str, target: str, size: int) -> None:
        self.b.copy(Value(source, POINTER), Value(target, POINTER), size)


def call_line(f: Function, call: str, place: Callable[[int], str]) -> None:
    """Add a call; a number that stands as an address in its arguments becomes `place` of it."""
    name, _, arguments = call.partition("(")
    parts = []
    for argument in arguments[:-1].split(", "):
        kind, value = argument.split(" ")
        is_address = kind == "ptr" and not value.startswith("%")
        parts.append(f"ptr {place(int(value))}" if is_address else argument)
    f.line(f"call void @{name}({', '.join(parts)})")
