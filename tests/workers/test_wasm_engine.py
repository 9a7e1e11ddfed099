"""Room for many instances at once: all of it usable, one more refused, the same bits."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers.wasm_engine import INSTANCES_MAX, new_engine
from synaptic_mesh.workers.wasm_runtime import WasmBackend


def test_a_pool_holds_as_many_instances_as_were_asked_for() -> None:
    backend = WasmBackend(instances=120)
    graph = trace(lambda x: x + 1.0, {"x": f32(3)})
    programs = [backend.compile(graph) for _ in range(120)]
    with pytest.raises(ResourceError, match="no memory"):
        backend.compile(graph)
    for number, program in enumerate(programs):
        program.write("x", np.full(3, number, np.float32))
        program.run()
    assert [float(program.read("output")[0]) for program in programs] == [number + 1.0 for number in range(120)]
    programs[7].close()
    with backend.compile(graph) as again:  # a place that was used before holds zeros
        assert again.read("x").tolist() == [0.0, 0.0, 0.0]


def test_a_pool_changes_no_bit() -> None:
    assert check_backend(WasmBackend(instances=2)) == []


def test_impossible_pools_are_refused() -> None:
    for instances in (-1, INSTANCES_MAX + 1):
        with pytest.raises(LocalError, match="choose 0"):
            new_engine(1, instances)
