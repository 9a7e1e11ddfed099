"""How a job trains: inner steps on a shard, outer steps over the mesh, and the numbers of both optimizers.

The defaults were tuned on the digits with five workers of which one never counts; tests/training/test_learning.py
repeats that for ten seeds.
"""

import math
from collections.abc import Mapping

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.optimizer_names import OPTIMIZERS, make_optimizer
from synaptic_mesh.ledger.manifest import OuterRule
from synaptic_mesh.training.prepared import f32_bits

STEPS_MAX = 10_000
BATCH_MAX = 65_536
WORKERS_AVERAGED_MIN = 4
"""From so many workers on, averaging their updates replaces inner steps of each."""


class Hyperparameters(msgspec.Struct, frozen=True):
    """Checked once, by `check_hyperparameters`; written into the job as graph constants and f32 bit patterns."""

    batch: int = 16
    """Rows of one inner step. Smaller ones generalise better here, larger ones use the kernels better."""
    inner_steps: int = 40
    """Optimizer steps of one worker in one outer step (H of DiLoCo, arXiv:2311.08105)."""
    outer_steps: int = 12
    optimizer: str = "sgd"
    """The inner optimizer, a name of engine/optimizer_names.py; its state starts anew in every outer step."""
    learning_rate: float = 0.4
    outer_learning_rate: float = 1.0
    outer_momentum: float = 0.6
    aggregation: str = "centered-clip"
    """Or "mean"."""
    clip_factor: float = 1.5
    """Deltas are clipped to this multiple of their median norm."""
    clip_iterations: int = 3


def digits_hyperparameters(workers: int) -> Hyperparameters:
    """Return the defaults for the digits: for a mesh of `workers`, of which one may be lying, or for one alone."""
    if workers >= WORKERS_AVERAGED_MIN:
        return Hyperparameters()
    return Hyperparameters(
        inner_steps=60, outer_steps=20, learning_rate=0.3, outer_learning_rate=0.5, outer_momentum=0.3
    )


def table_hyperparameters(shard_rows: int, task: str = "classify", parameters: int = 0) -> Hyperparameters:
    """Return the defaults for data that nobody has tuned on: AdamW, two passes over a shard in an outer step within
    bounds. Numbers fitted by a model with more `parameters` than rows get fewer and smaller steps: small tables with
    noise overfit sooner.
    """
    batch = max(1, min(32, shard_rows // 4))
    is_gentle = task == "regress" and parameters > shard_rows
    rate, outer, inner_min = (0.001, 12, 10) if is_gentle else (0.003, 20, 25 if task == "regress" else 10)
    inner = min(100, max(inner_min, 2 * shard_rows // batch))
    return Hyperparameters(
        batch=batch, inner_steps=inner, outer_steps=outer, optimizer="adamw", learning_rate=rate, outer_momentum=0.3
    )


def choose_hyperparameters(defaults: Hyperparameters, choices: Mapping[str, int | float | str]) -> Hyperparameters:
    """Return the defaults with the user's choices. Raises LocalError for a value or name that is not known.

    A learning rate fits one optimizer only: whoever changes the optimizer and states no rate gets that optimizer's.
    """
    unknown = sorted(set(choices) - set(Hyperparameters.__struct_fields__))
    if unknown:
        raise LocalError(
            f"hyperparameter {unknown[0]!r} is not known; there are {', '.join(Hyperparameters.__struct_fields__)}"
        )
    name = str(choices.get("optimizer", defaults.optimizer))
    other = name != defaults.optimizer and name in OPTIMIZERS
    rate = OPTIMIZERS[name][1] if other else defaults.learning_rate
    chosen = msgspec.structs.replace(defaults, **{"learning_rate": rate, **choices})
    check_hyperparameters(chosen)
    return chosen


def outer_rule(hyperparameters: Hyperparameters) -> OuterRule:
    """Return the rule of the manifest: DiLoCo with the given constants as f32 bit patterns."""
    return OuterRule(
        optimizer="diloco",
        learning_rate_bits=f32_bits(hyperparameters.outer_learning_rate),
        momentum_bits=f32_bits(hyperparameters.outer_momentum),
        aggregation=hyperparameters.aggregation,
        clip_factor_bits=f32_bits(hyperparameters.clip_factor),
        clip_iterations=hyperparameters.clip_iterations,
    )


def check_hyperparameters(hyperparameters: Hyperparameters) -> None:
    """Raise LocalError naming the first value that is out of range."""
    for name, most in (("batch", BATCH_MAX), ("inner_steps", STEPS_MAX), ("outer_steps", STEPS_MAX)):
        value = getattr(hyperparameters, name)
        if not 1 <= value <= most:
            raise LocalError(f"{name} {value} must be from 1 to {most}")
    for name in ("learning_rate", "outer_learning_rate", "clip_factor"):
        value = getattr(hyperparameters, name)
        if not (math.isfinite(value) and 1e-30 < value < 1e30):
            raise LocalError(f"{name} {value} must be a number above 1e-30 and below 1e30")
    if not 0 <= hyperparameters.outer_momentum < 1:
        raise LocalError(f"outer_momentum {hyperparameters.outer_momentum} must be at least 0 and below 1")
    make_optimizer(hyperparameters.optimizer, hyperparameters.learning_rate)
