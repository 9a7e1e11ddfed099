"""Running sums and rankings along one axis."""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.indexing import gather_along
from synaptic_mesh.engine.functions.movement import axis_of, flip, narrow, pad
from synaptic_mesh.engine.ir import Attributes, DType, Op
from synaptic_mesh.engine.trace import Tensor


def cumsum(x: Tensor, axis: int, *, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sum from +0, k ascending. `exclusive`: of the elements before; `reverse`: from the end."""
    at = axis_of(x, axis)
    if reverse:
        return flip(cumsum(flip(x, at), at, exclusive=exclusive), at)
    if exclusive:
        first = [1 if i == at else 0 for i in range(len(x.shape))]
        x = narrow(pad(x, first, [0] * len(x.shape)), at, 0, x.shape[at])
    return x.builder.add(Op.CUMSUM, [x], x.shape, x.dtype, Attributes(axes=(at,)))


def top_k(x: Tensor, k: int, axis: int = -1, *, largest: bool = True) -> tuple[Tensor, Tensor]:
    """Values and i32 indices of the k greatest (or least), best first; ties to the lower index; NaN counts as best."""
    indices = top_k_indices(x if largest else -x, k, axis)
    return gather_along(x, indices, axis), indices


def top_k_indices(x: Tensor, k: int, axis: int = -1) -> Tensor:
    """i32 indices of the k greatest elements, greatest first."""
    at = axis_of(x, axis)
    if not 0 <= k <= x.shape[at]:
        raise LocalError(f"top_k of {k} elements from axis {at} of {x.shape}")
    shape = (*x.shape[:at], k, *x.shape[at + 1 :])
    return x.builder.add(Op.TOP_K, [x], shape, DType.I32, Attributes(axes=(at,)))


def sort(x: Tensor, axis: int = -1, *, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Values in order and their i32 indices; equal values keep their order. NaN comes first in both directions."""
    return top_k(x, x.shape[axis_of(x, axis)], axis, largest=descending)
