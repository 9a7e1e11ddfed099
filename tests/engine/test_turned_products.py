"""Products that share a transposed right operand read one turned copy of it, and no bit changes."""

import numpy as np
import pytest

from synaptic_mesh.base.arrays import canonical_bytes
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.initializers import uniform
from synaptic_mesh.engine.ir import Graph, Op
from synaptic_mesh.engine.passes import TURN_ROWS_MAX, TURN_USES_MIN, simplify
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Tensor, f32, matmul, tanh, trace
from synaptic_mesh.workers.native_runtime import open_native_backend
from synaptic_mesh.workers.wasm_runtime import WasmBackend


def recurrence(rows: int, steps: int) -> Graph:
    def build(x: Tensor, w: Tensor) -> dict[str, Tensor]:
        state = x
        for _ in range(steps):
            state = tanh(state @ w)
        found = gradients(state.sum(), [x, w])
        return {"state": state, "dx": found[0], "dw": found[1]}

    return trace(build, {"x": f32(rows, 9), "w": f32(9, 9)})


def turned_copies(graph: Graph) -> int:
    return sum(node.op is Op.TRANSPOSE for node in simplify(graph).nodes)


def test_only_many_thin_products_are_turned() -> None:
    assert turned_copies(recurrence(1, TURN_USES_MIN)) == 1
    assert turned_copies(recurrence(1, TURN_USES_MIN - 1)) == 0
    assert turned_copies(recurrence(TURN_ROWS_MAX, TURN_USES_MIN)) == 1
    assert turned_copies(recurrence(TURN_ROWS_MAX + 1, TURN_USES_MIN)) == 0
    flags = [n.attributes.transpose_right for n in simplify(recurrence(1, 5)).nodes if n.op is Op.MATMUL]
    assert flags == [False] * 11


def test_simplifying_twice_changes_nothing_more() -> None:
    once = simplify(recurrence(2, 6))
    assert simplify(once) == once


@pytest.fixture(params=["reference", "wasm", "native"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "native":
        pytest.importorskip("llvmlite")
        return open_native_backend(on_demand=True)
    return WasmBackend() if request.param == "wasm" else ReferenceBackend()


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_no_bit_changes(backend: Backend, rows: int) -> None:
    graph = recurrence(rows, 6)
    inputs = {"x": uniform(0, "turned/x", (rows, 9), 1.0), "w": uniform(0, "turned/w", (9, 9), 1.0)}
    inputs["w"][2, 3] = np.float32(1e-41)
    plain = ReferenceBackend().compile(graph)(inputs)
    for run in (backend.compile(graph), backend.compile(simplify(graph))):
        found = run(inputs)
        assert {n: canonical_bytes(a) for n, a in found.items()} == {n: canonical_bytes(a) for n, a in plain.items()}


def test_the_copy_may_be_an_output_and_serve_others_too() -> None:
    def build(x: Tensor, w: Tensor) -> dict[str, Tensor]:
        turned = w.transpose()
        products = [matmul(x * float(i), w, transpose_right=True) for i in range(5)]
        return {"turned": turned, "sum": turned.sum(0), **{f"p{i}": p for i, p in enumerate(products)}}

    graph = trace(build, {"x": f32(2, 4), "w": f32(3, 4)})
    inputs = {"x": uniform(0, "copy/x", (2, 4), 1.0), "w": uniform(0, "copy/w", (3, 4), 1.0)}
    found, expected = WasmBackend().compile(graph)(inputs), ReferenceBackend().compile(graph)(inputs)
    assert {n: canonical_bytes(a) for n, a in found.items()} == {n: canonical_bytes(a) for n, a in expected.items()}
