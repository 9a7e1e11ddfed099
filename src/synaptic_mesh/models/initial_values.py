"""What parameters hold before the first step: pure functions of (seed, name, shape), the same on every machine.

All draws come from the counter-based stream of engine/initializers.py. Limits and deviations are computed in binary64
from integers by + - * / and sqrt, then rounded once to f32.
"""

import math
from typing import Protocol

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.initializers import uniform
from synaptic_mesh.engine.ir import Shape

UNIFORMS_SUMMED = 12
"""A sum of 12 uniforms of [-1/2, 1/2) has deviation 1 and, to a few per mille, the density of a normal draw."""


class Initializer(Protocol):
    """How a parameter begins."""

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """Return the values, f32 of `shape`."""


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """Every element is `value`."""

    value: float = 0.0

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        del seed, name
        return np.full(shape, self.value, np.float32)


class Uniform(msgspec.Struct, frozen=True, tag="uniform"):
    """Uniform in [-limit, limit)."""

    limit: float = 0.05

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        return uniform(seed, f"parameter/{name}", shape, self.limit)


class Normal(msgspec.Struct, frozen=True, tag="normal"):
    """Nearly normal with mean 0 and this deviation: a sum of 12 uniforms (no value is beyond 6 deviations)."""

    deviation: float = 0.02

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        total = np.zeros(shape, np.float32)
        for step in range(UNIFORMS_SUMMED):
            total = total + uniform(seed, f"parameter/{name}", shape, 0.5, step)
        scaled: F32 = total * np.float32(self.deviation)
        return scaled


class GlorotUniform(msgspec.Struct, frozen=True, tag="glorot_uniform"):
    """Uniform with limit sqrt(6 / (fan_in + fan_out)): keeps variance through tanh and linear layers. Glorot 2010."""

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        fan_in, fan_out = fans(name, shape)
        return uniform(seed, f"parameter/{name}", shape, math.sqrt(6.0 / (fan_in + fan_out)))


class HeUniform(msgspec.Struct, frozen=True, tag="he_uniform"):
    """Uniform with limit sqrt(6 / fan_in): keeps variance through relu layers. He et al. 2015, arXiv:1502.01852."""

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        return uniform(seed, f"parameter/{name}", shape, math.sqrt(6.0 / fans(name, shape)[0]))


class LecunUniform(msgspec.Struct, frozen=True, tag="lecun_uniform"):
    """Uniform with limit sqrt(3 / fan_in). LeCun et al. 1998."""

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        return uniform(seed, f"parameter/{name}", shape, math.sqrt(3.0 / fans(name, shape)[0]))


class Orthogonal(msgspec.Struct, frozen=True, tag="orthogonal"):
    """Rows (or columns, if fewer) of length `gain` at right angles, for recurrent weights. Saxe et al. 2014.

    Gram and Schmidt's method in binary64 over a Normal draw, twice; later axes are flattened.
    """

    gain: float = 1.0

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """See the class."""
        rows, columns = shape[0], math.prod(shape[1:])
        drawn = Normal(1.0)(seed, name, (max(rows, columns), min(rows, columns))).astype(np.float64)
        basis: list[Array] = []
        for vector in drawn.T:
            for _ in range(2):
                for other in basis:
                    vector = vector - _product(vector, other) * other
            basis.append(vector / math.sqrt(_product(vector, vector)))
        found = np.stack(basis, axis=1)
        square = found if rows >= columns else found.T
        values: F32 = (square.reshape(shape) * self.gain).astype(np.float32)
        return values


class Given(msgspec.Struct, frozen=True, eq=False):
    """Values that were trained elsewhere."""

    values: F32

    def __call__(self, seed: int | bytes, name: str, shape: Shape) -> F32:
        """Return the values. Raises LocalError when another shape is asked for."""
        del seed
        if self.values.shape != shape:
            raise LocalError(f"parameter {name!r} has values of shape {self.values.shape}, the layer needs {shape}")
        return self.values


AnyInitializer = Constant | Uniform | Normal | GlorotUniform | HeUniform | LecunUniform | Orthogonal
"""Those that a saved network can name."""


def fans(name: str, shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out): (in, out) of a matrix; a kernel (out, in, *extents) counts its extents for both.

    Raises LocalError when there is nothing to scale by.
    """
    if len(shape) <= 2:
        found = (shape[0], shape[-1]) if shape else (1, 1)
    else:
        window = math.prod(shape[2:])
        found = (shape[1] * window, shape[0] * window)
    if min(found) < 1:
        raise LocalError(f"parameter {name!r} of shape {shape} leaves nothing to scale by")
    return found


def _product(a: Array, b: Array) -> float:
    return math.fsum((a * b).tolist())
