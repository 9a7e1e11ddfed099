"""Adaptive optimizers: every parameter element has a step of its own, from the gradients it has seen."""

from collections.abc import Mapping

import msgspec

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.optimizers import AdamRates, Tensors, adam_update, zeros_like
from synaptic_mesh.engine.schedules import Rate, rate_now, rate_state
from synaptic_mesh.engine.trace import Tensor, sqrt, where


class Adagrad(msgspec.Struct, frozen=True):
    """s = s + g^2; p = p - lr g / (sqrt(s) + eps). Duchi, Hazan and Singer 2011."""

    learning_rate: Rate = 0.01
    epsilon: float = 1e-10

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Sums of squares, zero: "s/<parameter>"."""
        return {**zeros_like(parameters, "s"), **rate_state(self.learning_rate)}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """The sum first, then the parameter."""
        rate, after = rate_now(self.learning_rate, state)
        moved: Tensors = {}
        for name, parameter in parameters.items():
            g = gradient[name]
            squares = state[f"s/{name}"] + g * g
            moved[name] = parameter - (g * rate) / (sqrt(squares) + self.epsilon)
            after[f"s/{name}"] = squares
        return moved, after


class RMSprop(msgspec.Struct, frozen=True):
    """s = decay s + (1 - decay) g^2; p = p - lr g / (sqrt(s) + eps). Hinton 2012, lecture 6e."""

    learning_rate: Rate = 0.001
    decay: float = 0.99
    epsilon: float = 1e-8

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Mean squares, zero: "s/<parameter>"."""
        return {**zeros_like(parameters, "s"), **rate_state(self.learning_rate)}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """The mean square first, then the parameter."""
        rate, after = rate_now(self.learning_rate, state)
        moved: Tensors = {}
        for name, parameter in parameters.items():
            g = gradient[name]
            squares = state[f"s/{name}"] * self.decay + (g * g) * (1.0 - self.decay)
            moved[name] = parameter - (g * rate) / (sqrt(squares) + self.epsilon)
            after[f"s/{name}"] = squares
        return moved, after


class Adam(AdamRates, frozen=True):
    """p = p - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps). Kingma and Ba 2015, arXiv:1412.6980."""

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Powers first, then for each parameter m, v and the move."""
        return adam_update(self, parameters, gradient, state, lambda parameter, _: parameter)


class Lion(msgspec.Struct, frozen=True):
    """c = b1 m + (1 - b1) g; p = p (1 - lr wd) - lr sign(c); m = b2 m + (1 - b2) g.

    Chen et al. 2023, arXiv:2302.06675. sign(+-0) and sign(NaN) are 0.
    """

    learning_rate: Rate = 0.0001
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Moments of zero: "m/<parameter>"."""
        return {**zeros_like(parameters, "m"), **rate_state(self.learning_rate)}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """The parameter by the sign of the blend, then the moment."""
        rate, after = rate_now(self.learning_rate, state)
        moved: Tensors = {}
        for name, parameter in parameters.items():
            g, m = gradient[name], state[f"m/{name}"]
            direction = sign_of(m * self.beta1 + g * (1.0 - self.beta1))
            moved[name] = parameter * (1.0 - rate * self.weight_decay) - direction * rate
            after[f"m/{name}"] = m * self.beta2 + g * (1.0 - self.beta2)
        return moved, after


def sign_of(x: Tensor) -> Tensor:
    """1 above 0, -1 below, else +0."""
    return where(x > 0.0, 1.0, where(x < 0.0, x.builder.constant(-1.0, x.shape), 0.0))
