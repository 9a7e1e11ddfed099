"""A WebAssembly function under construction: instructions are checked against the operand stack as they are added.

Stack discipline holds by construction: `emit` pops the operand types its opcode names and refuses others, blocks must
leave the stack as they found it, branches only exist to open blocks, and `finish` demands the declared results.
Blocks carry no values: whatever crosses an iteration lives in locals.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from synaptic_mesh.base.errors import broken, invariant
from synaptic_mesh.engine.wasm.opcodes import OPCODES, ValueType

I32, F32, V128 = ValueType.I32, ValueType.F32, ValueType.V128
LOCALS_MAX = 50_000
"""Implementation limit of the engines (WebAssembly JavaScript interface, section "Implementation-defined Limits")."""


class Local(NamedTuple):
    """A local variable: its number in order of creation, and its type."""

    number: int
    kind: ValueType


class Label(NamedTuple):
    """An open block, loop or if: its nesting depth when it was opened."""

    depth: int


Instruction = tuple[str, tuple[int | bytes, ...]]
"""A name and the immediates in the order of the binary format."""


class Function:
    """A function: parameters, results, locals and instructions. Methods that emit return nothing unless they name a
    local."""

    def __init__(self, name: str, params: tuple[ValueType, ...] = (), results: tuple[ValueType, ...] = ()) -> None:
        self.name = name
        self.params = params
        self.results = results
        self.locals: list[ValueType] = list(params)
        self.instructions: list[Instruction] = []
        self._stack: list[ValueType] = []
        self._frames: list[tuple[str, int]] = []
        self._floor = 0
        self._set_last = -1
        self.reads: Counter[int | bytes] = Counter()
        """After `finish`: the numbers of the locals that are read."""
        self._constants: dict[int, Local] = {}
        self._pattern_of: dict[int, int] = {}

    def local(self, kind: ValueType) -> Local:
        """Return a fresh local of type `kind`; it starts at zero."""
        self.locals.append(kind)
        if len(self.locals) > LOCALS_MAX:
            broken(f"function {self.name} has more than {LOCALS_MAX} locals")
        return Local(len(self.locals) - 1, kind)

    def locals_of(self, kind: ValueType, count: int) -> list[Local]:
        """Return `count` fresh locals of one type."""
        return [self.local(kind) for _ in range(count)]

    def emit(self, name: str, *arguments: int | bytes) -> None:
        """Add the instruction `name` of the opcode table. Breaks an invariant when the stack does not hold its
        operands."""
        opcode = OPCODES[name]
        if opcode.pops:
            self._pop(opcode.pops, name)
        self._stack += opcode.pushes
        self.instructions.append((name, arguments))

    def get(self, variable: Local) -> None:
        """Push a local. Directly after a `set` of the same local the pair becomes one `local.tee`."""
        self._stack.append(variable.kind)
        number = variable.number
        if self._set_last == number and self.instructions[-1][0] == "local.set":
            self.instructions[-1] = ("local.tee", (number,))
        else:
            self.instructions.append(("local.get", (number,)))

    def set(self, variable: Local) -> None:
        """Pop into a local."""
        self._pop((variable.kind,), "local.set")
        self._set_last = variable.number
        self.instructions.append(("local.set", (variable.number,)))

    def tee(self, variable: Local) -> None:
        """Copy the top of the stack into a local."""
        self.set(variable)
        self.get(variable)

    def keep(self, kind: ValueType) -> Local:
        """Pop the top of the stack into a fresh local and return it."""
        variable = self.local(kind)
        self.set(variable)
        return variable

    def i32(self, number: int) -> None:
        """Push an i32 constant; numbers from 2^31 up wrap to the same 32 bits."""
        self.emit("i32.const", (number + 0x80000000) % 0x100000000 - 0x80000000)

    def f32(self, bits: int) -> None:
        """Push an f32 constant given as its u32 bit pattern."""
        self.emit("f32.const", bits)

    def v128(self, data: bytes) -> None:
        """Push a 16-byte constant."""
        invariant(len(data) == 16, f"a v128 constant has 16 bytes, not {len(data)}")
        self.emit("v128.const", data)

    def splat_bits(self, bits: int) -> None:
        """Push a v128 constant with the same 32-bit pattern in all four lanes."""
        self.get(self.constant(bits))

    def constant(self, bits: int) -> Local:
        """Return a local with the same 32-bit pattern in all four lanes, to be read only. It is set once, where the
        function begins: shorter than a constant of 16 bytes at each use, and the same to a compiler."""
        found = self._constants.get(bits)
        if found is None:
            found = self._constants[bits] = self.local(V128)
            self._pattern_of[found.number] = bits
        return found

    def pattern(self, variable: Local) -> int | None:
        """Return the pattern of a local that `constant` returned, None for others."""
        return self._pattern_of.get(variable.number)

    def load(self, name: str, offset: int = 0) -> None:
        """Pop an address and push what `name` (for example "v128.load") reads at address + offset. The alignment hint
        is always one byte: hints change nothing on the engines we run on, and addresses of views need not be
        aligned."""
        self.emit(name, 0, offset)

    def store(self, name: str, offset: int = 0) -> None:
        """Pop a value and an address below it, and write the value at address + offset."""
        self.emit(name, 0, offset)

    def select(self) -> None:
        """Pop condition, b, a; push a when the condition is not zero, else b (numeric types only)."""
        self._pop((I32,), "select")
        kind = self._stack[-1]
        invariant(kind is not V128, "select on v128 needs its typed form: use v128.bitselect")
        self._pop((kind, kind), "select")
        self._stack.append(kind)
        self.instructions.append(("select", ()))

    def call(self, index: int, params: tuple[ValueType, ...] = (), results: tuple[ValueType, ...] = ()) -> None:
        """Call function number `index` of the same module, which has the given type."""
        self._pop(params, "call")
        self._stack.extend(results)
        self.instructions.append(("call", (index,)))

    @contextmanager
    def block(self) -> Iterator[Label]:
        """A block; branching to its label leaves it."""
        yield self._open("block")
        self._close()

    @contextmanager
    def loop(self) -> Iterator[Label]:
        """A loop; branching to its label starts the next iteration."""
        yield self._open("loop")
        self._close()

    @contextmanager
    def if_(self) -> Iterator[Label]:
        """Pop a condition; the body runs when it is not zero."""
        self._pop((I32,), "if")
        yield self._open("if")
        self._close()

    def else_(self) -> None:
        """Inside `if_`: what follows runs when the condition was zero."""
        kind, height = self._frames[-1]
        invariant(kind == "if" and len(self._stack) == height, "else outside an if, or with operands left over")
        self.instructions.append(("else", ()))

    def br_if(self, label: Label) -> None:
        """Pop a condition and branch to `label` when it is not zero."""
        self._pop((I32,), "br_if")
        invariant(0 < label.depth <= len(self._frames), "branch to a block that is not open")
        self.instructions.append(("br_if", (len(self._frames) - label.depth,)))

    def finish(self) -> None:
        """Check that all blocks are closed and exactly the results are on the stack."""
        invariant(not self._frames, f"function {self.name} has an open block")
        invariant(tuple(self._stack) == self.results, f"function {self.name} leaves {self._stack}, not {self.results}")
        self._set_constants()
        self._drop_unread()

    def _set_constants(self) -> None:
        first: list[Instruction] = []
        for bits, variable in self._constants.items():
            if bits:  # locals start at zero
                first += [("f32.const", (bits,)), ("f32x4.splat", ()), ("local.set", (variable.number,))]
        self.instructions[:0] = first
        self._constants = {}

    def _drop_unread(self) -> None:
        """A local that is set and never read, or read only where it is set, need not exist."""
        read = Counter(arguments[0] for name, arguments in self.instructions if name == "local.get")
        kept = []
        for instruction in self.instructions:
            name, arguments = instruction
            if name == "local.tee" and arguments[0] not in read:
                continue
            if name == "local.set" and arguments[0] not in read:
                instruction = ("drop", ())
            kept.append(instruction)
        self.instructions = kept
        self.reads = read

    def _open(self, kind: str) -> Label:
        self._floor = len(self._stack)
        self._frames.append((kind, self._floor))
        self.instructions.append((kind, ()))
        return Label(len(self._frames))

    def _close(self) -> None:
        kind, height = self._frames.pop()
        invariant(len(self._stack) == height, f"a {kind} of {self.name} leaves {len(self._stack) - height} operands")
        self._floor = self._frames[-1][1] if self._frames else 0
        self.instructions.append(("end", ()))

    def _pop(self, kinds: tuple[ValueType, ...], name: str) -> None:
        stack, rest = self._stack, len(self._stack) - len(kinds)
        if rest < self._floor:
            broken(f"{name} in {self.name} finds too few operands")
        if tuple(stack[rest:]) != kinds:
            broken(f"{name} in {self.name} wants {kinds}, finds {tuple(stack[rest:])}")
        del stack[rest:]
