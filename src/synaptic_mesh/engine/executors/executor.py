"""What an executor is."""

from collections.abc import Callable

from synaptic_mesh.base.arrays import Array

Executor = Callable[..., Array]
"""(node, one array per operand) -> the node's tensor. Raises StepInvalid for an index out of range."""
