"""One function in every backend against the reference, on values many of which are special."""

from collections.abc import Callable

import numpy as np
from random_graphs import SPECIAL, differing_steps, outcome

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.ir import DType, Graph
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import NUMPY_DTYPES, Spec, trace

Specs = dict[str, Spec]


def values_for(graph: Graph, seed: int, below: int = 4) -> dict[str, Array]:
    """Normal numbers with every fifth a special one; i32 inputs are indices below `below`, u32 any words."""
    generator = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for name, index in graph.inputs.items():
        node = graph.nodes[index]
        if node.dtype is DType.F32:
            plain = (generator.standard_normal(node.shape) * 3).astype(np.float32)
            special = generator.choice(SPECIAL, node.shape)
            values[name] = np.where(generator.random(node.shape) < 0.2, special, plain).astype(np.float32)
        else:
            high = below if node.dtype is DType.I32 else 1 << 32
            values[name] = generator.integers(0, high, node.shape).astype(NUMPY_DTYPES[node.dtype])
    return values


def check(backends: list[Backend], function: Callable[..., object], specs: Specs, below: int = 4) -> None:
    graph = trace(function, specs)  # type: ignore[arg-type]
    for seed in range(2):
        values = values_for(graph, seed, below)
        expected = outcome(ReferenceBackend(), graph, values)
        for number, backend in enumerate(backends):
            assert differing_steps(expected, outcome(backend, graph, values)) == [], f"backend {number}, {specs}"
