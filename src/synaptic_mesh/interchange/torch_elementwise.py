"""Operators of torch that work element by element."""

import math
from collections.abc import Callable
from typing import Any

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions import activations, elementwise
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, exp, floor, log, maximum, minimum, sigmoid, sqrt, tanh, where
from synaptic_mesh.interchange.arcs import arc_cosine, arc_sine, arc_tangent, arc_tangent_of
from synaptic_mesh.interchange.onnx_values import truth
from synaptic_mesh.interchange.torch_call import (
    BOOL,
    Handler,
    TorchCall,
    as_tensor,
    choose,
    engine_kind,
    is_nonzero,
    one,
    two,
)

LOG_2 = math.log(2.0)


def _compare(function: Callable[[Any, Any], Tensor]) -> Handler:
    def build(call: TorchCall) -> Tensor:
        a, b = call.tensor(0), call.get(1)
        is_float = a.dtype is DType.F32 or (b.dtype is DType.F32 if isinstance(b, Tensor) else b != int(b))
        dtype = DType.F32 if is_float else DType.I32
        return truth(function(a.convert(dtype), as_tensor(call, b, dtype)))

    return build


def _logic(function: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    return lambda call: function(is_nonzero(call.tensor(0)), is_nonzero(call.tensor(1)))


def _bits(function: Callable[[Tensor, Any], Tensor]) -> Handler:
    return lambda call: function(call.tensor(0), call.get(1))


def _invert(call: TorchCall) -> Tensor:
    return call.tensor() ^ (1 if call.kind == BOOL else -1)


def _where(call: TorchCall) -> Tensor:
    dtype = engine_kind(call.kind)
    return choose(call.tensor(0), as_tensor(call, call.get(1), dtype), as_tensor(call, call.get(2), dtype))


def _masked(call: TorchCall) -> Tensor:
    x = call.tensor()
    return choose(call.tensor(1), as_tensor(call, call.get(2), x.dtype), x)


def _divide(call: TorchCall) -> Tensor:
    mode = call.keywords.get("rounding_mode")
    if mode is not None and engine_kind(call.kind) is not DType.F32:
        raise LocalError("a rounded quotient of integers is not computed")
    quotient = as_tensor(call, call.get(0), DType.F32) / as_tensor(call, call.get(1), DType.F32)
    return quotient if mode is None else floor(quotient) if mode == "floor" else elementwise.truncate(quotient)


def _floor_divide(call: TorchCall) -> Tensor:
    if isinstance(call.get(0), int) and isinstance(call.get(1), int):
        whole: Any = call.get(0) // call.get(1)
        return whole  # type: ignore[no-any-return]
    if engine_kind(call.kind) is not DType.F32:
        raise LocalError("a rounded quotient of integers is not computed")
    return floor(as_tensor(call, call.get(0), DType.F32) / call.promoted(call.get(1)))


def _remainder(call: TorchCall) -> Tensor:
    if engine_kind(call.kind) is not DType.F32:
        raise LocalError("a remainder of integers is not computed")
    return elementwise.remainder(call.floats(), call.promoted(call.get(1)))


def _power(call: TorchCall) -> Tensor:
    base, exponent = call.get(0), call.get(1)
    if engine_kind(call.kind) is not DType.F32:
        if not isinstance(base, Tensor) or not isinstance(exponent, int) or not 1 <= exponent <= 3:
            raise LocalError("powers of integers over 3 are not computed")
        total: Tensor = base
        for _ in range(exponent - 1):
            total = total * base
        return total
    found: Tensor = call.promoted(base) ** call.promoted(exponent)
    return found


def _clamp(call: TorchCall) -> Tensor:
    return _between(call, call.get(1, None, "min"), call.get(2, None, "max"))


def _between(call: TorchCall, low: Any, high: Any) -> Tensor:
    x = call.promoted(call.tensor())
    bounds = [value.convert(x.dtype) if isinstance(value, Tensor) else value for value in (low, high)]
    return elementwise.clip(x, *bounds)


def _gelu(call: TorchCall) -> Tensor:
    is_tanh = call.keywords.get("approximate", call.get(1, "none")) == "tanh"
    return activations.gelu_tanh(call.tensor()) if is_tanh else activations.gelu(call.tensor())


def _softplus(call: TorchCall) -> Tensor:
    """log(1 + e^(beta x)) / beta, and x itself where beta x is over the threshold."""
    x, beta, most = call.tensor(), call.get(1, 1.0, "beta"), call.get(2, 20.0, "threshold")
    scaled = x if beta == 1 else x * float(beta)
    soft = activations.softplus(scaled)
    return where(scaled > float(most), x, soft if beta == 1 else soft / float(beta))


def _elu(call: TorchCall) -> Tensor:
    if call.get(2, 1, "scale") != 1 or call.get(3, 1, "input_scale") != 1:
        raise LocalError("elu with scale or input_scale is not computed")
    return activations.elu(call.tensor(), call.get(1, 1.0, "alpha"))


def _prelu(call: TorchCall) -> Tensor:
    x, slope = call.tensor(), call.tensor(1)
    return activations.prelu(x, slope.reshape(1, slope.shape[0], *(1,) * (len(x.shape) - 2)))


def _shrink(is_soft: bool) -> Handler:
    def build(call: TorchCall) -> Tensor:
        x, limit = call.tensor(), float(call.get(1, 0.5, "lambd"))
        moved = limit if is_soft else 0.0
        return where(x > limit, x - moved, where(x < -limit, x + moved, 0.0))

    return build


def _threshold(call: TorchCall) -> Tensor:
    x = call.tensor()
    return where(x > float(call.get(1)), x, float(call.get(2)))


def _randomized_leak(call: TorchCall) -> Tensor:
    if call.get(3, False, "training"):
        raise LocalError("rrelu that draws while predicting is not computed")
    return activations.leaky_relu(call.tensor(), (call.get(1, 0.125, "lower") + call.get(2, 1 / 3, "upper")) / 2)


def _round(call: TorchCall) -> Tensor:
    if call.keywords.get("decimals", 0):
        raise LocalError("rounding to decimals is not computed")
    return elementwise.round_even(call.tensor())


def _sum_of(sign: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    def build(call: TorchCall) -> Tensor:
        product = combine(call.tensor(1), call.tensor(2)) * float(call.keywords.get("value", 1))
        return call.tensor() + product * float(sign)

    return build


def _lerp(call: TorchCall) -> Tensor:
    start, end, weight = call.tensor(0), call.tensor(1), call.get(2)
    moved: Tensor = start + (end - start) * weight
    return moved


def cast(call: TorchCall) -> Tensor:
    """Convert to the type that torch states for the result: integers toward zero, bools by being nonzero."""
    x = call.tensor()
    return is_nonzero(x) if call.kind == BOOL else x.convert(engine_kind(call.kind))


def _whole_or(function: Callable[[Tensor], Tensor]) -> Handler:
    """Rounding leaves integers as they are."""
    return lambda call: call.tensor() if call.tensor().dtype is DType.I32 else function(call.tensor())


def _absolute(call: TorchCall) -> Tensor:
    x = call.tensor()
    return abs(x) if x.dtype is DType.F32 else where(x < 0, 0 - x, x)


def _sign(call: TorchCall) -> Tensor:
    x = call.tensor()
    if x.dtype is DType.F32:
        return elementwise.sign(x)
    return truth(x > 0) - truth(x < 0)


ELEMENTWISE: dict[str, Handler] = {
    "relu.default": one(relu),
    "leaky_relu.default": lambda call: activations.leaky_relu(call.tensor(), call.get(1, 0.01, "negative_slope")),
    "elu.default": _elu,
    "celu.default": lambda call: activations.celu(call.tensor(), call.get(1, 1.0, "alpha")),
    "selu.default": one(activations.selu),
    "relu6.default": one(activations.relu6),
    "glu.default": lambda call: activations.glu(call.tensor(), call.get(1, -1, "dim")),
    "prelu.default": _prelu,
    "rrelu.default": _randomized_leak,
    "hardsigmoid.default": one(activations.hard_sigmoid),
    "log_sigmoid.default": one(lambda x: -activations.softplus(-x)),
    "gelu.default": _gelu,
    "silu.default": one(activations.silu),
    "mish.default": one(activations.mish),
    "hardswish.default": one(activations.hard_swish),
    "hardtanh.default": lambda call: _between(call, call.get(1, -1.0, "min_val"), call.get(2, 1.0, "max_val")),
    "softplus.default": _softplus,
    "softshrink.default": _shrink(True),
    "hardshrink.default": _shrink(False),
    "threshold.default": _threshold,
    "tanh.default": one(tanh),
    "sigmoid.default": one(sigmoid),
    "exp.default": one(exp),
    "exp2.default": one(lambda x: exp(x * LOG_2)),
    "expm1.default": one(lambda x: exp(x) - 1.0),
    "log.default": one(log),
    "log2.default": one(lambda x: log(x) / LOG_2),
    "log10.default": one(lambda x: log(x) / math.log(10.0)),
    "log1p.default": one(lambda x: log(x + 1.0)),
    "sqrt.default": one(sqrt),
    "rsqrt.default": one(elementwise.reciprocal_sqrt),
    "reciprocal.default": one(lambda x: 1.0 / x),
    "square.default": lambda call: call.tensor() * call.tensor(),
    "abs.default": _absolute,
    "neg.default": lambda call: 0 - call.tensor() if call.tensor().dtype is DType.I32 else -call.tensor(),
    "sign.default": _sign,
    "floor.default": _whole_or(floor),
    "ceil.default": _whole_or(elementwise.ceil),
    "trunc.default": _whole_or(elementwise.truncate),
    "round.default": _round,
    "round.decimals": _round,
    "erf.default": one(elementwise.erf),
    "sin.default": one(elementwise.sin),
    "cos.default": one(elementwise.cos),
    "tan.default": one(lambda x: elementwise.sin(x) / elementwise.cos(x)),
    "sinh.default": one(lambda x: (exp(x) - exp(-x)) * 0.5),
    "cosh.default": one(lambda x: (exp(x) + exp(-x)) * 0.5),
    "atan.default": one(arc_tangent),
    "asin.default": one(arc_sine),
    "acos.default": one(arc_cosine),
    "atan2.default": lambda call: arc_tangent_of(call.floats(0), call.floats(1)),
    "add.Tensor": two(lambda a, b: a + b),
    "add.Scalar": two(lambda a, b: a + b),
    "sub.Tensor": two(lambda a, b: a - b),
    "sub.Scalar": two(lambda a, b: a - b),
    "rsub.Scalar": two(lambda a, b: b - a),
    "rsub.Tensor": two(lambda a, b: b - a),
    "mul.Tensor": two(lambda a, b: a * b),
    "mul.Scalar": two(lambda a, b: a * b),
    "div.Tensor": _divide,
    "div.Scalar": _divide,
    "div.Tensor_mode": _divide,
    "div.Scalar_mode": _divide,
    "true_divide.Tensor": _divide,
    "floor_divide.default": _floor_divide,
    "remainder.Scalar": _remainder,
    "remainder.Tensor": _remainder,
    "addcmul.default": _sum_of(1, lambda a, b: a * b),
    "addcdiv.default": _sum_of(1, lambda a, b: a / b),
    "lerp.Scalar": _lerp,
    "lerp.Tensor": _lerp,
    "maximum.default": two(maximum),
    "minimum.default": two(minimum),
    "max.other": two(maximum),
    "min.other": two(minimum),
    "pow.Tensor_Scalar": _power,
    "pow.Tensor_Tensor": _power,
    "pow.Scalar": _power,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "clip.default": _clamp,
    "clamp_min.default": lambda call: _between(call, call.get(1), None),
    "clamp_min.Tensor": lambda call: _between(call, call.get(1), None),
    "clamp_max.default": lambda call: _between(call, None, call.get(1)),
    "clamp_max.Tensor": lambda call: _between(call, None, call.get(1)),
    **{f"eq.{form}": _compare(lambda a, b: a == b) for form in ("Scalar", "Tensor")},
    **{f"ne.{form}": (lambda call: _compare(lambda a, b: a == b)(call) ^ 1) for form in ("Scalar", "Tensor")},
    **{f"lt.{form}": _compare(lambda a, b: a < b) for form in ("Scalar", "Tensor")},
    **{f"le.{form}": _compare(lambda a, b: a <= b) for form in ("Scalar", "Tensor")},
    **{f"gt.{form}": _compare(lambda a, b: a > b) for form in ("Scalar", "Tensor")},
    **{f"ge.{form}": _compare(lambda a, b: a >= b) for form in ("Scalar", "Tensor")},
    "isnan.default": lambda call: truth(call.floats() == call.floats()) ^ 1,
    "isinf.default": lambda call: truth(abs(call.floats()) == math.inf),
    "logical_not.default": lambda call: truth(call.tensor() == 0),
    "logical_and.default": _logic(lambda a, b: a & b),
    "logical_or.default": _logic(lambda a, b: a | b),
    "logical_xor.default": _logic(lambda a, b: a ^ b),
    "bitwise_not.default": _invert,
    **{f"bitwise_and.{form}": _bits(lambda a, b: a & b) for form in ("Scalar", "Tensor")},
    **{f"bitwise_or.{form}": _bits(lambda a, b: a | b) for form in ("Scalar", "Tensor")},
    **{f"bitwise_xor.{form}": _bits(lambda a, b: a ^ b) for form in ("Scalar", "Tensor")},
    "__and__.Tensor": _bits(lambda a, b: a & b),
    "__or__.Tensor": _bits(lambda a, b: a | b),
    "where.self": _where,
    "where.ScalarOther": _where,
    "where.ScalarSelf": _where,
    "where.Scalar": _where,
    "masked_fill.Scalar": _masked,
    "masked_fill.Tensor": _masked,
    "to.dtype": cast,
    "to.dtype_layout": cast,
    "to.device": cast,
    "to.other": cast,
    "_to_copy.default": cast,
    "type_as.default": cast,
    "float.default": cast,
}
