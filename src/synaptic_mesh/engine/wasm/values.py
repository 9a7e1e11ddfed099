"""Four 32-bit lanes as a value: what polynomials and fused elementwise chains are written against.

Each operation emits its instructions and leaves the result in a fresh local. Compilers of WebAssembly turn locals
back into plain values, so this costs nothing, and a value may be used any number of times.
"""

from synaptic_mesh.base.errors import invariant
from synaptic_mesh.engine import polynomials
from synaptic_mesh.engine.ir import DType, Node, Op
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.opcodes import ValueType

V128 = ValueType.V128


class LocalOps:
    """`polynomials.VectorOps` over v128 locals of one function."""

    def __init__(self, f: Function) -> None:
        self.f = f

    def constant(self, bits: int) -> Local:
        """Four lanes of one u32 pattern."""
        self.f.splat_bits(bits)
        return self.f.keep(V128)

    def unary(self, name: str, a: Local) -> Local:
        """The v128 instruction `name` of one operand."""
        self.f.get(a)
        self.f.emit(name)
        return self.f.keep(V128)

    def binary(self, name: str, a: Local, b: Local) -> Local:
        """The v128 instruction `name` of two operands."""
        self.f.get(a)
        self.f.get(b)
        self.f.emit(name)
        return self.f.keep(V128)

    def add(self, a: Local, b: Local) -> Local:
        """f32 a + b."""
        return self.binary("f32x4.add", a, b)

    def sub(self, a: Local, b: Local) -> Local:
        """f32 a - b."""
        return self.binary("f32x4.sub", a, b)

    def mul(self, a: Local, b: Local) -> Local:
        """f32 a * b."""
        return self.binary("f32x4.mul", a, b)

    def div(self, a: Local, b: Local) -> Local:
        """f32 a / b."""
        return self.binary("f32x4.div", a, b)

    def minimum(self, a: Local, b: Local) -> Local:
        """f32; NaN if either is; -0 below +0."""
        return self.binary("f32x4.min", a, b)

    def maximum(self, a: Local, b: Local) -> Local:
        """f32; NaN if either is; +0 above -0."""
        return self.binary("f32x4.max", a, b)

    def nearest(self, a: Local) -> Local:
        """To an integral f32, ties to even."""
        return self.unary("f32x4.nearest", a)

    def less(self, a: Local, b: Local) -> Local:
        """f32 a < b."""
        return self.binary("f32x4.lt", a, b)

    def equal(self, a: Local, b: Local) -> Local:
        """f32 a == b."""
        return self.binary("f32x4.eq", a, b)

    def select(self, mask: Local, yes: Local, no: Local) -> Local:
        """Lanes of `yes` where the mask is all ones, else of `no`."""
        for value in (yes, no, mask):
            self.f.get(value)
        self.f.emit("v128.bitselect")
        return self.f.keep(V128)

    def truncate(self, a: Local) -> Local:
        """f32 -> i32 toward zero, saturating; NaN gives 0."""
        return self.unary("i32x4.trunc_sat_f32x4_s", a)

    def convert(self, a: Local) -> Local:
        """i32 -> f32, to nearest even."""
        return self.unary("f32x4.convert_i32x4_s", a)

    def int_add(self, a: Local, b: Local) -> Local:
        """Wrapping a + b."""
        return self.binary("i32x4.add", a, b)

    def int_sub(self, a: Local, b: Local) -> Local:
        """Wrapping a - b."""
        return self.binary("i32x4.sub", a, b)

    def bit_and(self, a: Local, b: Local) -> Local:
        """Bitwise and."""
        return self.binary("v128.and", a, b)

    def bit_or(self, a: Local, b: Local) -> Local:
        """Bitwise or."""
        return self.binary("v128.or", a, b)

    def shift_left(self, a: Local, count: int) -> Local:
        """Logical."""
        return self._shift("i32x4.shl", a, count)

    def shift_right(self, a: Local, count: int) -> Local:
        """Arithmetic."""
        return self._shift("i32x4.shr_s", a, count)

    def _shift(self, name: str, a: Local, count: int) -> Local:
        self.f.get(a)
        self.f.i32(count)
        self.f.emit(name)
        return self.f.keep(V128)


_POLYNOMIALS = {
    Op.EXP: polynomials.exp,
    Op.LOG: polynomials.log,
    Op.TANH: polynomials.tanh,
    Op.SIGMOID: polynomials.sigmoid,
}
_UNARY = {Op.NEG: "f32x4.neg", Op.ABS: "f32x4.abs", Op.SQRT: "f32x4.sqrt", Op.FLOOR: "f32x4.floor"}
_FLOAT = {
    Op.ADD: "f32x4.add",
    Op.SUB: "f32x4.sub",
    Op.MUL: "f32x4.mul",
    Op.DIV: "f32x4.div",
    Op.MIN: "f32x4.min",
    Op.MAX: "f32x4.max",
    Op.LT: "f32x4.lt",
    Op.LE: "f32x4.le",
    Op.EQ: "f32x4.eq",
}
_INTEGER = {Op.ADD: "i32x4.add", Op.SUB: "i32x4.sub", Op.MUL: "i32x4.mul", Op.EQ: "i32x4.eq"}
_ORDERED = {Op.MIN: "i32x4.min", Op.MAX: "i32x4.max", Op.LT: "i32x4.lt", Op.LE: "i32x4.le"}


def apply(ops: LocalOps, node: Node, operand_dtype: DType, operands: list[Local]) -> Local:
    """Emit one elementwise operation. `operand_dtype` is that of the first operand."""
    op = node.op
    if op in _POLYNOMIALS:
        return _POLYNOMIALS[op](ops, operands[0])
    if op in _UNARY:
        return ops.unary(_UNARY[op], operands[0])
    if op is Op.SELECT:
        return ops.select(*operands)
    if op is Op.CONVERT:
        return ops.truncate(operands[0]) if node.dtype is DType.I32 else ops.convert(operands[0])
    if operand_dtype is DType.F32 and op in _FLOAT:
        return ops.binary(_FLOAT[op], *operands)
    if op in _INTEGER:
        return ops.binary(_INTEGER[op], *operands)
    invariant(op in _ORDERED, f"{op.value} is not elementwise")
    return ops.binary(_ORDERED[op] + ("_u" if operand_dtype is DType.U32 else "_s"), *operands)
