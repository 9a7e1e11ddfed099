"""Optimizers by name, each with the learning rate that suits most small networks."""

from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.adaptive import Adagrad, Adam, Lion, RMSprop
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Nesterov, Optimizer
from synaptic_mesh.engine.resilient import IRpropMinus, Quickprop
from synaptic_mesh.engine.schedules import Rate, Schedule

OPTIMIZERS: dict[str, tuple[Callable[[Rate], Optimizer], float]] = {
    "sgd": (SGD, 0.3),
    "momentum": (Momentum, 0.03),
    "nesterov": (Nesterov, 0.03),
    "adagrad": (Adagrad, 0.05),
    "rmsprop": (RMSprop, 0.003),
    "adam": (Adam, 0.003),
    "adamw": (AdamW, 0.003),
    "lion": (Lion, 0.001),
    "irprop-": (lambda rate: IRpropMinus(_constant("irprop-", rate)), 0.1),
    "quickprop": (lambda rate: Quickprop(_constant("quickprop", rate)), 0.3),
}
"""Name -> (from a learning rate to the optimizer, usual rate). For irprop- the rate is the first step."""


def make_optimizer(name: str, learning_rate: Rate | None = None) -> Optimizer:
    """Return the optimizer of this name, with its usual rate when none is given. Raises LocalError."""
    if name not in OPTIMIZERS:
        raise LocalError(f"optimizer {name!r} is not known; choose one of {', '.join(OPTIMIZERS)}")
    build, usual = OPTIMIZERS[name]
    return build(usual if learning_rate is None else learning_rate)


def _constant(name: str, rate: Rate) -> float:
    if isinstance(rate, Schedule):
        raise LocalError(f"optimizer {name!r} finds its own steps: give it a number and no schedule")
    return rate
