"""Activation functions by name."""

from collections.abc import Callable

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu, softmax
from synaptic_mesh.engine.functions import activations
from synaptic_mesh.engine.trace import Tensor, exp, sigmoid, tanh
from synaptic_mesh.models.scope import Scope

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": relu,
    "relu6": activations.relu6,
    "leaky_relu": activations.leaky_relu,
    "elu": activations.elu,
    "selu": activations.selu,
    "gelu": activations.gelu,
    "gelu_tanh": activations.gelu_tanh,
    "silu": activations.silu,
    "mish": activations.mish,
    "sigmoid": sigmoid,
    "hard_sigmoid": activations.hard_sigmoid,
    "hard_swish": activations.hard_swish,
    "tanh": tanh,
    "softplus": activations.softplus,
    "softsign": activations.softsign,
    "softmax": softmax,
    "log_softmax": lambda x: activations.log_softmax_along(x, -1),
    "exponential": exp,
}


def activate(name: str, x: Tensor) -> Tensor:
    """Return the function's values. Raises LocalError naming the known functions."""
    if name not in ACTIVATIONS:
        raise LocalError(f"activation {name!r} is not known; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name](x)


class Activation(msgspec.Struct, frozen=True, tag="activation"):
    """One of ACTIVATIONS, element by element (softmax and log_softmax along the last axis)."""

    name: str

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        del scope
        return activate(self.name, x)
