"""Vectors of 32-bit lanes as values: what polynomials and fused elementwise chains are written against."""

from typing import NamedTuple

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.engine import polynomials
from synaptic_mesh.engine.ir import DType, Node, Op
from synaptic_mesh.engine.native.function import Function, float_text
from synaptic_mesh.engine.native.profile import Profile

FLOAT, INT, MASK = "float", "i32", "i1"
TWO_23_BITS = 0x4B000000
"""From 2^23 on every f32 is integral."""


class Value(NamedTuple):
    """A vector: its name, and the type of its lanes. A constant has bits instead and takes any type."""

    text: str
    kind: str
    bits: int | None = None


class VectorOps:
    """`polynomials.VectorOps` over vectors of `width` lanes of one function."""

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

    # --- the protocol ---

    def add(self, a: Value, b: Value) -> Value:
        """f32 a + b."""
        return self.floats("fadd", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        """f32 a - b."""
        return self.floats("fsub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """f32 a * b."""
        return self.floats("fmul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        """f32 a / b."""
        return self.floats("fdiv", a, b)

    def minimum(self, a: Value, b: Value) -> Value:
        """f32; NaN if either is; -0 below +0."""
        return self.floats("@llvm.minimum", a, b)

    def maximum(self, a: Value, b: Value) -> Value:
        """f32; NaN if either is; +0 above -0."""
        return self.floats("@llvm.maximum", a, b)

    def nearest(self, a: Value) -> Value:
        """To an integral f32, ties to even."""
        if self.profile.rounds:
            return self.floats("@llvm.roundeven", a)
        # |a| + 2^23 is rounded to an integer by the addition itself; the sign comes back for -0 and what became it
        magnitude, big = self.floats("@llvm.fabs", a), self.constant(TWO_23_BITS)
        whole = self.floats("@llvm.copysign", self.sub(self.add(magnitude, big), big), a)
        return self.select(self.less(magnitude, big), whole, a)

    def floor(self, a: Value) -> Value:
        """To the next integral f32 that is not greater."""
        if self.profile.rounds:
            return self.floats("@llvm.floor", a)
        whole = self.nearest(a)
        lower = self.sub(whole, self.constant(polynomials.ONE))
        return self.select(self.less(a, whole), lower, whole)

    def less(self, a: Value, b: Value) -> Value:
        """f32 a < b."""
        return self.compare("fcmp olt", a, b)

    def equal(self, a: Value, b: Value) -> Value:
        """f32 a == b."""
        return self.compare("fcmp oeq", a, b)

    def select(self, mask: Value, yes: Value, no: Value) -> Value:
        """Lanes of `yes` where the mask holds, else of `no`."""
        kind = INT if INT in (yes.kind, no.kind) and yes.kind == no.kind else FLOAT
        vector, name = (self.int, self.as_int) if kind == INT else (self.float, self.as_float)
        operands = f"{vector} {name(yes)}, {vector} {name(no)}"
        return Value(self.f.value(f"select {self.mask} {mask.text}, {operands}"), kind)

    def truncate(self, a: Value) -> Value:
        """f32 -> i32 toward zero, saturating; NaN gives 0."""
        name = f"@llvm.fptosi.sat.v{self.width}i32.v{self.width}f32"
        return Value(self.f.value(f"call {self.int} {name}({self.float} {self.as_float(a)})"), INT)

    def convert(self, a: Value) -> Value:
        """i32 -> f32, to nearest even."""
        return Value(self.f.value(f"sitofp {self.int} {self.as_int(a)} to {self.float}"), FLOAT)

    def int_add(self, a: Value, b: Value) -> Value:
        """Wrapping a + b."""
        return self.ints("add", a, b)

    def int_sub(self, a: Value, b: Value) -> Value:
        """Wrapping a - b."""
        return self.ints("sub", a, b)

    def bit_and(self, a: Value, b: Value) -> Value:
        """Bitwise and."""
        return self.ints("and", a, b)

    def bit_or(self, a: Value, b: Value) -> Value:
        """Bitwise or."""
        return self.ints("or", a, b)

    def shift_left(self, a: Value, count: int) -> Value:
        """Logical."""
        return self.ints("shl", a, self.constant(count))

    def shift_right(self, a: Value, count: int) -> Value:
        """Arithmetic."""
        return self.ints("ashr", a, self.constant(count))


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


_POLYNOMIALS = {
    Op.EXP: polynomials.exp,
    Op.LOG: polynomials.log,
    Op.TANH: polynomials.tanh,
    Op.SIGMOID: polynomials.sigmoid,
}
_UNARY = {Op.NEG: "fneg", Op.ABS: "@llvm.fabs", Op.SQRT: "@llvm.sqrt"}
_FLOAT = {
    Op.ADD: "fadd",
    Op.SUB: "fsub",
    Op.MUL: "fmul",
    Op.DIV: "fdiv",
    Op.MIN: "@llvm.minimum",
    Op.MAX: "@llvm.maximum",
}
_INTEGER = {Op.ADD: "add", Op.SUB: "sub", Op.MUL: "mul"}
_FLOAT_COMPARE = {Op.LT: "fcmp olt", Op.LE: "fcmp ole", Op.EQ: "fcmp oeq"}
_INTEGER_COMPARE = {Op.LT: "lt", Op.LE: "le"}


def apply(ops: VectorOps, node: Node, operand_dtype: DType, operands: list[Value]) -> Value:
    """Emit one elementwise operation. `operand_dtype` is that of the first operand."""
    op = node.op
    if op in _POLYNOMIALS:
        return _POLYNOMIALS[op](ops, operands[0])
    if op in _UNARY:
        return ops.floats(_UNARY[op], operands[0])
    if op is Op.FLOOR:
        return ops.floor(operands[0])
    if op is Op.SELECT:
        return ops.select(*operands)
    if op is Op.CONVERT:
        return ops.truncate(operands[0]) if node.dtype is DType.I32 else ops.convert(operands[0])
    if operand_dtype is DType.F32:
        return ops.compare(_FLOAT_COMPARE[op], *operands) if op in _FLOAT_COMPARE else ops.floats(_FLOAT[op], *operands)
    return _apply_integer(ops, op, operand_dtype, operands)


def _apply_integer(ops: VectorOps, op: Op, dtype: DType, operands: list[Value]) -> Value:
    if op in _INTEGER:
        return ops.ints(_INTEGER[op], *operands)
    if op is Op.EQ:
        return ops.compare("icmp eq", *operands)
    sign = "u" if dtype is DType.U32 else "s"
    if op in _INTEGER_COMPARE:
        return ops.compare(f"icmp {sign}{_INTEGER_COMPARE[op]}", *operands)
    invariant(op in (Op.MIN, Op.MAX), f"{op.value} is not elementwise")
    smaller = ops.compare(f"icmp {sign}lt", *operands)
    a, b = operands
    return ops.select(smaller, a, b) if op is Op.MIN else ops.select(smaller, b, a)
