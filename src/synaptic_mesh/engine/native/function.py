"""An LLVM function under construction: text in static single assignment form.

A value is the text by which later lines name it. Integers known while emitting stay Python numbers: addresses are
folded here, so the text stays short and LLVM has less to do. Loops are rotated (the test stands at the end) and carry
their values through phi nodes, so nothing lives in memory but tensors.
"""

import struct
from collections.abc import Callable, Sequence

from synaptic_mesh.base.errors import invariant

Index = int | str
"""A 64-bit integer: a number known while emitting, or the name of a value."""
Carried = tuple[str, str]
"""Type and initial value of what a loop carries."""


class Function:
    """A function: parameters as (type, name), lines of text. The current block is where lines are added."""

    def __init__(
        self,
        name: str,
        params: Sequence[tuple[str, str]],
        result: str = "void",
        export: bool = False,
        inline: bool = True,
    ) -> None:
        self.name = name
        self.params = tuple(params)
        self.result = result
        self.export = export
        self.attributes = "nounwind" if inline else "nounwind noinline"
        self.lines: list[str] = []
        self.block = "entry"
        self._count = 0
        self._allocations: list[str] = []

    # --- lines --------------------------------------------------------------------------------------------------------

    def value(self, text: str) -> str:
        """Add an instruction with a result and return its name."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def line(self, text: str) -> None:
        """Add an instruction without a result."""
        self.lines.append(f"  {text}")

    def label(self) -> str:
        """Return a fresh name for a block."""
        self._count += 1
        return f"b{self._count}"

    def start(self, label: str) -> None:
        """Begin the block `label`; the one before must have ended in a branch."""
        self.lines.append(f"{label}:")
        self.block = label

    def allocate(self, size: int) -> str:
        """Return the address of `size` bytes of stack, aligned to 64, for the whole call."""
        self._count += 1
        name = f"%a{self._count}"
        self._allocations.append(f"  {name} = alloca [{size} x i8], align 64")
        return name

    def text(self) -> str:
        """Return the whole definition."""
        linkage = "" if self.export else "internal "
        params = ", ".join(f"{kind} {name}" for kind, name in self.params)
        head = f"define {linkage}{self.result} @{self.name}({params}) {self.attributes} {{"
        end = ["  ret void"] if self.result == "void" else []
        return "\n".join([head, "entry:", *self._allocations, *self.lines, *end, "}", ""])

    # --- integers and addresses ---------------------------------------------------------------------------------------

    def add(self, a: Index, b: Index) -> Index:
        """a + b."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if 0 in (a, b):
            return a if b == 0 else b
        return self.value(f"add i64 {a}, {b}")

    def sub(self, a: Index, b: Index) -> Index:
        """a - b."""
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.value(f"sub i64 {a}, {b}")

    def mul(self, a: Index, b: Index) -> Index:
        """a * b."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if 0 in (a, b):
            return 0
        if 1 in (a, b):
            return a if b == 1 else b
        return self.value(f"mul i64 {a}, {b}")

    def least(self, a: Index, b: Index) -> Index:
        """The smaller of two counts."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        smaller = self.value(f"icmp ult i64 {a}, {b}")
        return self.value(f"select i1 {smaller}, i64 {a}, i64 {b}")

    def at(self, pointer: str, offset: Index) -> str:
        """The address `offset` bytes behind a pointer."""
        return pointer if offset == 0 else self.value(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    # --- memory -------------------------------------------------------------------------------------------------------

    def load(self, kind: str, pointer: str, align: int = 4) -> str:
        """What lies at an address."""
        return self.value(f"load {kind}, ptr {pointer}, align {align}")

    def store(self, kind: str, value: str, pointer: str, align: int = 4) -> None:
        """Write a value to an address."""
        self.line(f"store {kind} {value}, ptr {pointer}, align {align}")

    def splat(self, scalar: str, kind: str, width: int) -> str:
        """A vector with one scalar of type `kind` in every lane."""
        one = self.value(f"insertelement <{width} x {kind}> poison, {kind} {scalar}, i64 0")
        zeros = f"<{width} x i32> zeroinitializer"
        return self.value(f"shufflevector <{width} x {kind}> {one}, <{width} x {kind}> poison, {zeros}")

    def lanes(self, vector: str, kind: str, width: int, picked: Sequence[int], other: str = "poison") -> str:
        """The lanes `picked` of a vector; numbers from `width` on are lanes of `other`."""
        mask = ", ".join(f"i32 {lane}" for lane in picked)
        full = f"<{width} x {kind}>"
        return self.value(f"shufflevector {full} {vector}, {full} {other}, <{len(picked)} x i32> <{mask}>")

    def store_lanes(self, vector: str, kind: str, width: int, lanes: int, pointer: str) -> None:
        """Store the first `lanes` of a vector, in parts whose sizes are powers of two."""
        if lanes == width:
            self.store(f"<{width} x {kind}>", vector, pointer)
            return
        done, part = 0, width
        while done < lanes:
            while part > lanes - done:
                part //= 2
            piece = self.lanes(vector, kind, width, range(done, done + part))
            self.store(f"<{part} x {kind}>", piece, self.at(pointer, 4 * done))
            done += part

    # --- control ------------------------------------------------------------------------------------------------------

    def loop(
        self,
        start: Index,
        stop: Index,
        step: Index,
        body: Callable[[str, list[str]], Sequence[str]],
        carried: Sequence[Carried] = (),
    ) -> list[str]:
        """Run `body(position, values) -> next values` for position = start, start + step, ... below stop. Returns the
        carried values afterwards. Without iterations they are the initial ones."""
        constant = isinstance(start, int) and isinstance(stop, int)
        if constant and start >= stop:  # type: ignore[operator]
            return [value for _, value in carried]
        loop, done, before = self.label(), self.label(), self.block
        if constant:
            self.line(f"br label %{loop}")
        else:
            some = self.value(f"icmp ult i64 {start}, {stop}")
            self.line(f"br i1 {some}, label %{loop}, label %{done}")
        self.start(loop)
        head = len(self.lines)
        self._count += 1
        position = f"%i{self._count}"
        values = [f"%c{self._count}.{number}" for number in range(len(carried))]
        self.lines += [""] * (1 + len(carried))
        after = list(body(position, values))
        invariant(len(after) == len(carried), f"a loop of {self.name} carries {len(carried)} values, got {len(after)}")
        following = self.value(f"add nuw nsw i64 {position}, {step}")
        more = self.value(f"icmp ult i64 {following}, {stop}")
        latch = self.block
        self.line(f"br i1 {more}, label %{loop}, label %{done}")
        self.lines[head] = f"  {position} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]"
        for number, ((kind, first), name, last) in enumerate(zip(carried, values, after, strict=True)):
            self.lines[head + 1 + number] = f"  {name} = phi {kind} [ {first}, %{before} ], [ {last}, %{latch} ]"
        self.start(done)
        skipped = ["" if constant else f", [ {first}, %{before} ]" for _, first in carried]
        return [
            self.value(f"phi {kind} [ {last}, %{latch} ]{skip}")
            for (kind, _), last, skip in zip(carried, after, skipped, strict=True)
        ]

    def branch(self, condition: str, yes: Callable[[], None], no: Callable[[], None] | None = None) -> None:
        """Run `yes` when the condition holds, else `no`."""
        first, end = self.label(), self.label()
        second = self.label() if no else end
        self.line(f"br i1 {condition}, label %{first}, label %{second}")
        self.start(first)
        yes()
        self.line(f"br label %{end}")
        if no:
            self.start(second)
            no()
            self.line(f"br label %{end}")
        self.start(end)


def float_text(bits: int) -> str:
    """Return an f32 bit pattern as LLVM writes it: the hexadecimal of the same number as f64."""
    (number,) = struct.unpack("<f", struct.pack("<I", bits))
    (wide,) = struct.unpack("<Q", struct.pack("<d", number))
    return f"0x{wide:016X}"
