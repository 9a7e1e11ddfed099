"""Operations whose operands have one shape."""

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine import polynomials, powers, trigonometry
from synaptic_mesh.engine.executors.executor import Executor
from synaptic_mesh.engine.executors.numpy_ops import NumpyOps, as_f32, as_i32, as_u32, maximum, minimum, truncate
from synaptic_mesh.engine.geometry import shift_count, threefry_key
from synaptic_mesh.engine.ir import DType, Node, Op
from synaptic_mesh.engine.threefry import threefry2x32
from synaptic_mesh.engine.trace import NUMPY_DTYPES

_OPS = NumpyOps()


def _select(_: Node, condition: Array, yes: Array, no: Array) -> Array:
    return np.where(condition, yes, no)


def _convert(node: Node, a: Array) -> Array:
    return truncate(a) if node.dtype is DType.I32 else a.astype(np.float32)


def _bitcast(node: Node, a: Array) -> Array:
    if a.dtype == np.float32:
        a = np.where(np.equal(a, a), as_u32(a), np.uint32(polynomials.NAN))
    return np.asarray(a).view(NUMPY_DTYPES[node.dtype])


def _shift_left(node: Node, a: Array) -> Array:
    return np.asarray(np.left_shift(a, a.dtype.type(shift_count(node))))


def _shift_right(node: Node, a: Array) -> Array:
    """Arithmetic for i32, logical for u32: numpy's own rule."""
    return np.asarray(np.right_shift(a, a.dtype.type(shift_count(node))))


def _threefry(node: Node, first: Array, second: Array) -> Array:
    return as_u32(threefry2x32(_OPS, threefry_key(node), first, second)[0])


ELEMENTWISE: dict[Op, Executor] = {
    Op.NEG: lambda _, a: as_f32(np.bitwise_xor(as_i32(a), np.int32(-(2**31)))),
    Op.ABS: lambda _, a: as_f32(np.bitwise_and(as_i32(a), np.int32(2**31 - 1))),
    Op.SQRT: lambda _, a: np.sqrt(a),
    Op.FLOOR: lambda _, a: np.floor(a),
    Op.ROUND: lambda _, a: np.rint(a),
    Op.EXP: lambda _, a: polynomials.exp(_OPS, a),
    Op.LOG: lambda _, a: polynomials.log(_OPS, a),
    Op.TANH: lambda _, a: as_f32(polynomials.tanh(_OPS, a)),
    Op.SIGMOID: lambda _, a: polynomials.sigmoid(_OPS, a),
    Op.ERF: lambda _, a: as_f32(trigonometry.erf(_OPS, a)),
    Op.SIN: lambda _, a: as_f32(trigonometry.sin(_OPS, a)),
    Op.COS: lambda _, a: as_f32(trigonometry.cos(_OPS, a)),
    Op.POW: lambda _, a, b: powers.pow(_OPS, a, b),
    Op.DIV: lambda _, a, b: np.divide(a, b),
    Op.ADD: lambda _, a, b: np.add(a, b),
    Op.SUB: lambda _, a, b: np.subtract(a, b),
    Op.MUL: lambda _, a, b: np.multiply(a, b),
    Op.MIN: lambda _, a, b: minimum(a, b),
    Op.MAX: lambda _, a, b: maximum(a, b),
    Op.LT: lambda _, a, b: np.less(a, b),
    Op.LE: lambda _, a, b: np.less_equal(a, b),
    Op.EQ: lambda _, a, b: np.equal(a, b),
    Op.SELECT: _select,
    Op.CONVERT: _convert,
    Op.BITCAST: _bitcast,
    Op.AND: lambda _, a, b: np.bitwise_and(a, b),
    Op.OR: lambda _, a, b: np.bitwise_or(a, b),
    Op.XOR: lambda _, a, b: np.bitwise_xor(a, b),
    Op.SHIFT_LEFT: _shift_left,
    Op.SHIFT_RIGHT: _shift_right,
    Op.THREEFRY: _threefry,
}
