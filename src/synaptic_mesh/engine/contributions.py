"""How the gradient of a tensor with several uses comes together.

1. Contributions are added in the order of use: by consuming node, then by operand position, from the left (semantics
   rule 11).
2. A tensor whose only uses are slices that cut one axis into consecutive parts gets the concatenation of their
   gradients, in the order of the axis.
3. A matrix whose only uses are as the right operand of matrix products of one form gets one product over their joined
   rows, in the order of use: the weights of a recurrence are one product instead of one for each step.
"""

from collections.abc import Callable
from typing import NamedTuple

from synaptic_mesh.engine.functions.movement import concat
from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import Node, Op
from synaptic_mesh.engine.trace import Builder, Tensor, matmul


class Contribution(NamedTuple):
    """What one use of a tensor adds to its gradient: `gradient` itself, or, where a rule may join several uses, the
    gradient of the using node's result and how to build the contribution from it."""

    user: int
    position: int
    gradient: Tensor
    build: Callable[[], Tensor] | None = None


def shared_factors(builder: Builder, last: int, active: set[int], lone: frozenset[int] = frozenset()) -> set[int]:
    """Return the active matrices that rule 3 may concern: two or more active uses up to node `last`, one for those in
    `lone`, all of them as the right operand of rank-2 products with the same transpose flags."""
    users: dict[int, list[Node]] = {}
    barred: set[int] = set()
    for index in range(last + 1):
        node = builder.nodes[index]
        for position, operand in enumerate(node.inputs if index in active else ()):
            is_product = node.op is Op.MATMUL and len(node.shape) == 2 and position == 1
            if not is_product:
                barred.add(operand)
            users.setdefault(operand, []).append(node)
    return {
        operand
        for operand, nodes in users.items()
        if operand in active and operand not in barred and (len(nodes) > 1 or operand in lone)
        if len({node.attributes for node in nodes}) == 1
    }


def total_gradient(x: Tensor, uses: list[Contribution]) -> Tensor:
    """Return the gradient of x from its uses, of which there is at least one."""
    ordered = sorted(uses, key=lambda use: use[:2])
    if len(ordered) > 1 and all(use.build is not None for use in ordered):
        joined = _joined_products(x, ordered) if _user(x, ordered[0]).op is Op.MATMUL else _joined_slices(x, ordered)
        if joined is not None:
            return joined
    terms = [use.gradient if use.build is None else use.build() for use in ordered]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _user(x: Tensor, use: Contribution) -> Node:
    return x.builder.nodes[use.user]


def _joined_products(x: Tensor, uses: list[Contribution]) -> Tensor:
    """Rule 3: A^T G with the rows of all A and G below one another, or G^T A for an x stored transposed."""
    flags = _user(x, uses[0]).attributes
    left = concat([Tensor(x.builder, _user(x, use).inputs[0]) for use in uses], 1 if flags.transpose_left else 0)
    gradient = concat([use.gradient for use in uses], 0)
    if flags.transpose_right:
        return matmul(gradient, left, transpose_left=True, transpose_right=flags.transpose_left)
    return matmul(left, gradient, transpose_left=not flags.transpose_left)


def _joined_slices(x: Tensor, uses: list[Contribution]) -> Tensor | None:
    """Rule 2, or None where it does not apply."""
    parts = sorted(uses, key=lambda use: (Stride.of(_user(x, use)).starts, use.gradient.shape))
    axis = _cut_axis(x, parts)
    return None if axis is None else concat([use.gradient for use in parts], axis)


def _cut_axis(x: Tensor, parts: list[Contribution]) -> int | None:
    """Return the axis that the parts, in order, cut into consecutive pieces with each element in one; None if not."""
    strides = [Stride.of(_user(x, use)) for use in parts]
    cut = [axis for axis, extent in enumerate(x.shape) if any(use.gradient.shape[axis] != extent for use in parts)]
    if len(cut) != 1 or any(set(stride.steps) != {1} for stride in strides):
        return None
    at = 0
    for stride, use in zip(strides, parts, strict=True):
        if stride.starts[cut[0]] != at:
            return None
        at += use.gradient.shape[cut[0]]
    return cut[0] if at == x.shape[cut[0]] else None
