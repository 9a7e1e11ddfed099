"""Standard scaling: constants fitted once over the training rows, applied as exact f32 operations ever after."""

import math

import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.prepared import (
    ONE_BITS,
    CategoricalColumn,
    ClassTarget,
    Column,
    NumberTarget,
    NumericColumn,
    Prepared,
    f32_bits,
)

DEVIATION_MIN = 1e-30
"""A column that varies less is taken as constant: 1 / deviation would leave the range of f32."""


def fit_numbers(values: F32) -> tuple[int, int, int]:
    """Return the bits of (mean, std, 1 / std) of a vector of finite f32, population standard deviation.

    Sums are exact before their one rounding (math.fsum), so the constants do not depend on the order of rows. A
    constant column, or no rows, gives std 1.
    """
    numbers = [float(value) for value in values]
    if not numbers:
        return 0, ONE_BITS, ONE_BITS
    mean = math.fsum(numbers) / len(numbers)
    deviation = math.sqrt(math.fsum((number - mean) * (number - mean) for number in numbers) / len(numbers))
    if deviation < DEVIATION_MIN:
        deviation = 1.0
    return f32_bits(mean), f32_bits(deviation), f32_bits(1.0 / deviation)


def fit_features(prepared: Prepared, raw: F32) -> Prepared:
    """Return `prepared` with its numeric columns scaled to mean 0 and deviation 1 over the rows of `raw`
    (rows, width)."""
    columns: list[Column] = []
    at = 0
    for column in prepared.columns:
        if isinstance(column, CategoricalColumn):
            columns.append(column)
            at += len(column.categories)
        else:
            mean, _, inverse = fit_numbers(raw[:, at])
            columns.append(NumericColumn(column.name, mean, inverse))
            at += 1
    return Prepared(tuple(columns), prepared.target)


def fit_target(prepared: Prepared, raw: F32) -> Prepared:
    """Return `prepared` with its number targets scaled over the rows of `raw` (rows, outputs)."""
    target = prepared.target
    if isinstance(target, ClassTarget):
        return prepared
    fitted = [fit_numbers(raw[:, at]) for at in range(len(target.names))]
    mean, std, inverse = (tuple(row[part] for row in fitted) for part in range(3))
    return Prepared(prepared.columns, NumberTarget(target.names, mean, std, inverse))


def scale_features(prepared: Prepared, raw: F32) -> F32:
    """Return (raw - mean) * inverse_std, shape (rows, width). Raises LocalError naming a column that leaves f32."""
    means: list[int] = []
    inverses: list[int] = []
    for column in prepared.columns:
        count = len(column.categories) if isinstance(column, CategoricalColumn) else 1
        means += [column.mean_bits if isinstance(column, NumericColumn) else 0] * count
        inverses += [column.inverse_std_bits if isinstance(column, NumericColumn) else ONE_BITS] * count
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: F32 = (raw - constants(means)) * constants(inverses)
    if not np.isfinite(scaled).all():
        at = int(np.argwhere(~np.isfinite(scaled))[0][1])
        raise LocalError(f"feature {at + 1} leaves the range of 32-bit floats when scaled; rescale or drop its column")
    return scaled


def scale_targets(target: NumberTarget, raw: F32) -> F32:
    """Return (raw - mean) * inverse_std, shape (rows, outputs). Raises LocalError when a value leaves f32."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: F32 = (raw - constants(target.mean_bits)) * constants(target.inverse_std_bits)
    if not np.isfinite(scaled).all():
        raise LocalError(f"target {target.names[0]!r} leaves the range of 32-bit floats when scaled; rescale it")
    return scaled


def unscale_targets(target: NumberTarget, outputs: F32) -> F32:
    """Return outputs * std + mean: predictions in the units of the data."""
    with np.errstate(over="ignore", invalid="ignore"):
        values: F32 = outputs * constants(target.std_bits) + constants(target.mean_bits)
    return values


def constants(patterns: list[int] | tuple[int, ...]) -> F32:
    """Return bit patterns as a vector of f32."""
    return np.array(patterns, dtype=np.uint32).view(np.float32)
