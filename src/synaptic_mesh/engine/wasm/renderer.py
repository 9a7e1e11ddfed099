# ruff: noqa: ARG002 - a v128 has one width and any type of lanes, so some of a builder's arguments say nothing here
"""Loop nests as WebAssembly: a handle is a local, a vector has four lanes.

Each operation leaves its result in a fresh local. Compilers of WebAssembly turn locals back into plain values, so this
costs nothing at run time; the encoder drops locals that nobody reads twice.
"""

from collections.abc import Callable, Sequence

from synaptic_mesh.engine.nest.builder import NOT_FINITE, Body, Carried, Part, Schedule, Walk
from synaptic_mesh.engine.nest.vectors import Vectors, is_plain_bound
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import advance, repeated
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32, V128 = ValueType.I32, ValueType.V128
LANES = 4
SCHEDULE = Schedule(lanes=LANES, widest=LANES, unroll=4, straight_max=7, accumulators=8)
FLAGS_ADDRESS = 0
_F32 = ("neg", "abs", "sqrt", "floor", "nearest", "add", "sub", "mul", "div", "min", "max", "lt", "le", "eq")
_I32 = ("add", "sub", "mul", "min_s", "max_s", "min_u", "max_u", "eq", "lt_s", "le_s", "lt_u", "le_u")
_NAMES = {
    **{f"f32.{name}": f"f32x4.{name}" for name in _F32},
    **{f"i32.{name}": f"i32x4.{name}" for name in _I32},
    **{name: f"v128.{name}" for name in ("and", "or", "xor")},
    **{f"mask.{name}": f"v128.{name}" for name in ("and", "or", "not")},
    "select": "v128.bitselect",
    "truncate": "i32x4.trunc_sat_f32x4_s",
    "convert": "f32x4.convert_i32x4_s",
}
_BOUNDS = {"f32.min": "f32x4.pmin", "f32.max": "f32x4.pmax"}
_EVEN = bytes(4 * lane + byte for lane in (0, 2, 4, 6) for byte in range(4))
_SWAPPED = {
    width: bytes(4 * lane + byte for lane in lanes for byte in range(4))
    for width, lanes in ((4, (2, 3, 0, 1)), (2, (1, 0, 3, 2)))
}


class LocalVectors(Vectors[Local]):
    """Operations on v128 locals of one function."""

    def __init__(self, f: Function) -> None:
        self.f = f

    def constant(self, bits: int) -> Local:
        """Four lanes of one u32 pattern."""
        return self.f.constant(bits)

    def op(self, name: str, *operands: Local) -> Local:
        """One instruction."""
        f = self.f
        if name == "select":
            operands = (operands[1], operands[2], operands[0])
        elif name in _BOUNDS:
            return self._bounded(name, *operands)
        for operand in operands:
            f.get(operand)
        f.emit(_NAMES[name])
        return f.keep(V128)

    def _bounded(self, name: str, a: Local, b: Local) -> Local:
        """Minimum or maximum: with a constant one instruction where `a < b ? b : a` is right for every number."""
        patterns = [self.f.pattern(a), self.f.pattern(b)]
        (x, bound), bits = ((b, a), patterns[0]) if patterns[1] is None else ((a, b), patterns[1])
        if bits is None or not (bits == 0 or is_plain_bound(bits)):
            return self._two(_NAMES[name], a, b)
        chosen = self._two(_BOUNDS[name], x, bound)
        # the larger of two zeros is +0, which the addition makes of -0
        return self._two("f32x4.add", chosen, bound) if bits == 0 and name == "f32.max" else chosen

    def _two(self, instruction: str, a: Local, b: Local) -> Local:
        self.f.get(a)
        self.f.get(b)
        self.f.emit(instruction)
        return self.f.keep(V128)

    def shift(self, name: str, a: Local, count: int) -> Local:
        """A shift by a constant."""
        self.f.get(a)
        self.f.i32(count)
        self.f.emit(f"i32x4.{name}")
        return self.f.keep(V128)


class WasmBuilder:
    """`nest.builder.Builder` over one function."""

    schedule = SCHEDULE

    def __init__(self, f: Function) -> None:
        self.f = f
        self._vectors = LocalVectors(f)

    def vectors(self, width: int) -> LocalVectors:
        """The same for every width: narrower vectors are the first lanes of a v128."""
        return self._vectors

    # --- addresses and memory ---

    def at(self, pointer: Local, offset: int) -> Local:
        """pointer + offset."""
        if not offset:
            return pointer
        self.f.get(pointer)
        self.f.i32(offset)
        self.f.emit("i32.add")
        return self.f.keep(I32)

    def indexed(self, pointer: Local, index: Local, stride: int) -> Local:
        """pointer + index * stride."""
        f = self.f
        f.get(pointer)
        f.get(index)
        f.i32(stride)
        f.emit("i32.mul")
        f.emit("i32.add")
        return f.keep(I32)

    def load(self, kind: str, width: int, pointer: Local, offset: int = 0) -> Local:
        """Four lanes."""
        pointer, offset = self._positive(pointer, offset)
        self.f.get(pointer)
        self.f.load("v128.load", offset)
        return self.f.keep(V128)

    def load_splat(self, kind: str, width: int, pointer: Local, offset: int = 0) -> Local:
        """One element in all lanes."""
        pointer, offset = self._positive(pointer, offset)
        self.f.get(pointer)
        self.f.load("f32.load", offset)
        self.f.emit("f32x4.splat")
        return self.f.keep(V128)

    def load_strided(self, kind: str, part: Part, stride: int, pointer: Local, offset: int = 0) -> Local:
        """Every second element by a shuffle, others one after another."""
        f = self.f
        if stride == 8 and part.lanes > 1:
            f.get(pointer)
            f.load("v128.load", offset)
            f.get(pointer)
            f.load("v128.load", offset + 16)
            f.emit("i8x16.shuffle", _EVEN)
            return f.keep(V128)
        pointer, offset = self._positive(pointer, offset + min(0, stride * (part.lanes - 1)))
        first = -min(0, stride * (part.lanes - 1))
        f.get(pointer)
        f.load("v128.load32_zero", offset + first)
        value = f.keep(V128)
        for lane in range(1, part.lanes):
            f.get(pointer)
            f.get(value)
            f.emit("v128.load32_lane", 0, offset + first + stride * lane, lane)
            f.set(value)
        return value

    def store_strided(self, kind: str, part: Part, value: Local, stride: int, pointer: Local, offset: int = 0) -> None:
        """One lane after another."""
        pointer, offset = self._positive(pointer, offset + min(0, stride * (part.lanes - 1)))
        first = -min(0, stride * (part.lanes - 1))
        for lane in range(part.lanes):
            self.f.get(pointer)
            self.f.get(value)
            self.f.emit("v128.store32_lane", 0, offset + first + stride * lane, lane)

    def _positive(self, pointer: Local, offset: int) -> tuple[Local, int]:
        """An instruction's own offset is not negative."""
        return (pointer, offset) if offset >= 0 else (self.at(pointer, offset), 0)

    def store(self, kind: str, part: Part, value: Local, pointer: Local, offset: int = 0) -> None:
        """All lanes, or the first ones."""
        f, lanes = self.f, part.lanes
        if lanes == LANES:
            f.get(pointer)
            f.get(value)
            f.store("v128.store", offset)
            return
        if lanes >= 2:
            f.get(pointer)
            f.get(value)
            f.emit("v128.store64_lane", 0, offset, 0)
        if lanes % 2:
            f.get(pointer)
            f.get(value)
            f.emit("v128.store32_lane", 0, offset + 4 * (lanes - 1), lanes - 1)

    def fill(self, pointer: Local, size: int) -> None:
        """One instruction."""
        self.f.get(pointer)
        self.f.i32(0)
        self.f.i32(size)
        self.f.emit("memory.fill")

    def copy(self, source: Local, target: Local, size: int) -> None:
        """One instruction."""
        self.f.get(target)
        self.f.get(source)
        self.f.i32(size)
        self.f.emit("memory.copy")

    # --- lanes ---

    def keep_lanes(self, kind: str, part: Part, value: Local, neutral: int, width: int) -> Local:
        """A select by a constant mask."""
        f = self.f
        f.get(value)
        f.get(f.constant(neutral))
        f.v128(b"\xff" * (4 * part.lanes) + b"\0" * (16 - 4 * part.lanes))
        f.emit("v128.bitselect")
        return f.keep(V128)

    def halves(self, kind: str, width: int, value: Local) -> tuple[Local, Local]:
        """The vector, and the vector with its halves swapped."""
        f = self.f
        f.get(value)
        f.get(value)
        f.emit("i8x16.shuffle", _SWAPPED[width])
        return value, f.keep(V128)

    def shuffle(self, kind: str, width: int, a: Local, b: Local, picked: Sequence[int]) -> Local:
        """One instruction."""
        f = self.f
        f.get(a)
        f.get(b)
        f.emit("i8x16.shuffle", bytes(4 * lane + byte for lane in picked for byte in range(4)))
        return f.keep(V128)

    # --- single values ---

    def load_word(self, pointer: Local, offset: int = 0) -> Local:
        """An i32."""
        self.f.get(pointer)
        self.f.load("i32.load", offset)
        return self.f.keep(I32)

    def store_word(self, word: Local | int, pointer: Local, offset: int = 0) -> None:
        """An i32."""
        self.f.get(pointer)
        if isinstance(word, int):
            self.f.i32(word)
        else:
            self.f.get(word)
        self.f.store("i32.store", offset)

    def index(self, word: Local) -> Local:
        """The same local: addresses have 32 bits."""
        return word

    def splat_index(self, index: Local, width: int) -> Local:
        """The index in four lanes."""
        self.f.get(index)
        self.f.emit("i32x4.splat")
        return self.f.keep(V128)

    def lane_numbers(self, width: int) -> Local:
        """A constant."""
        self.f.v128(b"".join(lane.to_bytes(4, "little") for lane in range(LANES)))
        return self.f.keep(V128)

    def below(self, word: Local, extent: int) -> Local:
        """A negative word is a large unsigned one."""
        self.f.get(word)
        self.f.i32(extent)
        self.f.emit("i32.lt_u")
        return self.f.keep(I32)

    # --- control ---

    def loop(
        self,
        count: int,
        body: Body[Local],
        walks: Sequence[Walk[Local]] = (),
        carried: Sequence[Carried[Local]] = (),
        step: int = 1,
    ) -> list[Local]:
        """What moves and what is carried lives in locals; the test stands at the end."""
        f = self.f
        if count <= 0:
            return [value.initial for value in carried]
        position = f.local(I32)
        if count == 1:
            return list(body(position, [walk.start for walk in walks], [value.initial for value in carried]))
        places = [self._copied(walk.start) for walk in walks]
        values = [self._copied(value.initial) for value in carried]
        with repeated(f, position, 0, count * step, step):
            after = body(position, places, values)
            self._assign(values, after)
            for place, walk in zip(places, walks, strict=True):
                if walk.step:
                    advance(f, place, walk.step)
        return values

    def sequence(
        self,
        steps: int,
        step: Callable[[int, Sequence[Local]], Sequence[Local]],
        carried: Sequence[Carried[Local]],
        guard: Local,
    ) -> list[Local]:
        """Never-taken branches stand between the steps: Cranelift computes a value where it is used first, and without
        them it would hold the operands of all steps until the end."""
        f = self.f
        values = [self._copied(value.initial) for value in carried]
        with f.block() as never:
            for number in range(steps):
                self._assign(values, step(number, values))
                if number < steps - 1:
                    f.get(guard)
                    f.emit("i32.eqz")
                    f.br_if(never)
        return values

    def _copied(self, source: Local) -> Local:
        self.f.get(source)
        copy = self.f.local(source.kind)
        self.f.set(copy)
        return copy

    def _assign(self, targets: Sequence[Local], sources: Sequence[Local]) -> None:
        """All at once: a source may be another's target."""
        pairs = [(target, source) for target, source in zip(targets, sources, strict=True) if target != source]
        for _, source in reversed(pairs):
            self.f.get(source)
        for target, _ in pairs:
            self.f.set(target)

    def branch(self, condition: Local, yes: Callable[[], None], no: Callable[[], None]) -> None:
        """If and else."""
        self.f.get(condition)
        with self.f.if_():
            yes()
            self.f.else_()
            no()

    def raise_flag(self, bit: int) -> None:
        """Or the bit into the flags word."""
        raise_flag(self.f, bit)

    def raise_if_negative(self, state: Local, bit: int = NOT_FINITE, width: int = 0) -> None:
        """Look at the signs of four lanes."""
        self.f.get(state)
        self.f.emit("i32x4.bitmask")
        with self.f.if_():
            raise_flag(self.f, bit)


def raise_flag(f: Function, bit: int) -> None:
    """Or `bit` into the flags word."""
    f.i32(FLAGS_ADDRESS)
    f.i32(FLAGS_ADDRESS)
    f.load("i32.load")
    f.i32(bit)
    f.emit("i32.or")
    f.store("i32.store")
