"""ONNX operators between floats and small integers, as quantised models hold them (the QDQ form)."""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import elementwise
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, maximum, minimum, where
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of
from synaptic_mesh.interchange.onnx_values import WRAPPED, Call, Value, limits


def _quantize(call: Call) -> Value:
    """saturate(round_even(x / scale) + zero point), whose type is the result's."""
    x = call.floats()
    kind = call.kind(2) if call.has(2) else call.get("output_dtype") or "uint8"
    low, high = _bounds(kind)
    scale = _along(call, call.floats(1), x)
    levels = elementwise.round_even(x / scale)
    if call.has(2):
        levels = levels + _along(call, call.tensor(2), x).convert(DType.F32)
    return call.result(minimum(maximum(levels, float(low)), float(high)).convert(DType.I32), kind)


def _dequantize(call: Call) -> Value:
    """(x - zero point) * scale."""
    x = call.tensor()
    if call.kind() not in (*WRAPPED, "int32"):
        raise LocalError(f"{call.kind()} is not dequantized; there are {', '.join((*WRAPPED, 'int32'))}")
    levels = x - _along(call, call.tensor(2), x) if call.has(2) else x
    kind = call.get("output_dtype") or call.kind(1)
    return call.result(levels.convert(DType.F32) * _along(call, call.floats(1), x), kind)


def _quantize_dynamic(call: Call) -> list[Value]:
    """Scale and zero point of uint8 from the range of x, which takes in 0."""
    x = call.floats()
    greatest, least = maximum(x.max(), 0.0), minimum(x.min(), 0.0)
    scale = (greatest - least) / 255.0
    used = where(scale == 0.0, 1.0, scale)
    zero = minimum(maximum(elementwise.round_even((0.0 - least) / used), 0.0), 255.0)
    levels = elementwise.round_even(x / used) + zero
    found = minimum(maximum(levels, 0.0), 255.0).convert(DType.I32)
    return [call.result(found, "uint8"), call.result(scale), call.result(zero.convert(DType.I32), "uint8")]


def _bounds(kind: str) -> tuple[int, int]:
    if kind not in WRAPPED:
        raise LocalError(f"quantization to {kind} is not computed; there are {', '.join(WRAPPED)}")
    return limits(kind)


def _along(call: Call, values: Tensor, x: Tensor) -> Tensor:
    """One number for all, one for each place of the axis, or one for each block of places, in x's shape."""
    if not values.shape or (values.shape == (1,) and len(x.shape) != 1):
        return values.reshape(*(1,) * len(x.shape))
    at = axis_of(call.get("axis", 1), len(x.shape))
    if len(values.shape) == 1:
        return values.reshape(*(values.shape[0] if i == at else 1 for i in range(len(x.shape))))
    block = call.get("block_size", 0)
    wide = values.repeat(at + 1, block).reshape(*values.shape[:at], values.shape[at] * block, *values.shape[at + 1 :])
    return wide[(*(slice(None),) * at, slice(0, x.shape[at]))]


def _product_of_integers(call: Call) -> Value:
    """MatMulInteger: exact as long as the sums stay below 2^24, which the operands' types and extents must show."""
    a, b = (_centred(call, i) for i in (0, 1))
    most = 1
    for i in (0, 1):
        low, high = _bounds(call.kind(i))
        most *= high - low if call.has(i + 2) else max(high, -low)
    if a.shape[-1] * most >= 1 << 24:
        raise LocalError(f"sums of {a.shape[-1]} products of integers are not exact in f32")
    return call.result((a @ b).convert(DType.I32), "int32")


def _centred(call: Call, index: int) -> Tensor:
    x = call.tensor(index)
    if call.has(index + 2):
        zero = call.tensor(index + 2)
        by_row = index == 0 and len(zero.shape) == 1 and zero.shape[0] > 1
        x = x - (zero.reshape(zero.shape[0], 1) if by_row else zero)
    return x.convert(DType.F32)


QUANTIZED: dict[str, Handler] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _quantize_dynamic,
    "MatMulInteger": _product_of_integers,
}
