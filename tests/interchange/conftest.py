"""A network traced and run once."""

from collections.abc import Callable

import numpy as np
import pytest

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Builder, spec_of
from synaptic_mesh.models.scope import Network, Scope

Run = Callable[..., F32]


@pytest.fixture
def run_network() -> Run:
    """Return what a network gives for x, with its initial parameters replaced by those given."""

    def run(network: Network, x: F32, parameters: dict[str, F32] | None = None) -> F32:
        builder = Builder()
        scope = Scope(builder)
        graph = builder.finish({"y": network(scope, builder.input("x", spec_of(x)))})
        program = ReferenceBackend().compile(graph)
        program.write("x", x)
        for name, parameter in scope.record.parameters.items():
            value = (parameters or {}).get(name)
            program.write(name, parameter.initializer(1, name, parameter.shape) if value is None else value)
        program.run()
        return np.asarray(program.read("y"), np.float32)

    return run
