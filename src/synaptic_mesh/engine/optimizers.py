"""Optimizers as graph builders, and the training step: loss, gradients and update as one graph.

Hyperparameters become f32 constants of the graph (their bit patterns are in its digest). Powers beta^t are carried
f32 state, multiplied once per step, because no pow is exact across machines. A learning rate is a number or a
Schedule. More rules are in `adaptive` and `resilient`, clipping and weight decay in `gradient_rules`; the formula of
each, in the order in which it is computed, stands in docs/protocol/semantics.md.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.ir import DType, Graph, Shape
from synaptic_mesh.engine.schedules import Rate, rate_now, rate_state
from synaptic_mesh.engine.trace import Builder, Spec, Tensor, spec_of, sqrt

Tensors = dict[str, Tensor]
LOSS = "loss"


class Optimizer(Protocol):
    """How parameters change. State is named tensors that the training step carries."""

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Return the state before the first step, f32 arrays by name; names hold a slash before the parameter's."""

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Return (new parameters, new state) under the same names."""


class SGD(msgspec.Struct, frozen=True):
    """p = p - learning_rate * g."""

    learning_rate: Rate = 0.01

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """No state but a schedule's."""
        del parameters
        return rate_state(self.learning_rate)

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """One multiplication and one subtraction per element."""
        rate, after = rate_now(self.learning_rate, state)
        return {name: p - gradient[name] * rate for name, p in parameters.items()}, after


class Momentum(msgspec.Struct, frozen=True):
    """v = momentum * v + g; p = p - learning_rate * v. Polyak 1964, without dampening."""

    learning_rate: Rate = 0.01
    momentum: float = 0.9

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Velocities of zero: "v/<parameter>"."""
        return {**zeros_like(parameters, "v"), **rate_state(self.learning_rate)}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Velocity first, then the parameter by the new velocity."""
        rate, after = rate_now(self.learning_rate, state)
        velocity = {name: state[f"v/{name}"] * self.momentum + gradient[name] for name in parameters}
        moved = {name: p - velocity[name] * rate for name, p in parameters.items()}
        return moved, {**{f"v/{name}": value for name, value in velocity.items()}, **after}


class Nesterov(msgspec.Struct, frozen=True):
    """v = momentum * v + g; p = p - learning_rate * (g + momentum * v): the look-ahead of Sutskever et al. 2013."""

    learning_rate: Rate = 0.01
    momentum: float = 0.9

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Velocities of zero: "v/<parameter>"."""
        return {**zeros_like(parameters, "v"), **rate_state(self.learning_rate)}

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Velocity first, then the parameter by gradient and new velocity."""
        rate, after = rate_now(self.learning_rate, state)
        moved: Tensors = {}
        for name, parameter in parameters.items():
            velocity = state[f"v/{name}"] * self.momentum + gradient[name]
            moved[name] = parameter - (gradient[name] + velocity * self.momentum) * rate
            after[f"v/{name}"] = velocity
        return moved, after


class AdamRates(msgspec.Struct, frozen=True):
    """The numbers and the state that Adam and AdamW share."""

    learning_rate: Rate = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def initial_state(self, parameters: Mapping[str, Shape]) -> dict[str, Array]:
        """Moments of zero "m/<parameter>", "v/<parameter>"; powers of one "power/beta1", "power/beta2"."""
        return {**moments(parameters), **rate_state(self.learning_rate)}


class AdamW(AdamRates, frozen=True):
    """Adam with decoupled weight decay: p = p (1 - lr wd) - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps).

    Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    weight_decay: float = 0.01

    def update(self, parameters: Tensors, gradient: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Powers first, then for each parameter m, v and the move."""
        return adam_update(
            self, parameters, gradient, state, lambda kept, rate: kept * (1.0 - rate * self.weight_decay)
        )


def adam_update(
    rates: AdamRates,
    parameters: Tensors,
    gradient: Tensors,
    state: Tensors,
    kept: Callable[[Tensor, Tensor | float], Tensor],
) -> tuple[Tensors, Tensors]:
    """Return parameters and state after a step of Adam; `kept` says, from it and the rate, what a parameter is moved
    from. Operations stand in this order in every graph, so it is part of old runs."""
    rate, after = rate_now(rates.learning_rate, state)
    after |= {f"power/{name}": state[f"power/{name}"] * getattr(rates, name) for name in ("beta1", "beta2")}
    step = rate / (1.0 - after["power/beta1"])
    root = sqrt(1.0 - after["power/beta2"])
    moved: Tensors = {}
    for name, parameter in parameters.items():
        g = gradient[name]
        m = state[f"m/{name}"] * rates.beta1 + g * (1.0 - rates.beta1)
        v = state[f"v/{name}"] * rates.beta2 + (g * g) * (1.0 - rates.beta2)
        moved[name] = kept(parameter, rate) - (step * m) / (sqrt(v) / root + rates.epsilon)
        after[f"m/{name}"], after[f"v/{name}"] = m, v
    return moved, after


def training_step(
    loss_function: Callable[[Tensors, Tensors], Tensor],
    parameters: Mapping[str, Spec],
    batch: Mapping[str, Spec],
    optimizer: Optimizer,
) -> Graph:
    """Return the graph of one step: inputs are parameters, optimizer state and batch; output "loss" is checked.

    loss_function(parameters, batch) returns an f32 scalar. Parameters and state are carried: input and output have the
    same name, so after `run` `read(name)` gives the new value. Raises LocalError when names clash or shapes do not fit.
    """
    state = {name: spec_of(array) for name, array in initial_state(optimizer, parameters).items()}
    names = [*parameters, *state, *batch, LOSS]
    clashes = sorted({name for name in names if names.count(name) > 1})
    if clashes:
        raise LocalError(f"names {clashes} are used twice among parameters, optimizer state, batch and {LOSS!r}")
    builder = Builder()
    before, memory, rows = (
        {name: builder.input(name, spec) for name, spec in group.items()} for group in (parameters, state, batch)
    )
    loss = loss_function(before, rows)
    found = dict(zip(before, gradients(loss, list(before.values())), strict=True))
    moved, after = optimizer.update(before, found, memory)
    outputs = {LOSS: loss, **moved, **after}
    return builder.finish(outputs, carried={name: name for name in outputs if name != LOSS}, checked=[LOSS])


def initial_state(optimizer: Optimizer, parameters: Mapping[str, Spec]) -> dict[str, Array]:
    """Return the optimizer's state before the first step. Raises LocalError unless all parameters are f32."""
    for name, spec in parameters.items():
        if spec.dtype is not DType.F32:
            raise LocalError(f"parameter {name!r} is {spec.dtype.value}: only f32 is trained")
    return optimizer.initial_state({name: spec.shape for name, spec in parameters.items()})


def zeros_like(parameters: Mapping[str, Shape], kind: str) -> dict[str, Array]:
    """Return "<kind>/<parameter>" -> +0 of the parameter's shape."""
    return {f"{kind}/{name}": np.zeros(shape, np.float32) for name, shape in parameters.items()}


def moments(parameters: Mapping[str, Shape]) -> dict[str, Array]:
    """Return Adam's state before the first step: moments of zero, powers of one."""
    pairs = {f"{kind}/{name}": np.zeros(s, np.float32) for name, s in parameters.items() for kind in ("m", "v")}
    return {**pairs, "power/beta1": np.ones((), np.float32), "power/beta2": np.ones((), np.float32)}
