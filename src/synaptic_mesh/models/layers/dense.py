"""Fully connected layers."""

import math

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.initial_values import AnyInitializer, Constant, GlorotUniform, HeUniform
from synaptic_mesh.models.layers.activation import activate
from synaptic_mesh.models.scope import Scope

RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus")
"""Activations that pass about half of their input, so weights begin larger (He et al. 2015)."""


def default_initializer(activation: str) -> AnyInitializer:
    """Return HeUniform before rectifiers, else GlorotUniform."""
    return HeUniform() if activation in RECTIFIERS else GlorotUniform()


class Dense(msgspec.Struct, frozen=True, tag="dense"):
    """activation(x @ weight + bias) along the last axis: (rows, ..., features) -> (rows, ..., units).

    Parameters: "weight" (features, units) and "bias" (units,).
    """

    units: int
    activation: str = "linear"
    use_bias: bool = True
    initializer: AnyInitializer | None = None

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError for an x without features or units below 1."""
        if self.units < 1 or len(x.shape) < 2:
            hint = "; rows of one number are x.reshape(-1, 1)" if len(x.shape) == 1 else ""
            raise LocalError(
                f"Dense({self.units}) needs at least 1 unit and x (rows, ..., features), not {x.shape}{hint}"
            )
        features = x.shape[-1]
        weight = scope.parameter(
            "weight", (features, self.units), self.initializer or default_initializer(self.activation)
        )
        flat = x if len(x.shape) == 2 else x.reshape(math.prod(x.shape[:-1]), features)
        result = flat @ weight
        if self.use_bias:
            result = result + scope.parameter("bias", (self.units,), Constant(0.0))
        if len(x.shape) > 2:
            result = result.reshape(*x.shape[:-1], self.units)
        return activate(self.activation, result)
