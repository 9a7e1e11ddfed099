"""One row of the law, and the sentences with which a row refuses."""

from collections.abc import Callable, Sequence

import msgspec

from synaptic_mesh.engine.ir import DType, Node, Shape

NUMERIC = (DType.F32, DType.I32, DType.U32)
FLOAT = (DType.F32,)
INTEGER = (DType.I32, DType.U32)
WORD = (DType.U32,)
OPERANDS_MAX = 64
"""Most operands of one operation that takes any number."""

Derive = Callable[[Node, Sequence[Node]], tuple[Shape, DType]]


class Rule(msgspec.Struct, frozen=True):
    """Arity (None: one to `operands_max`), legal dtypes of the first operand, used attributes, and `derive`.

    `derive` returns the (shape, dtype) that the node must have; it raises ValueError with a reason when the operands do
    not fit.
    """

    arity: int | None
    dtypes: tuple[DType, ...]
    derive: Derive
    attributes: tuple[str, ...] = ()
    elementwise: bool = False
    operands_max: int = OPERANDS_MAX


def need(condition: bool, reason: str) -> None:
    """Raise ValueError(reason) unless the condition holds."""
    if not condition:
        raise ValueError(reason)


def need_equal(a: Node, b: Node) -> None:
    """Raise ValueError unless both nodes have one shape and one dtype."""
    need(a.shape == b.shape, f"shapes {a.shape} and {b.shape} differ")
    need(a.dtype is b.dtype, f"dtypes {a.dtype.value} and {b.dtype.value} differ")


def need_axis(node: Node, shape: Shape) -> int:
    """Return the one axis of `shape` that the node names."""
    axes = node.attributes.axes
    need(len(axes) == 1 and 0 <= axes[0] < len(shape), f"axes {axes} are not one axis of {shape}")
    return axes[0]
