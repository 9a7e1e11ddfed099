"""Loop nests as LLVM IR: a handle is the name of a value with the type of its lanes."""

from collections.abc import Callable, Sequence

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.engine.native.function import Function
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.values import Value, VectorOps
from synaptic_mesh.engine.nest.builder import (
    FLOAT,
    INDEX,
    INT,
    MASK,
    NOT_FINITE,
    POINTER,
    WORD,
    Body,
    Carried,
    Part,
    Schedule,
    Walk,
    walk_row,
)

WIDEST = 16
UNROLL = 4
STRAIGHT_MAX = 8
_SINGLE = {POINTER: "ptr", WORD: "i32", INDEX: "i64"}


class LlvmBuilder:
    """`nest.builder.Builder` over one function; `flags` is the address of the step's flags word. `is_shared`: other
    threads may raise flags at the same time."""

    def __init__(self, f: Function, profile: Profile, flags: str, is_shared: bool) -> None:
        self.f = f
        self.profile = profile
        self.flags = flags
        self.is_shared = is_shared
        self.schedule = Schedule(profile.lanes, WIDEST, UNROLL, STRAIGHT_MAX, profile.accumulators)
        self._vectors: dict[int, VectorOps] = {}

    def vectors(self, width: int) -> VectorOps:
        """Operations on vectors of `width` lanes; LLVM divides them into the registers there are."""
        if width not in self._vectors:
            self._vectors[width] = VectorOps(self.f, self.profile, width)
        return self._vectors[width]

    # --- addresses and memory ---

    def at(self, pointer: Value, offset: int) -> Value:
        """A constant offset."""
        return Value(self.f.at(pointer.text, offset), POINTER)

    def indexed(self, pointer: Value, index: Value, stride: int) -> Value:
        """pointer + index * stride."""
        return Value(self.f.at(pointer.text, self.f.mul(index.text, stride)), POINTER)

    def load(self, kind: str, width: int, pointer: Value, offset: int = 0) -> Value:
        """Neighbouring lanes; a mask comes from words."""
        at = self.f.at(pointer.text, offset)
        return self._read(kind, width, self.f.load(f"<{width} x {_memory(kind)}>", at))

    def load_splat(self, kind: str, width: int, pointer: Value, offset: int = 0) -> Value:
        """One element in all lanes."""
        words = _memory(kind)
        return self._read(kind, width, self.f.splat(self.f.load(words, self.f.at(pointer.text, offset)), words, width))

    def load_strided(self, kind: str, part: Part, stride: int, pointer: Value, offset: int = 0) -> Value:
        """Every second element by a shuffle, others one after another."""
        f, words, name = self.f, _memory(kind), "zeroinitializer"
        if stride == 8 and part.lanes > 1:
            pair = f.load(f"<{2 * part.width} x {words}>", f.at(pointer.text, offset))
            return self._read(kind, part.width, f.lanes(pair, words, 2 * part.width, range(0, 2 * part.width, 2)))
        for lane in range(part.lanes):
            one = f.load(words, f.at(pointer.text, offset + stride * lane))
            name = f.value(f"insertelement <{part.width} x {words}> {name}, {words} {one}, i64 {lane}")
        return self._read(kind, part.width, name)

    def _read(self, kind: str, width: int, name: str) -> Value:
        return self.vectors(width).is_set(Value(name, INT)) if kind == MASK else Value(name, kind)

    def store(self, kind: str, part: Part, value: Value, pointer: Value, offset: int = 0) -> None:
        """All lanes, or the first ones in parts whose sizes are powers of two."""
        ops = self.vectors(part.width)
        name = ops.as_float(value) if kind == FLOAT else ops.as_int(ops.spread(value) if kind == MASK else value)
        self.f.store_lanes(name, _memory(kind), part.width, part.lanes, self.f.at(pointer.text, offset))

    def store_strided(self, kind: str, part: Part, value: Value, stride: int, pointer: Value, offset: int = 0) -> None:
        """One lane after another."""
        f, words, name = self.f, _memory(kind), self._name(kind, part.width, value)
        for lane in range(part.lanes):
            one = f.value(f"extractelement <{part.width} x {words}> {name}, i64 {lane}")
            f.store(words, one, f.at(pointer.text, offset + stride * lane))

    def fill(self, pointer: Value, size: int) -> None:
        """A loop: objects call no library."""
        walk_row(self, size // 4, [pointer], self._clear)

    def _clear(self, at: Sequence[Value], part: Part) -> None:
        self.store(INT, part, self.vectors(part.width).constant(0), at[0])

    def copy(self, source: Value, target: Value, size: int) -> None:
        """A loop."""
        walk_row(self, size // 4, [source, target], self._move)

    def _move(self, at: Sequence[Value], part: Part) -> None:
        self.store(INT, part, self.load(INT, part.width, at[0]), at[1])

    # --- lanes ---

    def keep_lanes(self, kind: str, part: Part, value: Value, neutral: int, width: int) -> Value:
        """A shuffle with a constant vector."""
        picked = [*range(part.lanes), *(part.width for _ in range(width - part.lanes))]
        other = self._name(kind, part.width, self.vectors(part.width).constant(neutral))
        name = self._name(kind, part.width, value)
        return Value(self.f.lanes(name, kind, part.width, picked, other), kind)

    def halves(self, kind: str, width: int, value: Value) -> tuple[Value, Value]:
        """Two shuffles."""
        name = self._name(kind, width, value)
        low, high = range(width // 2), range(width // 2, width)
        return (
            Value(self.f.lanes(name, kind, width, low), kind),
            Value(self.f.lanes(name, kind, width, high), kind),
        )

    def shuffle(self, kind: str, width: int, a: Value, b: Value, picked: Sequence[int]) -> Value:
        """One instruction of LLVM's."""
        names = [self._name(kind, width, value) for value in (a, b)]
        return Value(self.f.lanes(names[0], kind, width, picked, names[1]), kind)

    # --- single values ---

    def load_word(self, pointer: Value, offset: int = 0) -> Value:
        """An i32."""
        return Value(self.f.load("i32", self.f.at(pointer.text, offset)), WORD)

    def store_word(self, word: Value | int, pointer: Value, offset: int = 0) -> None:
        """An i32."""
        text = str(word) if isinstance(word, int) else word.text
        self.f.store("i32", text, self.f.at(pointer.text, offset))

    def index(self, word: Value) -> Value:
        """64 bits."""
        return Value(self.f.value(f"zext i32 {word.text} to i64"), INDEX)

    def splat_index(self, index: Value, width: int) -> Value:
        """The lower 32 bits in all lanes."""
        if index.text.isdigit():
            return self.vectors(width).constant(int(index.text))
        return Value(self.f.splat(self.f.value(f"trunc i64 {index.text} to i32"), INT, width), INT)

    def lane_numbers(self, width: int) -> Value:
        """A constant."""
        return Value(f"<{', '.join(f'i32 {lane}' for lane in range(width))}>", INT)

    def below(self, word: Value, extent: int) -> Value:
        """A negative word is a large unsigned one."""
        return Value(self.f.value(f"icmp ult i32 {word.text}, {extent}"), MASK)

    # --- control ---

    def loop(
        self,
        count: int,
        body: Body[Value],
        walks: Sequence[Walk[Value]] = (),
        carried: Sequence[Carried[Value]] = (),
        step: int = 1,
    ) -> list[Value]:
        """Addresses are computed from the position, which LLVM turns into what the processor does best."""
        f = self.f
        if count <= 0:
            return [value.initial for value in carried]
        if count == 1:
            start = [walk.start for walk in walks]
            return list(body(Value("0", INDEX), start, [value.initial for value in carried]))
        invariant(all(walk.step % step == 0 for walk in walks), "an address moves by whole elements")

        def turn(position: str, values: list[str]) -> list[str]:
            places = [
                Value(f.at(walk.start.text, f.mul(position, walk.step // step)), POINTER) if walk.step else walk.start
                for walk in walks
            ]
            here = [Value(name, value.kind) for name, value in zip(values, carried, strict=True)]
            after = body(Value(position, INDEX), places, here)
            return [self._name(c.kind, c.width, value) for c, value in zip(carried, after, strict=True)]

        first = [(_full(c.kind, c.width), self._name(c.kind, c.width, c.initial)) for c in carried]
        names = f.loop(0, count * step, step, turn, first)
        return [Value(name, value.kind) for name, value in zip(names, carried, strict=True)]

    def sequence(
        self,
        steps: int,
        step: Callable[[int, Sequence[Value]], Sequence[Value]],
        carried: Sequence[Carried[Value]],
        guard: Value,
    ) -> list[Value]:
        """LLVM allocates registers by itself."""
        del guard
        values: Sequence[Value] = [value.initial for value in carried]
        for number in range(steps):
            values = step(number, values)
        return list(values)

    def _name(self, kind: str, width: int, value: Value) -> str:
        if kind in _SINGLE:
            return value.text
        return self.vectors(width).as_float(value) if kind == FLOAT else self.vectors(width).as_int(value)

    def branch(self, condition: Value, yes: Callable[[], None], no: Callable[[], None]) -> None:
        """Two blocks."""
        self.f.branch(condition.text, yes, no)

    def raise_flag(self, bit: int) -> None:
        """Or the bit into the flags word."""
        self._raise(str(bit))

    def raise_if_negative(self, state: Value, bit: int = NOT_FINITE, width: int = 0) -> None:
        """Look at all signs at once."""
        f, lanes = self.f, width or self.profile.lanes
        signs = f.value(f"icmp slt <{lanes} x i32> {self._name(INT, lanes, state)}, zeroinitializer")
        bits = f.value(f"bitcast <{lanes} x i1> {signs} to i{lanes}")
        some = f.value(f"icmp ne i{lanes} {bits}, 0")
        if self.is_shared:
            f.branch(some, lambda: self.raise_flag(bit))
        else:
            self._raise(f.value(f"select i1 {some}, i32 {bit}, i32 0"))

    def _raise(self, bit: str) -> None:
        """Where threads share a kernel none may undo what another has raised meanwhile."""
        if self.is_shared:
            self.f.value(f"atomicrmw or ptr {self.flags}, i32 {bit} monotonic, align 4")
        else:
            before = self.f.load("i32", self.flags)
            self.f.store("i32", self.f.value(f"or i32 {before}, {bit}"), self.flags)


def _memory(kind: str) -> str:
    return INT if kind == MASK else kind


def _full(kind: str, width: int) -> str:
    return _SINGLE.get(kind, f"<{width} x {kind}>")
