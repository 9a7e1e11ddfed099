"""Values of an ONNX graph while it is traced, and what an operator sees of its node.

A value is static (a NumPy array known while tracing: constants, shapes) or a tensor of the engine's graph. ONNX types
map to the engine's: float32, and float64 and float16 computed in f32; integers but uint32 as i32; bool as i32 0 and 1.
bfloat16 is held as f32 and cast and moved, but not computed with: its 8 bits are rounded at every step. Integers
narrower than 32 bits are wrapped after arithmetic. Wider ones must fit where they enter.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.trace import Builder, Tensor, where

FLOATS = ("float32", "float64", "float16", "bfloat16")
WRAPPED = {
    "int8": (8, True),
    "uint8": (8, False),
    "int16": (16, True),
    "uint16": (16, False),
    "int4": (4, True),
    "uint4": (4, False),
    "int2": (2, True),
    "uint2": (2, False),
}
"""Integers narrower than 32 bits: how many, and whether one is the sign."""
INTEGERS = ("int32", "int64", "uint64", "uint32", *WRAPPED)
KINDS = (*FLOATS, *INTEGERS, "bool")
MOVES = frozenset({
    "ArgMax", "ArgMin", "Cast", "CastLike", "Concat", "Constant", "DepthToSpace", "Dropout", "Expand", "Flatten",
    "Gather", "GatherElements", "GatherND", "Identity", "OneHot", "Pad", "Reshape", "ReverseSequence", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that choose among elements and so round nothing."""


class NeedStatic(Exception):
    """An operator needs the values of this input of the model while it is traced: they decide a shape."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Value(msgspec.Struct, frozen=True, eq=False):
    """kind: the ONNX type by NumPy's name. One of array, tensor and items is set."""

    kind: str
    array: Array | None = None
    tensor: Tensor | None = None
    source: str = ""
    """The model's input that the value is, as it entered."""
    items: "tuple[Value, ...] | None" = None
    """The values of a sequence."""
    names: Array | None = None
    """Text labels: the tensor holds their positions here."""

    @property
    def shape(self) -> Shape:
        """Extents."""
        if self.tensor is not None:
            return self.tensor.shape
        return () if self.array is None else self.array.shape


class Call:
    """One node while it is traced: its inputs, attributes and outputs."""

    def __init__(
        self,
        builder: Builder,
        op: str,
        name: str,
        opset: int,
        inputs: Sequence[Value | None],
        attributes: dict[str, Any],
        outputs: int,
        inside: Callable[[Any, Sequence[Value]], list[Value]],
    ) -> None:
        """inside: (a graph among the attributes, its inputs) -> its outputs."""
        self.builder, self.op, self.name, self.opset = builder, op, name, opset
        self.inputs, self.attributes, self.outputs = list(inputs), attributes, outputs
        self.inside = inside

    def has(self, index: int) -> bool:
        """True when input `index` is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """Return input `index`. Raises LocalError when the node lacks it."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise LocalError(f"input {index + 1} is missing")
        return found

    def kind(self, index: int = 0) -> str:
        """Return the type of an input."""
        return self.value(index).kind

    def tensor(self, index: int = 0) -> Tensor:
        """Return an input as a tensor."""
        return as_tensor(self.builder, self.value(index))

    def tensor_of(self, value: Value) -> Tensor:
        """Return any value as a tensor."""
        return as_tensor(self.builder, value)

    def optional(self, index: int) -> Tensor | None:
        """Return an input as a tensor, or None when it is left out."""
        return self.tensor(index) if self.has(index) else None

    def floats(self, index: int = 0) -> Tensor:
        """Return an input as an f32 tensor. Raises LocalError for integers."""
        if self.kind(index) not in FLOATS:
            raise LocalError(f"input {index + 1} is {self.kind(index)}; only floats are computed here")
        return self.tensor(index)

    def static(self, index: int) -> Array:
        """Return an input's values. Raises NeedStatic for an input of the model, LocalError for a computed tensor."""
        value = self.value(index)
        if value.array is not None:
            return value.array
        if value.source:
            raise NeedStatic(value.source)
        raise LocalError(f"input {index + 1} decides a shape, but is computed from data; shapes must be constants")

    def integers(self, index: int) -> list[int]:
        """Return a static input as a list of integers."""
        return [int(v) for v in self.static(index).reshape(-1)]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def result(self, tensor: Tensor, kind: str | None = None) -> Value:
        """Return a computed value, of the first input's type unless said; narrow integers are wrapped.

        Raises LocalError where bfloat16 would be rounded.
        """
        kind = kind or self.kind()
        if kind == "bfloat16" and self.op not in MOVES:
            raise LocalError("bfloat16 is not computed with; cast it to float first")
        return Value(kind, tensor=wrapped(tensor, kind))

    def number(self, values: Array, kind: str | None = None) -> Value:
        """Return a static value."""
        return Value(kind or str(values.dtype), array=values)


def as_tensor(builder: Builder, value: Value) -> Tensor:
    """Return a value as a tensor; a static one becomes a constant."""
    if value.tensor is not None:
        return value.tensor
    if value.items is not None:
        raise LocalError(f"a sequence of {len(value.items)} values is no tensor")
    array = np.asarray(value.array)
    narrow = to_engine(array, value.kind, "a constant")
    if narrow.size and (narrow == narrow.reshape(-1)[0]).all() and narrow.size > 1:
        bits = int(narrow.reshape(-1)[:1].view(np.uint32)[0])
        return builder.splat(bits, narrow.shape, engine_dtype(value.kind))
    return builder.array(canonical(narrow))


def to_engine(array: Array, kind: str, what: str) -> Array:
    """Return values as f32, i32 or u32. Raises LocalError for a type or an integer that the engine does not hold."""
    if kind not in KINDS:
        raise LocalError(f"{what} is {kind}; there are {', '.join(KINDS)}")
    if kind in FLOATS:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)
    if kind in WRAPPED:
        return np.ascontiguousarray(array.astype(np.int32)).reshape(array.shape)
    if kind == "uint32":
        return np.ascontiguousarray(array, dtype=np.uint32).reshape(array.shape)
    if array.size and (int(array.max()) > 2**31 - 1 or int(array.min()) < -(2**31)):
        raise LocalError(f"{what} holds {int(array.max())}; integers are computed in 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32).reshape(array.shape)


def canonical(array: Array) -> Array:
    """Return the array with every NaN as 0x7fc00000, as constants must have it."""
    if array.dtype != np.float32 or not np.isnan(array).any():
        return array
    changed = array.copy()
    changed.view(np.uint32)[np.isnan(array)] = 0x7FC00000
    return changed


def engine_dtype(kind: str) -> DType:
    """Return what holds values of an ONNX type."""
    return DType.F32 if kind in FLOATS else DType.U32 if kind == "uint32" else DType.I32


def wrapped(x: Tensor, kind: str) -> Tensor:
    """Return integers reduced to the bits of a narrow type."""
    if kind not in WRAPPED or x.dtype is not DType.I32:
        return x
    bits, is_signed = WRAPPED[kind]
    shifted = x << (32 - bits)
    return shifted >> (32 - bits) if is_signed else (shifted.bitcast(DType.U32) >> (32 - bits)).bitcast(DType.I32)


def limits(kind: str) -> tuple[int, int]:
    """Return the least and greatest integer of a type as it is held here."""
    if kind == "bool":
        return 0, 1
    bits, is_signed = WRAPPED.get(kind, (32, kind != "uint32"))
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)


def truth(condition: Tensor) -> Tensor:
    """Return a comparison as i32 0 and 1."""
    return where(condition, 1, condition.builder.constant(0, condition.shape, DType.I32))


def is_true(value: Tensor) -> Tensor:
    """Return i32 0 and 1 as a comparison, for `where`."""
    return value == 1


def common_shape(*tensors: Tensor) -> tuple[int, ...]:
    """Return the shape that these broadcast to. Raises LocalError when there is none."""
    rank = max(len(t.shape) for t in tensors)
    shape = [1] * rank
    for t in tensors:
        for i, extent in enumerate(t.shape, rank - len(t.shape)):
            if extent != 1 and shape[i] not in (1, extent):
                raise LocalError(f"shapes {', '.join(str(each.shape) for each in tensors)} do not broadcast")
            shape[i] = extent if shape[i] == 1 else shape[i]
    return tuple(shape)
