"""Operations on the lanes of a vector: the names every renderer knows, and which of them each elementwise primitive is.

`Vectors` is `polynomials.VectorOps` over these names, so the polynomials are built by the same calls.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.engine import polynomials, powers, trigonometry
from synaptic_mesh.engine.geometry import shift_count, threefry_key
from synaptic_mesh.engine.ir import DType, Node, Op
from synaptic_mesh.engine.threefry import threefry2x32

H = TypeVar("H")

F32_UNARY = ("f32.neg", "f32.abs", "f32.sqrt", "f32.floor", "f32.nearest")
F32_BINARY = ("f32.add", "f32.sub", "f32.mul", "f32.div", "f32.min", "f32.max")
F32_COMPARE = ("f32.lt", "f32.le", "f32.eq")
I32_BINARY = ("i32.add", "i32.sub", "i32.mul", "i32.min_s", "i32.max_s", "i32.min_u", "i32.max_u")
I32_COMPARE = ("i32.eq", "i32.lt_s", "i32.le_s", "i32.lt_u", "i32.le_u")
BITS = ("and", "or", "xor")
SHIFTS = ("shl", "shr_s", "shr_u")


class Vectors(ABC, Generic[H]):
    """`polynomials.VectorOps` and what elementwise primitives need beside it."""

    @abstractmethod
    def constant(self, bits: int) -> H:
        """Every lane has this u32 pattern."""

    @abstractmethod
    def op(self, name: str, *operands: H) -> H:
        """The operation `name` of the tables above, "select", "truncate" or "convert", lane by lane."""

    @abstractmethod
    def shift(self, name: str, a: H, count: int) -> H:
        """A shift by a constant 0..31."""

    def add(self, a: H, b: H) -> H:
        """f32 a + b."""
        return self.op("f32.add", a, b)

    def sub(self, a: H, b: H) -> H:
        """f32 a - b."""
        return self.op("f32.sub", a, b)

    def mul(self, a: H, b: H) -> H:
        """f32 a * b."""
        return self.op("f32.mul", a, b)

    def div(self, a: H, b: H) -> H:
        """f32 a / b."""
        return self.op("f32.div", a, b)

    def minimum(self, a: H, b: H) -> H:
        """f32; NaN if either is; -0 below +0."""
        return self.op("f32.min", a, b)

    def maximum(self, a: H, b: H) -> H:
        """f32; NaN if either is; +0 above -0."""
        return self.op("f32.max", a, b)

    def nearest(self, a: H) -> H:
        """To an integral f32, ties to even."""
        return self.op("f32.nearest", a)

    def floor(self, a: H) -> H:
        """To the next integral f32 that is not greater."""
        return self.op("f32.floor", a)

    def less(self, a: H, b: H) -> H:
        """f32 a < b as a mask."""
        return self.op("f32.lt", a, b)

    def equal(self, a: H, b: H) -> H:
        """f32 a == b as a mask."""
        return self.op("f32.eq", a, b)

    def select(self, mask: H, yes: H, no: H) -> H:
        """Lanes of `yes` where the mask holds, else of `no`."""
        return self.op("select", mask, yes, no)

    def truncate(self, a: H) -> H:
        """f32 -> i32 toward zero, saturating; NaN gives 0."""
        return self.op("truncate", a)

    def convert(self, a: H) -> H:
        """i32 -> f32, to nearest even."""
        return self.op("convert", a)

    def int_add(self, a: H, b: H) -> H:
        """Wrapping a + b."""
        return self.op("i32.add", a, b)

    def int_sub(self, a: H, b: H) -> H:
        """Wrapping a - b."""
        return self.op("i32.sub", a, b)

    def int_mul(self, a: H, b: H) -> H:
        """Wrapping a * b."""
        return self.op("i32.mul", a, b)

    def bit_and(self, a: H, b: H) -> H:
        """Bitwise and."""
        return self.op("and", a, b)

    def bit_or(self, a: H, b: H) -> H:
        """Bitwise or."""
        return self.op("or", a, b)

    def bit_xor(self, a: H, b: H) -> H:
        """Bitwise exclusive or."""
        return self.op("xor", a, b)

    def shift_left(self, a: H, count: int) -> H:
        """Logical."""
        return self.shift("shl", a, count)

    def shift_right(self, a: H, count: int) -> H:
        """Arithmetic."""
        return self.shift("shr_s", a, count)

    def shift_right_logical(self, a: H, count: int) -> H:
        """Zeros come in from the left."""
        return self.shift("shr_u", a, count)


def is_plain_bound(bits: int) -> bool:
    """True for a pattern that is no zero and no NaN: against it, `a > b ? a : b` is the maximum for every number, and
    gives the NaN when it takes the other operand in doubt."""
    magnitude = bits & 0x7FFFFFFF
    return 0 < magnitude <= polynomials.INFINITY


POLYNOMIALS: dict[Op, Callable[..., Any]] = {
    Op.EXP: polynomials.exp,
    Op.LOG: polynomials.log,
    Op.TANH: polynomials.tanh,
    Op.SIGMOID: polynomials.sigmoid,
    Op.ERF: trigonometry.erf,
    Op.SIN: trigonometry.sin,
    Op.COS: trigonometry.cos,
    Op.POW: powers.pow,
}
_FLOAT = {
    Op.NEG: "f32.neg",
    Op.ABS: "f32.abs",
    Op.SQRT: "f32.sqrt",
    Op.FLOOR: "f32.floor",
    Op.ROUND: "f32.nearest",
    Op.ADD: "f32.add",
    Op.SUB: "f32.sub",
    Op.MUL: "f32.mul",
    Op.DIV: "f32.div",
    Op.MIN: "f32.min",
    Op.MAX: "f32.max",
    Op.LT: "f32.lt",
    Op.LE: "f32.le",
    Op.EQ: "f32.eq",
}
_INTEGER = {
    Op.ADD: "i32.add",
    Op.SUB: "i32.sub",
    Op.MUL: "i32.mul",
    Op.EQ: "i32.eq",
    Op.AND: "and",
    Op.OR: "or",
    Op.XOR: "xor",
}
_ORDERED = {Op.MIN: "i32.min", Op.MAX: "i32.max", Op.LT: "i32.lt", Op.LE: "i32.le"}


def apply(ops: Vectors[H], node: Node, operand_dtype: DType, operands: list[H]) -> H:
    """Build one elementwise primitive. `operand_dtype` is that of the first operand."""
    op = node.op
    if op in POLYNOMIALS:
        value: H = POLYNOMIALS[op](ops, *operands)
        return value
    if operand_dtype is DType.F32 and op in _FLOAT:
        return ops.op(_FLOAT[op], *operands)
    if op in _INTEGER:
        return ops.op(_INTEGER[op], *operands)
    if op in _ORDERED:
        return ops.op(_ORDERED[op] + ("_u" if operand_dtype is DType.U32 else "_s"), *operands)
    return _apply_other(ops, node, operand_dtype, operands)


def _apply_other(ops: Vectors[H], node: Node, operand_dtype: DType, operands: list[H]) -> H:
    match node.op:
        case Op.SELECT:
            return ops.select(*operands)
        case Op.CONVERT:
            return ops.truncate(operands[0]) if node.dtype is DType.I32 else ops.convert(operands[0])
        case Op.BITCAST if operand_dtype is DType.F32:
            x = operands[0]
            return ops.select(ops.equal(x, x), x, ops.constant(polynomials.NAN))  # a payload is nobody's business
        case Op.BITCAST:
            return operands[0]
        case Op.SHIFT_LEFT:
            return ops.shift_left(operands[0], shift_count(node))
        case Op.SHIFT_RIGHT:
            return ops.shift("shr_u" if operand_dtype is DType.U32 else "shr_s", operands[0], shift_count(node))
        case _:
            invariant(node.op is Op.THREEFRY, f"{node.op.value} is not elementwise")
            return threefry2x32(ops, threefry_key(node), operands[0], operands[1])[0]
