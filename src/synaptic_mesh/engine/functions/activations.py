"""Activations and the softmax family over any axis."""

import math

from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions.elementwise import clip, erf
from synaptic_mesh.engine.functions.movement import axis_of
from synaptic_mesh.engine.trace import Tensor, exp, log, minimum, sigmoid, stop_gradient, tanh, where


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """x where x > 0, else slope * x."""
    return where(x > 0.0, x, x * slope)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x > 0, else slope * x with a tensor that broadcasts."""
    return where(x > 0.0, x, x * slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (e^x - 1); the exponential sees min(x, 0), so no infinity enters a gradient."""
    return where(x > 0.0, x, (exp(minimum(x, 0.0)) - 1.0) * alpha)


def selu(x: Tensor) -> Tensor:
    """Scaled elu. Klambauer et al. 2017, arXiv:1706.02515."""
    return elu(x, 1.6732632423543772) * 1.0507009873554805


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (e^(x / alpha) - 1)."""
    return where(x > 0.0, x, (exp(minimum(x, 0.0) / alpha) - 1.0) * alpha)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|)."""
    return relu(x) + log(exp(-abs(x)) + 1.0)


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (abs(x) + 1.0)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    return x * tanh(softplus(x))


def gelu(x: Tensor) -> Tensor:
    """(x / 2) (1 + erf(x / sqrt 2)). Hendrycks and Gimpel 2016, arXiv:1606.08415."""
    return (x * 0.5) * (erf(x * math.sqrt(0.5)) + 1.0)


def gelu_tanh(x: Tensor) -> Tensor:
    """gelu's approximation (x / 2) (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    inner = (x + ((x * x) * x) * 0.044715) * math.sqrt(2.0 / math.pi)
    return (x * 0.5) * (tanh(inner) + 1.0)


def hard_sigmoid(x: Tensor, alpha: float = 1.0 / 6.0, beta: float = 0.5) -> Tensor:
    """min(max(alpha x + beta, 0), 1)."""
    return clip(x * alpha + beta, 0.0, 1.0)


def hard_swish(x: Tensor) -> Tensor:
    """x * hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


def hard_tanh(x: Tensor) -> Tensor:
    """min(max(x, -1), 1)."""
    return clip(x, -1.0, 1.0)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return minimum(relu(x), 6.0)


def softmax_along(x: Tensor, axis: int) -> Tensor:
    """e^(x - m) / sum e^(x - m) over one axis, m its maximum (no gradient flows through m)."""
    at = axis_of(x, axis)
    power = exp(x - _restored(stop_gradient(x.max(at)), x, at))
    return power / _restored(power.sum(at), x, at)


def log_softmax_along(x: Tensor, axis: int) -> Tensor:
    """(x - m) - log sum e^(x - m) over one axis."""
    at = axis_of(x, axis)
    shifted = x - _restored(stop_gradient(x.max(at)), x, at)
    return shifted - _restored(log(exp(shifted).sum(at)), x, at)


def logsumexp(x: Tensor, axis: int) -> Tensor:
    """m + log sum e^(x - m) over one axis, which disappears; m counts as 0 where it is infinite."""
    at = axis_of(x, axis)
    greatest = stop_gradient(x.max(at))
    safe = stop_gradient(where(abs(greatest) < math.inf, greatest, 0.0))
    return safe + log(exp(x - _restored(safe, x, at)).sum(at))


def glu(x: Tensor, axis: int = -1) -> Tensor:
    """First half times sigmoid of the second half of an axis of even extent."""
    at = axis_of(x, axis)
    half = x.shape[at] // 2
    first = x[(*(slice(None),) * at, slice(0, half))]
    second = x[(*(slice(None),) * at, slice(half, 2 * half))]
    return first * sigmoid(second)


def threshold_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > alpha, else +0."""
    return where(x > alpha, x, 0.0)


def _restored(reduced: Tensor, like: Tensor, axis: int) -> Tensor:
    return reduced.repeat(axis, like.shape[axis])
