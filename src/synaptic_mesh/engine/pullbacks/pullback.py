"""What a pullback is."""

from collections.abc import Callable, Sequence

from synaptic_mesh.engine.trace import Tensor

Thunk = Callable[[], Tensor]
Pullback = Callable[[Tensor, list[Tensor], Tensor], Sequence[Thunk | None]]
"""(result, operands, gradient of the result) -> for each operand how to build its contribution, or None.

Arguments are called y, o and g in the tables.
"""
