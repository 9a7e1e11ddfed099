"""Gradients of sums and maxima along one axis."""

from collections.abc import Sequence

from synaptic_mesh.engine.functions.order import cumsum
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.pullbacks.pullback import Pullback, Thunk
from synaptic_mesh.engine.trace import Tensor, where


def _reduce_sum(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    return [lambda: _restore(y, o[0], g)]


def _reduce_max(y: Tensor, o: list[Tensor], g: Tensor) -> Sequence[Thunk]:
    """Shared evenly by the elements that equal the maximum."""

    def pull() -> Tensor:
        is_max = o[0] == _restore(y, o[0], y)
        count = where(is_max, 1.0, 0.0).sum(y.node.attributes.axes[0])
        return where(is_max, _restore(y, o[0], g / count), 0.0)

    return [pull]


def _restore(y: Tensor, operand: Tensor, reduced: Tensor) -> Tensor:
    """Repeat a reduced tensor along the axis that `y` removed."""
    axis = y.node.attributes.axes[0]
    return reduced.repeat(axis, operand.shape[axis])


ORDER: dict[Op, Pullback] = {
    Op.REDUCE_SUM: _reduce_sum,
    Op.REDUCE_MAX: _reduce_max,
    Op.CUMSUM: lambda y, _o, g: [lambda: cumsum(g, y.node.attributes.axes[0], reverse=True)],
}
