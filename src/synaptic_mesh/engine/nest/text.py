"""Loop nests for people: the third renderer, which writes words.

`p0` is the address of a kernel's first buffer, `p0 + 16` an address 16 bytes on; `i` is a loop's position. A value that
a loop carries keeps its name from one iteration to the next.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from synaptic_mesh.engine.fusion import Kernel, KernelKind, matmul_extents
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.loop_plan import RESULT, plan_loop, split_address
from synaptic_mesh.engine.nest.builder import FLOAT, NOT_FINITE, Body, Carried, Part, Schedule, Walk
from synaptic_mesh.engine.nest.chain import Chain
from synaptic_mesh.engine.nest.form import kernel_form, kernel_spots
from synaptic_mesh.engine.nest.kernels import emit_kernel, must_run
from synaptic_mesh.engine.nest.vectors import Vectors
from synaptic_mesh.engine.planner import Plan

SCHEDULE = Schedule(lanes=4, widest=4, unroll=4, straight_max=7, accumulators=8)
"""That of WebAssembly."""
_PRODUCTS = (KernelKind.GEMM, KernelKind.BATCHED)


def format_loops(graph: Graph, plan: Plan, schedule: Schedule = SCHEDULE, show: Callable[[int], str] = str) -> str:
    """Return the loop nest of every kernel of a plan; kernels of equal form once. `show` puts an address into words."""
    checked = frozenset(plan.output_buffers[name] for name in graph.checked)
    known: dict[object, str] = {}
    lines: list[str] = []
    for kernel in plan.kernels:
        if not must_run(kernel):
            continue
        form = kernel_form(graph, kernel, checked)
        spots = enumerate(kernel_spots(graph, kernel))
        buffers = ", ".join(f"p{n} = {show(plan.offsets[buffer] + 4 * at)}" for n, (buffer, at) in spots)
        if form in known:
            lines.append(f"{known[form]} again: {buffers}")
            continue
        known[form] = f"{kernel.kind.value}_{len(known)}"
        lines.append(f"{known[form]} {kernel.shape}: {buffers}")
        lines += ["  " + line for line in _kernel_lines(graph, kernel, checked, schedule)]
    return "\n".join(lines)


def _kernel_lines(graph: Graph, kernel: Kernel, checked: frozenset[int], schedule: Schedule) -> list[str]:
    if kernel.kind is KernelKind.SCAN:
        return _scan_lines(graph, kernel, schedule)
    b = TextBuilder(schedule)
    parameters = {spot: f"p{number}" for number, spot in enumerate(kernel_spots(graph, kernel))}
    if kernel.kind not in _PRODUCTS and (kernel.root is None or kernel.kind is KernelKind.ROWS):
        emit_kernel(b, graph, kernel, parameters, checked, "work")
        return b.lines
    index = kernel.nodes[0] if kernel.root is None else kernel.root
    m, k, n = matmul_extents(graph, index)
    b.line(f"matrix product {m} x {k} x {n}: tiles of outputs, k ascending")
    if kernel.root is not None:
        chain = Chain(b, graph, kernel, parameters, checked)
        with b.indented("on each vector of a finished tile:"):
            start = chain.start()
            part = Part(0, schedule.lanes, schedule.lanes)
            places = [
                f"{place} + {strides[0]} row + {strides[1]} column"
                for place, strides in zip(chain.places, chain.strides, strict=True)
            ]
            chain.emit(places, (0, 0), part, start[0].initial if start else None, {}, "tile")
    return b.lines


def _scan_lines(graph: Graph, kernel: Kernel, schedule: Schedule) -> list[str]:
    """Where each region of a loop begins in a step, and the kernels of its body."""
    loop = plan_loop(graph.nodes[kernel.nodes[0]], lambda *_: 0)
    lines = [f"loop {loop.length} times, i = 0, 1, ...:"]
    for number, region in enumerate(loop.regions, 1):
        source = "result" if region.operand == RESULT else f"operand {region.operand}"
        lines.append(f"  r{number} = {source} + {region.start} + {region.step} i")
    inner = format_loops(loop.body, loop.plan, schedule, _show_in_loop)
    lines += ["  " + line for line in inner.split("\n")]
    moves = [
        f"  copy {copy.size} bytes: {_show_in_loop(copy.source)} to {_show_in_loop(copy.target)}" for copy in loop.after
    ]
    return [*lines, *moves]


def _show_in_loop(address: int) -> str:
    region, offset = split_address(address)
    return f"r{region} + {offset}" if region else f"work + {offset}"


class TextVectors(Vectors[str]):
    """Operations as lines."""

    def __init__(self, b: "TextBuilder") -> None:
        self.b = b

    def constant(self, bits: int) -> str:
        """A bit pattern."""
        return f"{bits:#x}" if bits else "0"

    def op(self, name: str, *operands: str) -> str:
        """One line."""
        return self.b.value(f"{name} {', '.join(operands)}")

    def shift(self, name: str, a: str, count: int) -> str:
        """One line."""
        return self.b.value(f"{name} {a}, {count}")


class TextBuilder:
    """`nest.builder.Builder` over lines of text."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.lines: list[str] = []
        self._depth = 0
        self._count = 0
        self._loops = 0

    def line(self, text: str) -> None:
        """Add a line."""
        self.lines.append("  " * self._depth + text)

    def value(self, text: str) -> str:
        """Add a line that names its result."""
        self._count += 1
        self.line(f"v{self._count} = {text}")
        return f"v{self._count}"

    @contextmanager
    def indented(self, head: str) -> Iterator[None]:
        """Lines within stand under `head`."""
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def vectors(self, width: int) -> TextVectors:
        """The same for every width."""
        del width
        return TextVectors(self)

    def at(self, pointer: str, offset: int) -> str:
        """An address."""
        return f"{pointer} {'+' if offset > 0 else '-'} {abs(offset)}" if offset else pointer

    def indexed(self, pointer: str, index: str, stride: int) -> str:
        """An address."""
        return f"{pointer} + {stride} {index}"

    def load(self, kind: str, width: int, pointer: str, offset: int = 0) -> str:
        """Neighbouring lanes."""
        return self.value(f"load {_type(kind)}x{width} [{self.at(pointer, offset)}]")

    def load_splat(self, kind: str, width: int, pointer: str, offset: int = 0) -> str:
        """One element."""
        return self.value(f"splat {_type(kind)}x{width} [{self.at(pointer, offset)}]")

    def load_strided(self, kind: str, part: Part, stride: int, pointer: str, offset: int = 0) -> str:
        """Elements apart."""
        place = self.at(pointer, offset)
        return self.value(f"load {_type(kind)}x{part.width} [{place}], {part.lanes} lanes {stride} bytes apart")

    def store(self, kind: str, part: Part, value: str, pointer: str, offset: int = 0) -> None:
        """All lanes or the first."""
        lanes = "" if part.lanes == part.width else f", the first {part.lanes}"
        self.line(f"store {_type(kind)}x{part.width} {value} [{self.at(pointer, offset)}]{lanes}")

    def store_strided(self, kind: str, part: Part, value: str, stride: int, pointer: str, offset: int = 0) -> None:
        """Elements apart."""
        place = self.at(pointer, offset)
        self.line(f"store {_type(kind)}x{part.width} {value} [{place}], {part.lanes} lanes {stride} bytes apart")

    def fill(self, pointer: str, size: int) -> None:
        """Zeros."""
        self.line(f"clear [{pointer}], {size} bytes")

    def copy(self, source: str, target: str, size: int) -> None:
        """Bytes."""
        self.line(f"copy [{source}] to [{target}], {size} bytes")

    def keep_lanes(self, kind: str, part: Part, value: str, neutral: int, width: int) -> str:
        """The first lanes."""
        del kind, width
        return self.value(f"the first {part.lanes} lanes of {value}, then {neutral:#x}")

    def halves(self, kind: str, width: int, value: str) -> tuple[str, str]:
        """Two values."""
        del kind
        low, high = width // 2 - 1, width - 1
        return self.value(f"lanes 0..{low} of {value}"), self.value(f"lanes {low + 1}..{high} of {value}")

    def shuffle(self, kind: str, width: int, a: str, b: str, picked: Sequence[int]) -> str:
        """The numbers of the lanes."""
        del kind, width
        return self.value(f"lanes {' '.join(map(str, picked))} of {a}, {b}")

    def load_word(self, pointer: str, offset: int = 0) -> str:
        """An integer."""
        return self.value(f"load word [{self.at(pointer, offset)}]")

    def store_word(self, word: str | int, pointer: str, offset: int = 0) -> None:
        """An integer."""
        self.line(f"store word {word} [{self.at(pointer, offset)}]")

    def index(self, word: str) -> str:
        """The same word."""
        return word

    def splat_index(self, index: str, width: int) -> str:
        """The index in every lane."""
        return self.value(f"splat i32x{width} {index}")

    def lane_numbers(self, width: int) -> str:
        """A constant."""
        return f"(0..{width - 1})"

    def below(self, word: str, extent: int) -> str:
        """A condition."""
        return f"0 <= {word} < {extent}"

    def loop(
        self,
        count: int,
        body: Body[str],
        walks: Sequence[Walk[str]] = (),
        carried: Sequence[Carried[str]] = (),
        step: int = 1,
    ) -> list[str]:
        """Lines under the loop's head."""
        if count <= 0:
            return [value.initial for value in carried]
        if count == 1:
            return list(body("0", [walk.start for walk in walks], [value.initial for value in carried]))
        self._loops += 1
        position = f"i{self._loops}"
        names = [self.value(value.initial) for value in carried]
        with self.indented(f"for {position} in 0..{count * step}" + (f" step {step}:" if step > 1 else ":")):
            places = [_moving(walk, position, step) for walk in walks]
            for name, after in zip(names, body(position, places, names), strict=True):
                if name != after:
                    self.line(f"{name} = {after}")
        return names

    def sequence(
        self,
        steps: int,
        step: Callable[[int, Sequence[str]], Sequence[str]],
        carried: Sequence[Carried[str]],
        guard: str,
    ) -> list[str]:
        """Lines one behind the other."""
        del guard
        values: Sequence[str] = [value.initial for value in carried]
        for number in range(steps):
            values = step(number, values)
        return list(values)

    def branch(self, condition: str, yes: Callable[[], None], no: Callable[[], None]) -> None:
        """Two groups of lines."""
        with self.indented(f"if {condition}:"):
            yes()
        with self.indented("else:"):
            no()

    def raise_flag(self, bit: int) -> None:
        """A line."""
        self.line(f"flags |= {bit}")

    def raise_if_negative(self, state: str, bit: int = NOT_FINITE, width: int = 0) -> None:
        """A line."""
        del width
        self.line(f"flags |= {bit} if a lane of {state} is negative")


def _moving(walk: Walk[str], position: str, step: int) -> str:
    if not walk.step:
        return walk.start
    factor = f"{walk.step // step} " if walk.step != step else ""
    return f"{walk.start} + {factor}{position}"


def _type(kind: str) -> str:
    return "f32" if kind == FLOAT else "i32" if kind != "i1" else "mask"
