"""Trust on demand: nothing is handed out whose operations have not given the right bits, and no more is run."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.golden import cases_for
from synaptic_mesh.engine.golden_digests import DIGESTS
from synaptic_mesh.engine.golden_operations import OPERATIONS
from synaptic_mesh.engine.ir import Graph, Op
from synaptic_mesh.engine.trace import exp, f32, trace
from synaptic_mesh.workers.wasm_runtime import WasmBackend

ONE = np.ones(3, np.float32)


def sums() -> Graph:
    return trace(lambda x: x + x, {"x": f32(3)})


def exponentials() -> Graph:
    return trace(lambda x: exp(x) + x, {"x": f32(3)})


@pytest.fixture
def backend() -> WasmBackend:
    backend = WasmBackend()
    backend.qualify_on_demand()
    return backend


def test_what_is_compiled_is_exact_and_only_its_cases_run(backend: WasmBackend) -> None:
    assert backend.trust is Trust.EXACT
    assert len(backend._loaded) == 0
    assert backend.compile(sums())({"x": ONE})["output"].tolist() == [2, 2, 2]
    first = len(backend._loaded)
    assert 1 < first <= 1 + len(cases_for([Op.INPUT, Op.ADD])) < len(OPERATIONS) / 2
    backend.compile(trace(lambda x: x + x + x, {"x": f32(5)}))
    assert len(backend._loaded) == first + 1  # its operations are known already


def test_a_wrong_bit_is_met_before_the_program_is_handed_out(
    backend: WasmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DIGESTS, "elementwise:out/exp", "0" * 32)
    monkeypatch.setitem(DIGESTS, "conversions:out/to_i32", "0" * 32)
    with pytest.raises(ResourceError, match=r"WebAssembly computes 1 golden vectors differently here.*out/exp"):
        backend.load(exponentials())
    with pytest.raises(ResourceError, match="out/exp"):
        backend.compile(exponentials())  # and not only the first time


def test_every_operation_is_shown_by_a_case_that_is_valid() -> None:
    valid = [held for name, held in OPERATIONS.items() if f"{name}:out" not in DIGESTS]
    assert {op for held in valid for op in held} == {op.value for op in Op}
    for op in Op:
        assert any(op.value in OPERATIONS[name] and f"{name}:out" not in DIGESTS for name in cases_for([op])), op


def test_cases_are_the_first_of_each_operation_and_those_without_another() -> None:
    assert cases_for([]) == []
    assert cases_for([Op.INPUT, Op.MATMUL]) == ["elementwise", "matmul", "not_finite"]
    assert cases_for(list(Op)) == list(OPERATIONS)
