"""The learning rate of an optimizer, looked up and changed through whatever is wrapped around it."""

import math
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.gradient_rules import ClipByGlobalNorm, ClipByValue, WeightDecay
from synaptic_mesh.engine.optimizers import Optimizer
from synaptic_mesh.engine.schedules import Schedule

Wrapper = ClipByGlobalNorm | ClipByValue | WeightDecay


def check_optimizer(optimizer: Any) -> None:
    """Raise LocalError unless this is an optimizer whose rate, if it is a number, can be one."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
        name = optimizer.__name__ if isinstance(optimizer, type) else repr(optimizer)
        raise LocalError(
            f"optimizer {name} is no optimizer; give a name such as 'adam', or an object such as Adam(0.01)"
        )
    while isinstance(optimizer, Wrapper):
        optimizer = optimizer.optimizer
    rate = getattr(optimizer, "learning_rate", None)
    if rate is None or isinstance(rate, Schedule):
        return
    if not isinstance(rate, float | int | np.number) or not 0 <= rate < math.inf:
        raise LocalError(f"learning rate {rate!r} must be a finite number of at least 0")


def rate_of(optimizer: Optimizer) -> float:
    """Return the rate. Raises LocalError when a schedule or the optimizer itself decides it."""
    while isinstance(optimizer, Wrapper):
        optimizer = optimizer.optimizer
    rate = getattr(optimizer, "learning_rate", None)
    if isinstance(rate, Schedule):
        raise LocalError("a schedule decides the learning rate step by step; leave out callbacks that change it")
    if rate is None:
        raise LocalError(f"{type(optimizer).__name__} finds its own steps and has no learning rate")
    return float(rate)


def with_rate(optimizer: Optimizer, rate: float) -> Optimizer:
    """Return the same optimizer with another rate. Raises LocalError as `rate_of`."""
    if isinstance(optimizer, Wrapper):
        return msgspec.structs.replace(optimizer, optimizer=with_rate(optimizer.optimizer, rate))
    rate_of(optimizer)
    changed: Optimizer = msgspec.structs.replace(optimizer, learning_rate=rate)  # type: ignore[type-var]
    check_optimizer(changed)
    return changed
