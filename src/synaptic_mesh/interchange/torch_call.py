"""One operator of an exported torch module while it is traced, and what its handlers share. Imports no torch.

torch's types are held as ONNX's are: floats as f32, integers as i32, bools as i32 0 and 1. The type that torch states
for a result decides what its operands are converted to before.
"""

from collections.abc import Callable
from typing import Any

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Builder, Tensor, where
from synaptic_mesh.interchange.onnx_values import common_shape, truth
from synaptic_mesh.models.scope import Scope

FLOAT_KINDS = ("torch.float32", "torch.float64")
ROUNDED_KINDS = ("torch.float16", "torch.bfloat16")
WHOLE_KINDS = ("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8")
BOOL = "torch.bool"


class TorchCall:
    """kind: the type of the (first) result, by torch's name; empty where it is no tensor."""

    def __init__(
        self, scope: Scope, op: str, arguments: tuple[Any, ...], keywords: dict[str, Any], kind: str = ""
    ) -> None:
        self.scope, self.op, self.arguments, self.keywords, self.kind = scope, op, arguments, keywords, kind

    @property
    def builder(self) -> Builder:
        """The graph that grows."""
        return self.scope.builder

    def get(self, index: int, default: Any = None, name: str = "") -> Any:
        """Return an argument by place or name."""
        if index < len(self.arguments):
            return self.arguments[index]
        return self.keywords.get(name, default)

    def tensor(self, index: int = 0) -> Tensor:
        """Return an argument that is a tensor. Raises LocalError when it is not."""
        found = self.get(index)
        if not isinstance(found, Tensor):
            raise LocalError(f"argument {index + 1} is {found!r}, not a tensor")
        return found

    def floats(self, index: int = 0) -> Tensor:
        """Return an argument as f32: integers and bools are converted, as torch does it."""
        return self.tensor(index).convert(DType.F32)

    def promoted(self, value: Any) -> Any:
        """Return a tensor in the type that the result has; numbers stay."""
        return value.convert(engine_kind(self.kind)) if isinstance(value, Tensor) and self.kind else value


Handler = Callable[[TorchCall], Any]


def engine_kind(kind: str) -> DType:
    """Return what holds values of a torch type. Raises LocalError for a type that is not computed."""
    if kind in FLOAT_KINDS:
        return DType.F32
    if kind in (*WHOLE_KINDS, BOOL):
        return DType.I32
    raise LocalError(f"{kind} is not computed; there are {', '.join((*FLOAT_KINDS, *WHOLE_KINDS, BOOL))}")


def one(function: Callable[[Tensor], Tensor]) -> Handler:
    """A function of one float tensor."""
    return lambda call: function(call.floats())


def two(function: Callable[[Any, Any], Any]) -> Handler:
    """A function of two operands in the result's type; alpha scales the second."""

    def build(call: TorchCall) -> Any:
        a, b = call.promoted(call.get(0)), call.promoted(call.get(1))
        alpha = call.keywords.get("alpha", 1)
        return function(a, b if alpha == 1 else b * alpha)

    return build


def as_tensor(call: TorchCall, value: Any, dtype: DType) -> Tensor:
    """Return a tensor or a number as a tensor of this type."""
    return value.convert(dtype) if isinstance(value, Tensor) else call.builder.constant(value, (), dtype)


def is_nonzero(x: Tensor) -> Tensor:
    """i32 0 and 1: whether elements differ from 0, as torch makes bools of numbers."""
    return truth(x == 0) ^ 1


def choose(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return yes where i32 `condition` is not 0, else no; the three broadcast."""
    shape = common_shape(condition, yes, no)
    return where(condition.broadcast_to(shape) == 0, no.broadcast_to(shape), yes.broadcast_to(shape))
