"""What happens to gradients before an optimizer sees them: clipping and weight decay, around any optimizer.

    ClipByGlobalNorm(Adam(0.001), 1.0)

Names and state are those of the optimizer inside.
"""

from collections.abc import Mapping

import msgspec

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.optimizers import Optimizer, Tensors
from synaptic_mesh.engine.trace import maximum, minimum, sqrt

NORM_FLOOR = 1e-6
"""Added to the norm before dividing, as torch does."""


class ClipByValue(msgspec.Struct, frozen=True):
    """g = max(min(g, limit), -limit) for each element. Raises LocalError unless limit > 0."""

    optimizer: Optimizer
    limit: float

    def __post_init__(self) -> None:
        _positive("ClipByValue", self.limit)

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """The optimizer's own."""
        return self.optimizer.initial_state(parameters)

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """The optimizer's update by the clipped gradient."""
        clipped = {name: maximum(minimum(g, self.limit), -self.limit) for name, g in gradient.items()}
        return self.optimizer.update(parameters, clipped, state)


class ClipByGlobalNorm(msgspec.Struct, frozen=True):
    """g = g * min(limit / (norm + 1e-6), 1), norm over all parameters together. Pascanu et al. 2013, arXiv:1211.5063.

    norm = sqrt of the sum, in the order of the parameters, of each one's sum of squares. Raises LocalError unless
    limit > 0.
    """

    optimizer: Optimizer
    limit: float

    def __post_init__(self) -> None:
        _positive("ClipByGlobalNorm", self.limit)

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """The optimizer's own."""
        return self.optimizer.initial_state(parameters)

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """The optimizer's update by the scaled gradient."""
        if not parameters:
            return self.optimizer.update(parameters, gradient, state)
        squares = [(gradient[name] * gradient[name]).sum() for name in parameters]
        total = squares[0]
        for square in squares[1:]:
            total = total + square
        factor = minimum(self.limit / (sqrt(total) + NORM_FLOOR), 1.0)
        scaled = {name: g * factor for name, g in gradient.items()}
        return self.optimizer.update(parameters, scaled, state)


class WeightDecay(msgspec.Struct, frozen=True):
    """g = g + decay * p: the gradient of (decay / 2) |p|^2, for optimizers without a decay of their own."""

    optimizer: Optimizer
    decay: float

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """The optimizer's own."""
        return self.optimizer.initial_state(parameters)

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """The optimizer's update by the larger gradient."""
        pulled = {name: gradient[name] + p * self.decay for name, p in parameters.items()}
        return self.optimizer.update(parameters, pulled, state)


def _positive(name: str, limit: float) -> None:
    if not limit > 0:
        raise LocalError(f"{name}: limit {limit} must be above 0")
