"""ONNX operators that work element by element."""

import math
from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import activations, elementwise
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, exp, floor, log, maximum, minimum, sigmoid, sqrt, tanh, where
from synaptic_mesh.interchange.arcs import arc_cosine, arc_sine, arc_tangent
from synaptic_mesh.interchange.onnx_values import (
    FLOATS,
    INTEGERS,
    WRAPPED,
    Call,
    Value,
    common_shape,
    engine_dtype,
    is_true,
    truth,
    wrapped,
)
from synaptic_mesh.interchange.rounding import to_brain, to_half

ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {"float16": to_half, "bfloat16": to_brain}
Handler = Callable[[Call], Value | list[Value]]


def _float(function: Callable[[Tensor], Tensor]) -> Handler:
    return lambda call: call.result(function(call.floats()))


def _pair(function: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    return lambda call: call.result(function(call.tensor(0), call.tensor(1)))


def _compare(function: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    return lambda call: call.result(truth(function(call.tensor(0), call.tensor(1))), "bool")


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    def build(call: Call) -> Value:
        total = call.tensor(0)
        for index in range(1, len(call.inputs)):
            total = function(total, call.tensor(index))
        return call.result(total)

    return build


def _mean(call: Call) -> Value:
    total = call.floats(0)
    for index in range(1, len(call.inputs)):
        total = total + call.floats(index)
    return call.result(total / float(len(call.inputs)))


def _abs(call: Call) -> Value:
    x = call.tensor()
    return call.result(abs(x) if x.dtype is DType.F32 else where(x < 0, 0 - x, x))


def _neg(call: Call) -> Value:
    x = call.tensor()
    return call.result(-x if x.dtype is DType.F32 else 0 - x)


def _sign(call: Call) -> Value:
    x = call.tensor()
    if x.dtype is DType.F32:
        return call.result(elementwise.sign(x))
    return call.result(where(x > 0, 1, where(x < 0, x.builder.constant(-1, x.shape, x.dtype), 0)))


def _divide(call: Call) -> Value:
    a, b = call.tensor(0), call.tensor(1)
    return call.result(a / b if a.dtype is DType.F32 else integer_quotient(call.kind(), a, b, is_floor=False))


def integer_quotient(kind: str, a: Tensor, b: Tensor, *, is_floor: bool) -> Tensor:
    """Return a / b of integers toward zero or down, exactly. Raises LocalError for uint32.

    f32 holds narrow integers. A quotient of wide ones is off by its last bits: dividing the remainder as well brings
    it within one, and the sign and size of what is left then say which way to step.
    """
    if kind == "uint32":
        raise LocalError("division of uint32 tensors is not computed")
    if kind in WRAPPED:
        quotient = a.convert(DType.F32) / b.convert(DType.F32)
        return (floor(quotient) if is_floor else quotient).convert(DType.I32)
    shape = common_shape(a, b)
    a, b = a.broadcast_to(shape), b.broadcast_to(shape)
    found = _rough_quotient(a, b)
    found = found + _rough_quotient(a - found * b, b)
    rest = a - found * b
    way = where(truth(rest < 0) == truth(b < 0), 1, a.builder.constant(-1, shape, DType.I32))
    found = where(_magnitude(rest) >= _magnitude(b), found + way, found)  # |rest| is below |b| from here
    rest = a - found * b
    wrong = where(rest == 0, 0, truth(rest < 0) ^ truth((b if is_floor else a) < 0))
    way = where(truth(rest < 0) == truth(b < 0), 1, a.builder.constant(-1, shape, DType.I32))
    return where(wrong == 1, found + way, found)


def _rough_quotient(a: Tensor, b: Tensor) -> Tensor:
    return (a.convert(DType.F32) / b.convert(DType.F32)).convert(DType.I32)


def _magnitude(x: Tensor) -> Tensor:
    return where(x < 0, 0 - x, x)


def _modulo(call: Call) -> Value:
    a, b = call.tensor(0), call.tensor(1)
    is_c = bool(call.get("fmod", 0))
    if a.dtype is DType.F32:
        quotient = elementwise.truncate(a / b) if is_c else floor(a / b)
        far = where(a * elementwise.sign(b) < 0.0, 0.0 if is_c else 1.0, 0.0) * b.broadcast_to(_widest(a, b))
        beyond = abs(b).broadcast_to(far.shape) == math.inf  # the remainder of a by infinity is a, or b across zero
        across = where(far == far, where(far == 0.0, a.broadcast_to(far.shape), far), a.broadcast_to(far.shape))
        return call.result(where(beyond, across, a - quotient * b))
    return call.result(a - integer_quotient(call.kind(), a, b, is_floor=not is_c) * b)


def _power(call: Call) -> Value:
    base, exponent = call.tensor(0), call.tensor(1)
    if base.dtype is not DType.F32:
        if exponent.dtype is DType.F32:
            raise LocalError(f"powers of {call.kind()} by {call.kind(1)} are not computed; cast to float first")
        return call.result(_integer_power(base, exponent))
    if exponent.dtype is not DType.F32:
        exponent = signed(exponent).convert(DType.F32)
    return call.result(base**exponent)


def _integer_power(base: Tensor, exponent: Tensor) -> Tensor:
    """Square and multiply by the bits of the exponent, which wraps as products do; powers below 0 are 0."""
    shape = common_shape(base, exponent)
    base, exponent = base.broadcast_to(shape), exponent.broadcast_to(shape)
    total = base.builder.constant(1, shape, base.dtype)
    for bit in range(6):  # 2^63 is the widest that an integer holds
        total = where((exponent >> bit) & 1 == 1, total * base, total)
        base = base * base
    return where(exponent < 0, 0, total)


def _clip(call: Call) -> Value:
    x = call.tensor()
    if call.has(1):
        x = maximum(x, call.tensor(1))
    return call.result(minimum(x, call.tensor(2)) if call.has(2) else x)


def _where(call: Call) -> Value:
    condition, yes, no = call.tensor(0), call.tensor(1), call.tensor(2)
    shape = _widest(condition, yes, no)
    wide = [t.broadcast_to(shape) for t in (condition, yes, no)]
    return call.result(where(is_true(wide[0]), wide[1], wide[2]), call.kind(1))


def _widest(*tensors: Tensor) -> tuple[int, ...]:
    rank = max(len(t.shape) for t in tensors)
    shapes = [(1,) * (rank - len(t.shape)) + t.shape for t in tensors]
    return tuple(next((extent for extent in extents if extent != 1), 1) for extents in zip(*shapes, strict=True))


def _cast_to(call: Call, kind: str) -> Value:
    value = call.value(0)
    source = value.kind
    if kind not in (*FLOATS, *INTEGERS, "bool"):
        raise LocalError(f"cast to {kind} is not among the engine's types")
    if source == kind:
        return value
    x = call.tensor()
    if kind == "bool":
        return call.result(truth(x == 0) ^ 1, "bool")
    if engine_dtype(kind) is DType.F32:
        wide = x if x.dtype is DType.F32 else signed(x).convert(DType.F32)
        return call.result(ROUNDINGS[kind](wide) if kind in ROUNDINGS else wide, kind)
    whole = x.convert(DType.I32) if x.dtype is DType.F32 else signed(x)
    narrow = wrapped(whole, kind)
    return call.result(narrow.bitcast(DType.U32) if kind == "uint32" else narrow, kind)


def signed(x: Tensor) -> Tensor:
    """Return u32 bits as i32."""
    return x.bitcast(DType.I32) if x.dtype is DType.U32 else x


def _hard_sigmoid(call: Call) -> Value:
    return call.result(activations.hard_sigmoid(call.floats(), call.get("alpha", 0.2), call.get("beta", 0.5)))


def _gelu(call: Call) -> Value:
    is_tanh = call.get("approximate", "none") == "tanh"
    return call.result(activations.gelu_tanh(call.floats()) if is_tanh else activations.gelu(call.floats()))


def _shrink(call: Call) -> Value:
    x, limit, bias = call.floats(), call.get("lambd", 0.5), call.get("bias", 0.0)
    return call.result(where(x < -limit, x + bias, where(x > limit, x - bias, 0.0)))


def _swish(call: Call) -> Value:
    x = call.floats()
    return call.result(x * sigmoid(x * call.get("alpha", 1.0)))


def _is_infinite(call: Call) -> Value:
    x = call.floats()
    up, down = call.get("detect_positive", 1), call.get("detect_negative", 1)
    found = where(x == math.inf, float(bool(up)), where(x == -math.inf, float(bool(down)), 0.0))
    return call.result(truth(found == 1.0), "bool")


def _bit_cast(call: Call) -> Value:
    kind = call.get("to")
    if not {call.kind(), kind} <= {"float32", "int32", "uint32"}:
        raise LocalError(f"the bits of {call.kind()} as {kind} are not computed; there are float32, int32 and uint32")
    return call.result(call.tensor().bitcast(engine_dtype(kind)), kind)


def _bit_shift(call: Call) -> Value:
    """Shift by the bits of the counts: 1, 2, 4, 8 and 16 places. A count beyond the type shifts all out."""
    x, counts = call.tensor(0), call.tensor(1)
    shape = common_shape(x, counts)
    x, counts = x.broadcast_to(shape), signed(counts).broadcast_to(shape)
    is_left = call.get("direction") == "LEFT"
    places = where(counts < 0, 31, minimum(counts, 31))
    for bit in range(5):
        moved = x << (1 << bit) if is_left else x >> (1 << bit)
        x = where((places >> bit) & 1 == 1, moved, x)
    bits = WRAPPED[call.kind()][0] if call.kind() in WRAPPED else 32
    beyond = truth(counts < 0) | truth(counts >= bits)
    rest = 0 if is_left or x.dtype is DType.U32 else where(x < 0, x.builder.constant(-1, shape, x.dtype), 0)
    return call.result(where(beyond == 1, rest, x))


def _invert(call: Call) -> Value:
    x = call.tensor()
    return call.result(x ^ (0xFFFFFFFF if x.dtype is DType.U32 else -1))


ELEMENTWISE: dict[str, Handler] = {
    "Abs": _abs,
    "Neg": _neg,
    "Sign": _sign,
    "Add": _pair(lambda a, b: a + b),
    "Sub": _pair(lambda a, b: a - b),
    "Mul": _pair(lambda a, b: a * b),
    "Div": _divide,
    "Mod": _modulo,
    "Pow": _power,
    "Max": _many(maximum),
    "Min": _many(minimum),
    "Sum": _many(lambda a, b: a + b),
    "Mean": _mean,
    "Clip": _clip,
    "Where": _where,
    "Exp": _float(exp),
    "Log": _float(log),
    "Sqrt": _float(sqrt),
    "Reciprocal": _float(lambda x: 1.0 / x),
    "Floor": _float(floor),
    "Ceil": _float(elementwise.ceil),
    "Round": _float(elementwise.round_even),
    "Erf": _float(elementwise.erf),
    "Sin": _float(elementwise.sin),
    "Cos": _float(elementwise.cos),
    "Atan": _float(arc_tangent),
    "Asin": _float(arc_sine),
    "Acos": _float(arc_cosine),
    "Tan": _float(lambda x: elementwise.sin(x) / elementwise.cos(x)),
    "Sinh": _float(lambda x: (exp(x) - exp(-x)) * 0.5),
    "Cosh": _float(lambda x: (exp(x) + exp(-x)) * 0.5),
    "Asinh": _float(lambda x: elementwise.sign(x) * log(abs(x) + sqrt(x * x + 1.0))),
    "Acosh": _float(lambda x: log(x + sqrt(x * x - 1.0))),
    "Atanh": _float(lambda x: log((1.0 + x) / (1.0 - x)) * 0.5),
    "Tanh": _float(tanh),
    "Sigmoid": _float(sigmoid),
    "Relu": lambda call: call.result(maximum(call.tensor(), 0)),
    "LeakyRelu": lambda call: call.result(activations.leaky_relu(call.floats(), call.get("alpha", 0.01))),
    "PRelu": lambda call: call.result(activations.prelu(call.floats(), call.floats(1))),
    "Elu": lambda call: call.result(activations.elu(call.floats(), call.get("alpha", 1.0))),
    "Celu": lambda call: call.result(activations.celu(call.floats(), call.get("alpha", 1.0))),
    "Selu": lambda call: call.result(
        activations.elu(call.floats(), call.get("alpha", 1.67326319217681884765625))
        * call.get("gamma", 1.05070102214813232421875)
    ),
    "ThresholdedRelu": lambda call: call.result(activations.threshold_relu(call.floats(), call.get("alpha", 1.0))),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _float(activations.hard_swish),
    "Softplus": _float(activations.softplus),
    "Softsign": _float(activations.softsign),
    "Mish": _float(activations.mish),
    "Gelu": _gelu,
    "Swish": _swish,
    "SwiGLU": lambda call: call.result(
        call.floats(0) * sigmoid(call.floats(0) * call.get("alpha", 1.0)) * call.floats(1)
    ),
    "Shrink": _shrink,
    "Equal": _compare(lambda a, b: a == b),
    "Less": _compare(lambda a, b: a < b),
    "LessOrEqual": _compare(lambda a, b: a <= b),
    "Greater": _compare(lambda a, b: a > b),
    "GreaterOrEqual": _compare(lambda a, b: a >= b),
    "IsNaN": lambda call: call.result(truth(call.floats() == call.floats()) ^ 1, "bool"),
    "IsInf": _is_infinite,
    "And": _pair(lambda a, b: a & b),
    "Or": _pair(lambda a, b: a | b),
    "Xor": _pair(lambda a, b: a ^ b),
    "Not": lambda call: call.result(call.tensor() ^ 1),
    "BitwiseAnd": _pair(lambda a, b: a & b),
    "BitwiseOr": _pair(lambda a, b: a | b),
    "BitwiseXor": _pair(lambda a, b: a ^ b),
    "BitwiseNot": _invert,
    "BitShift": _bit_shift,
    "BitCast": _bit_cast,
    "Cast": lambda call: _cast_to(call, call.get("to")),
    "CastLike": lambda call: _cast_to(call, call.kind(1)),
    "Identity": lambda call: call.value(0),
}
