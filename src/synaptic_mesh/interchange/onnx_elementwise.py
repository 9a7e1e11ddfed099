"""ONNX operators that work element by element."""

import math
from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import activations, elementwise
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, exp, floor, log, maximum, minimum, sigmoid, sqrt, tanh, where
from synaptic_mesh.interchange.onnx_values import (
    FLOATS,
    INTEGERS,
    WRAPPED,
    Call,
    Value,
    engine_dtype,
    is_true,
    truth,
    wrapped,
)

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
    """Return a / b of integers toward zero or down. Raises LocalError for those that f32 does not hold exactly."""
    if kind not in WRAPPED:
        raise LocalError(f"division of {kind} tensors is not among the engine's operations")
    quotient = a.convert(DType.F32) / b.convert(DType.F32)
    return (floor(quotient) if is_floor else quotient).convert(DType.I32)


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
        raise LocalError(f"powers of {call.kind()} are not computed; cast to float first")
    if exponent.dtype is not DType.F32:
        exponent = exponent.convert(DType.F32)
    return call.result(base**exponent)


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
        if kind == "float16" and source != "float16":
            raise LocalError("cast to float16 would round; the engine computes in f32")
        return call.result(x if x.dtype is DType.F32 else _signed(x).convert(DType.F32), kind)
    whole = x.convert(DType.I32) if x.dtype is DType.F32 else _signed(x)
    narrow = wrapped(whole, kind)
    return call.result(narrow.bitcast(DType.U32) if kind == "uint32" else narrow, kind)


def _signed(x: Tensor) -> Tensor:
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
    counts = call.static(1)
    x = call.tensor()
    if counts.size and (counts != counts.reshape(-1)[0]).any():
        raise LocalError("shifts by different counts are not computed")
    count = int(counts.reshape(-1)[0]) if counts.size else 0
    is_left = call.get("direction") == "LEFT"
    return call.result((x << count if is_left else x >> count) if count < 32 else x - x)


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
