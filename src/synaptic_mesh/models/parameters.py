"""Initial parameters from a seed: the rule that a job's manifest implies and every attesting validator recomputes.

A tensor of rank 2 or more is uniform in [-limit, limit) with limit = sqrt(6 / fan_in), fan_in its first extent (He et
al. 2015, arXiv:1502.01852); a vector or scalar is zero. The stream depends on (seed, name), so neither the order nor
the number of other tensors matters.
"""

from collections.abc import Mapping

import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.engine.initializers import he_uniform
from synaptic_mesh.engine.ir import Shape


def initial_parameters(seed: int, shapes: Mapping[str, Shape]) -> dict[str, F32]:
    """Return the f32 tensors of these names and shapes before the first step. Raises LocalError for a fan-in of 0."""
    return {
        name: he_uniform(seed, name, shape) if len(shape) > 1 else np.zeros(shape, np.float32)
        for name, shape in shapes.items()
    }
