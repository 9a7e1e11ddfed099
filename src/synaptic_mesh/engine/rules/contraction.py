"""Laws of matrix product and convolution."""

from collections.abc import Sequence

from synaptic_mesh.engine.geometry import CONV_INTEGERS, ConvGeometry
from synaptic_mesh.engine.ir import ELEMENTS_MAX, DType, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import FLOAT, Rule, need


def _matmul(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    left, right = operands
    need(left.dtype is right.dtype, f"dtypes {left.dtype.value} and {right.dtype.value} differ")
    matrices = len(left.shape) == len(right.shape) >= 2
    need(matrices, f"matmul needs two matrices, or batches of equal rank, not {left.shape} and {right.shape}")
    batch = left.shape[:-2]
    need(batch == right.shape[:-2], f"batch extents of {left.shape} and {right.shape} differ")
    m, k = left.shape[-1:-3:-1] if node.attributes.transpose_left else left.shape[-2:]
    k_right, n = right.shape[-1:-3:-1] if node.attributes.transpose_right else right.shape[-2:]
    need(k == k_right, f"inner extents of ({m}, {k}) and ({k_right}, {n}) differ")
    return (*batch, m, n), left.dtype


def _conv(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    x, w = operands
    need(x.dtype is w.dtype, f"dtypes {x.dtype.value} and {w.dtype.value} differ")
    ranks = (len(x.shape), len(w.shape), len(node.shape))
    need(ranks == (4, 4, 4), f"conv needs (n, c, h, w) and (o, c / groups, kh, kw), not {x.shape} and {w.shape}")
    numbers = node.attributes.axes
    need(len(numbers) == CONV_INTEGERS, f"axes {numbers} are not the {CONV_INTEGERS} integers of a convolution")
    geometry = ConvGeometry.of(node)
    need(all(abs(number) <= ELEMENTS_MAX for number in numbers), f"axes {numbers} are over {ELEMENTS_MAX}")
    need(all(step >= 1 for step in numbers[2:8]), f"steps {numbers[2:8]} are not positive")
    groups, outputs = geometry.groups, w.shape[0]
    need(groups >= 1 and outputs % groups == 0, f"{groups} groups do not divide {outputs} output channels")
    need(x.shape[1] == groups * w.shape[1], f"{groups} groups of {w.shape[1]} channels are not {x.shape[1]}")
    return (x.shape[0], outputs, *node.shape[2:]), x.dtype


CONTRACTION: dict[Op, Rule] = {
    Op.MATMUL: Rule(2, FLOAT, _matmul, ("transpose_left", "transpose_right")),
    Op.CONV: Rule(2, FLOAT, _conv, ("axes",)),
}
