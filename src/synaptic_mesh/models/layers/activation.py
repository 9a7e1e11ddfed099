"""Activation functions by name. relu, gelu (tanh form), silu, elu and the rest are decompositions into primitives."""

from collections.abc import Callable

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import log_softmax, relu, softmax
from synaptic_mesh.engine.trace import Tensor, exp, log, maximum, minimum, sigmoid, tanh, where
from synaptic_mesh.models.scope import Scope

GELU_SCALE = 0.7978845608028654
"""sqrt(2 / pi)."""
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def gelu(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Hendrycks and Gimpel 2016, arXiv:1606.08415, tanh form."""
    inner = (x + ((x * x) * x) * 0.044715) * GELU_SCALE
    return (x * 0.5) * (tanh(inner) + 1.0)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), also called swish."""
    return x * sigmoid(x)


def elu(x: Tensor) -> Tensor:
    """x above 0, else e^x - 1. Clevert et al. 2016, arXiv:1511.07289."""
    return where(x > 0.0, x, exp(minimum(x, 0.0)) - 1.0)


def selu(x: Tensor) -> Tensor:
    """Self-normalising elu. Klambauer et al. 2017, arXiv:1706.02515."""
    return where(x > 0.0, x, (exp(minimum(x, 0.0)) - 1.0) * SELU_ALPHA) * SELU_SCALE


def leaky_relu(x: Tensor) -> Tensor:
    """x above 0, else x / 100."""
    return where(x > 0.0, x, x * 0.01)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|), which does not overflow."""
    return maximum(x, 0.0) + log(exp(-abs(x)) + 1.0)


def hard_sigmoid(x: Tensor) -> Tensor:
    """x / 6 + 1/2 within 0 and 1."""
    return minimum(maximum(x / 6.0 + 0.5, 0.0), 1.0)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "tanh": tanh,
    "softplus": softplus,
    "softsign": lambda x: x / (abs(x) + 1.0),
    "softmax": softmax,
    "log_softmax": log_softmax,
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
