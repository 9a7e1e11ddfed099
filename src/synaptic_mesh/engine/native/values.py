"""Vectors of 32-bit lanes as values: what polynomials and fused elementwise chains are written against."""

from typing import NamedTuple

from synaptic_mesh.base.errors import broken
from synaptic_mesh.engine import polynomials
from synaptic_mesh.engine.native.function import Function, float_text
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.nest.builder import FLOAT as FLOAT
from synaptic_mesh.engine.nest.builder import INT, MASK
from synaptic_mesh.engine.nest.vectors import Vectors, is_plain_bound

TWO_23_BITS = 0x4B000000
"""From 2^23 on every f32 is integral."""


class Value(NamedTuple):
    """A vector: its name, and the type of its lanes. A constant has bits instead and takes any type."""

    text: str
    kind: str
    bits: int | None = None


class VectorOps(Vectors[Value]):
    """`nest.vectors.Vectors` over vectors of `width` lanes of one function."""

    def __init__(self, f: Function, profile: Profile, width: int) -> None:
        self.f = f
        self.profile = profile
        self.width = width
        self.float = f"<{width} x float>"
        self.int = f"<{width} x i32>"
        self.mask = f"<{width} x i1>"

    # --- texts in the type an instruction wants ---

    def as_float(self, a: Value) -> str:
        """The value's name as f32 lanes."""
        if a.bits is not None:
            return "zeroinitializer" if a.bits == 0 else f"splat (float {float_text(a.bits)})"
        return a.text if a.kind == FLOAT else self.f.value(f"bitcast {self.int} {a.text} to {self.float}")

    def as_int(self, a: Value) -> str:
        """The value's name as i32 lanes."""
        if a.bits is not None:
            return "zeroinitializer" if a.bits == 0 else f"splat (i32 {(a.bits + (1 << 31)) % (1 << 32) - (1 << 31)})"
        return a.text if a.kind == INT else self.f.value(f"bitcast {self.float} {a.text} to {self.int}")

    def constant(self, bits: int) -> Value:
        """Every lane has one u32 pattern."""
        return Value("", INT, bits)

    def load(self, kind: str, pointer: str) -> Value:
        """The lanes from an address on."""
        return Value(self.f.load(f"<{self.width} x {kind}>", pointer), kind)

    def floats(self, instruction: str, *operands: Value) -> Value:
        """An f32 instruction, or an intrinsic ("@llvm...") of f32 operands."""
        names = [self.as_float(a) for a in operands]
        if instruction.startswith("@"):
            arguments = ", ".join(f"{self.float} {name}" for name in names)
            return Value(self.f.value(f"call {self.float} {instruction}.v{self.width}f32({arguments})"), FLOAT)
        return Value(self.f.value(f"{instruction} {self.float} {', '.join(names)}"), FLOAT)

    def ints(self, instruction: str, a: Value, b: Value) -> Value:
        """An i32 instruction."""
        return Value(self.f.value(f"{instruction} {self.int} {self.as_int(a)}, {self.as_int(b)}"), INT)

    def compare(self, condition: str, a: Value, b: Value) -> Value:
        """`fcmp` and `icmp` with a condition, for example "fcmp olt"."""
        if condition.startswith("fcmp"):
            return Value(self.f.value(f"{condition} {self.float} {self.as_float(a)}, {self.as_float(b)}"), MASK)
        return Value(self.f.value(f"{condition} {self.int} {self.as_int(a)}, {self.as_int(b)}"), MASK)

    def spread(self, mask: Value) -> Value:
        """A mask as i32 lanes of all ones or all zeros."""
        return Value(self.f.value(f"sext {self.mask} {mask.text} to {self.int}"), INT)

    def is_set(self, words: Value) -> Value:
        """The mask that `spread` made these i32 lanes of."""
        return self.compare("icmp ne", words, self.constant(0))

    # --- vectors ---

    def op(self, name: str, *operands: Value) -> Value:
        """The operation `name`, lane by lane."""
        if name in _BOUNDS and any(a.bits is not None for a in operands):
            return self._bounded(name, *operands)
        if name in _FLOATS:
            return self.floats(_FLOATS[name], *operands)
        if name in _INTS:
            return self.ints(_INTS[name], *operands)
        if name in _COMPARES:
            return self.compare(_COMPARES[name], *operands)
        if name in _INT_ORDERED:
            return self.select(self.compare(_INT_ORDERED[name], *operands), *operands)
        match name:
            case "select":
                return self._select(*operands)
            case "f32.nearest":
                return self._nearest(*operands)
            case "f32.floor":
                return self._floor(*operands)
            case "truncate":
                name = f"@llvm.fptosi.sat.v{self.width}i32.v{self.width}f32"
                return Value(self.f.value(f"call {self.int} {name}({self.float} {self.as_float(operands[0])})"), INT)
            case "convert":
                return Value(self.f.value(f"sitofp {self.int} {self.as_int(operands[0])} to {self.float}"), FLOAT)
        return self._masks(name, *operands)

    def shift(self, name: str, a: Value, count: int) -> Value:
        """A shift by a constant."""
        return self.ints(_SHIFTS[name], a, self.constant(count))

    def _select(self, mask: Value, yes: Value, no: Value) -> Value:
        kind = INT if INT in (yes.kind, no.kind) and yes.kind == no.kind else FLOAT
        vector, name = (self.int, self.as_int) if kind == INT else (self.float, self.as_float)
        return Value(self.f.value(f"select {self.mask} {mask.text}, {vector} {name(yes)}, {vector} {name(no)}"), kind)

    def _bounded(self, name: str, a: Value, b: Value) -> Value:
        """Minimum or maximum with a constant: one instruction where the processor's own is right for every number."""
        x, bound = (a, b) if b.bits is not None else (b, a)
        if bound.bits == 0 and name == "f32.max":  # the larger of two zeros is +0, which the addition makes of -0
            return self.add(self.select(self.compare("fcmp ogt", bound, x), bound, x), bound)
        if bound.bits is not None and (is_plain_bound(bound.bits) or bound.bits == 0):
            return self.select(self.compare(_BOUNDS[name], bound, x), bound, x)
        return self.floats(_FLOATS[name], a, b)

    def _nearest(self, a: Value) -> Value:
        if self.profile.rounds:
            return self.floats("@llvm.roundeven", a)
        # |a| + 2^23 is rounded to an integer by the addition itself; the sign comes back for -0 and what became it
        magnitude, big = self.floats("@llvm.fabs", a), self.constant(TWO_23_BITS)
        whole = self.floats("@llvm.copysign", self.sub(self.add(magnitude, big), big), a)
        return self.select(self.less(magnitude, big), whole, a)

    def _floor(self, a: Value) -> Value:
        if self.profile.rounds:
            return self.floats("@llvm.floor", a)
        whole = self.nearest(a)
        lower = self.sub(whole, self.constant(polynomials.ONE))
        return self.select(self.less(a, whole), lower, whole)

    def _masks(self, name: str, a: Value, b: Value | None = None) -> Value:
        if name == "mask.not":
            return Value(self.f.value(f"xor {self.mask} {a.text}, splat (i1 true)"), MASK)
        if b is None or name not in ("mask.and", "mask.or"):
            broken(f"there is no vector operation {name}")
        return Value(self.f.value(f"{name[5:]} {self.mask} {a.text}, {b.text}"), MASK)


_FLOATS = {
    "f32.neg": "fneg",
    "f32.abs": "@llvm.fabs",
    "f32.sqrt": "@llvm.sqrt",
    "f32.add": "fadd",
    "f32.sub": "fsub",
    "f32.mul": "fmul",
    "f32.div": "fdiv",
    "f32.min": "@llvm.minimum",
    "f32.max": "@llvm.maximum",
}
_BOUNDS = {"f32.min": "fcmp olt", "f32.max": "fcmp ogt"}
_INTS = {"i32.add": "add", "i32.sub": "sub", "i32.mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_COMPARES = {"f32.lt": "fcmp olt", "f32.le": "fcmp ole", "f32.eq": "fcmp oeq", "i32.eq": "icmp eq"}
_COMPARES |= {f"i32.{order}_{sign}": f"icmp {sign}{order}" for order in ("lt", "le") for sign in "su"}
_INT_ORDERED = {
    **{f"i32.min_{sign}": f"icmp {sign}lt" for sign in "su"},
    **{f"i32.max_{sign}": f"icmp {sign}gt" for sign in "su"},
}
_SHIFTS = {"shl": "shl", "shr_s": "ashr", "shr_u": "lshr"}
INTRINSICS = ("minimum", "maximum", "copysign"), ("roundeven", "floor", "fabs", "sqrt")
"""Names of the f32 intrinsics with two operands and with one."""


def declarations(widths: tuple[int, ...]) -> str:
    """Return the declarations of everything that `VectorOps` calls."""
    lines = ["declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"]
    for width in widths:
        vector = f"<{width} x float>"
        lines += [f"declare {vector} @llvm.{name}.v{width}f32({vector}, {vector})" for name in INTRINSICS[0]]
        lines += [f"declare {vector} @llvm.{name}.v{width}f32({vector})" for name in INTRINSICS[1]]
        lines.append(f"declare <{width} x i32> @llvm.fptosi.sat.v{width}i32.v{width}f32({vector})")
    return "\n".join([*lines, ""])
