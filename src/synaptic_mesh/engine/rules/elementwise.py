"""Laws of operations whose operands have one shape."""

from collections.abc import Sequence

from synaptic_mesh.engine.geometry import shift_count
from synaptic_mesh.engine.ir import DType, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import FLOAT, INTEGER, NUMERIC, WORD, Rule, need, need_equal

KEY_BYTES = 8
"""Of THREEFRY: two little-endian u32."""


def _unary(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    return operands[0].shape, operands[0].dtype


def _binary(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    need_equal(operands[0], operands[1])
    return operands[0].shape, operands[0].dtype


def _compare(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    need_equal(operands[0], operands[1])
    return operands[0].shape, DType.BOOL


def _select(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    condition, yes, no = operands
    need_equal(yes, no)
    need(condition.shape == yes.shape, f"condition shape {condition.shape} differs from {yes.shape}")
    need(yes.dtype in NUMERIC, "select chooses numbers, not bool")
    return yes.shape, yes.dtype


def _convert(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    pair = (operands[0].dtype, node.dtype)
    need(pair in ((DType.F32, DType.I32), (DType.I32, DType.F32)), f"no conversion {pair[0].value} -> {pair[1].value}")
    return operands[0].shape, node.dtype


def _bitcast(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    pair = (operands[0].dtype, node.dtype)
    need(node.dtype in NUMERIC and pair[0] is not pair[1], f"no bitcast {pair[0].value} -> {pair[1].value}")
    return operands[0].shape, node.dtype


def _shift(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    need(len(node.attributes.axes) == 1, f"axes {node.attributes.axes} are not one count")
    need(0 <= shift_count(node) <= 31, f"count {shift_count(node)} is outside 0..31")
    return operands[0].shape, operands[0].dtype


def _threefry(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    need(len(node.attributes.bits) == KEY_BYTES, f"a key has {KEY_BYTES} bytes, not {len(node.attributes.bits)}")
    return _binary(node, operands)


_FLOAT_UNARY = (
    *(Op.NEG, Op.ABS, Op.SQRT, Op.FLOOR, Op.ROUND, Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID, Op.ERF, Op.SIN, Op.COS),
)

ELEMENTWISE: dict[Op, Rule] = {
    **{op: Rule(1, FLOAT, _unary, elementwise=True) for op in _FLOAT_UNARY},
    **{op: Rule(2, FLOAT, _binary, elementwise=True) for op in (Op.DIV, Op.POW)},
    **{op: Rule(2, NUMERIC, _binary, elementwise=True) for op in (Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX)},
    **{op: Rule(2, NUMERIC, _compare, elementwise=True) for op in (Op.LT, Op.LE, Op.EQ)},
    **{op: Rule(2, INTEGER, _binary, elementwise=True) for op in (Op.AND, Op.OR, Op.XOR)},
    **{op: Rule(1, INTEGER, _shift, ("axes",), elementwise=True) for op in (Op.SHIFT_LEFT, Op.SHIFT_RIGHT)},
    Op.SELECT: Rule(3, (DType.BOOL,), _select, elementwise=True),
    Op.CONVERT: Rule(1, (DType.F32, DType.I32), _convert, elementwise=True),
    Op.BITCAST: Rule(1, NUMERIC, _bitcast, elementwise=True),
    Op.THREEFRY: Rule(2, WORD, _threefry, ("bits",), elementwise=True),
}
