"""What a function of tensors gives for arrays, by the reference."""

from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.initializers import uniform
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Tensor, spec_of, trace

RTOL, ATOL = 1e-5, 1e-6
"""Some hundred f32 roundings of values near one."""


def evaluate(function: Callable[..., Tensor], *arrays: Array) -> Array:
    """The result of one traced function."""
    inputs = {f"a{i}": array for i, array in enumerate(arrays)}
    graph = trace(lambda **tensors: function(*tensors.values()), {name: spec_of(a) for name, a in inputs.items()})
    return ReferenceBackend().compile(graph)(inputs)["output"]


def assert_close(found: Array, expected: Array) -> None:
    """Equal shapes and values within the tolerance of this module."""
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=ATOL)


def drawn(*shape: int, name: str = "", limit: float = 2.0) -> Array:
    """Uniform in [-limit, limit)."""
    return uniform(0, f"functions/{name}", shape, limit)
