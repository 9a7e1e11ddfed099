"""Products that threads share in WebAssembly: the same bits whoever takes which part."""

import numpy as np
import pytest
from broken_environment import rounding_upward
from random_graphs import differences

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.bench.engine_suite import classifier_step, step_data
from synaptic_mesh.engine import fusion
from synaptic_mesh.engine.abi import ASSIST_EXPORT, HELPER_IDLE
from synaptic_mesh.engine.executors.contraction import multiply_ascending
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.engine.wasm import compiler
from synaptic_mesh.engine.wasm.parts import CLOSED, job_word
from synaptic_mesh.engine.wasm.wat import module_text
from synaptic_mesh.workers.pool import word_view
from synaptic_mesh.workers.wasm_runtime import WasmBackend, WasmProgram

COUNTS = (1, 2, 4)


@pytest.fixture
def everything_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "STRIP_RIGHT_ELEMENTS_MAX", 0)
    monkeypatch.setattr(compiler, "SHARED_PRODUCT_MIN", 1)
    monkeypatch.setattr(compiler, "SHARED_ROWS_MIN", 4)


def operands() -> tuple[F32, F32]:
    random = np.random.default_rng(5)
    return random.standard_normal((150, 70), np.float32), random.standard_normal((70, 130), np.float32)


def product_graph() -> Graph:
    return trace(lambda a, b: a @ b, {"a": f32(150, 70), "b": f32(70, 130)})


def prepared(threads: int) -> WasmProgram:
    program = WasmBackend(threads=threads).compile(product_graph())
    for name, array in zip("ab", operands(), strict=True):
        program.write(name, array)
    return program


def expected() -> bytes:
    a, b = operands()
    return multiply_ascending(a.T, b).tobytes()


@pytest.mark.usefixtures("everything_is_shared")
@pytest.mark.parametrize("threads", COUNTS)
def test_a_shared_product(threads: int) -> None:
    with prepared(threads) as program:
        for _ in range(20):
            program.run_many(3)
            assert program.read("output").tobytes() == expected()


@pytest.mark.usefixtures("everything_is_shared")
def test_a_helper_can_do_all_of_it_in_its_own_workspace_and_environment() -> None:
    with prepared(4) as program:
        word, parts = word_view(program._bytes), -(-150 // 20)
        assist = program._instances[3].call(ASSIST_EXPORT)
        word[0] = job_word(0, parts)
        assert rounding_upward(lambda: assist(3)) == HELPER_IDLE
        assert word[0] == job_word(0, parts) + parts
        program._has_run = True
        assert program.read("output").tobytes() == expected()
        word[0] = np.uint64(CLOSED % (1 << 32))
        assert assist(3) == 0


@pytest.mark.usefixtures("everything_is_shared")
@pytest.mark.parametrize("threads", COUNTS[1:])
def test_golden_vectors_random_graphs_and_training_steps(threads: int) -> None:
    backend = WasmBackend(threads=threads)
    assert check_backend(backend) == []
    wrong, _ = differences(range(7000, 7010), 16, [backend])
    assert not wrong, "\n".join(wrong[:10])
    assert trained(threads) == trained(1)


@pytest.mark.long
@pytest.mark.usefixtures("everything_is_shared")
def test_many_random_graphs_with_threads() -> None:
    wrong, _ = differences(range(30_000, 30_400), 22, [WasmBackend(threads=threads) for threads in COUNTS[1:]])
    assert not wrong, "\n".join(wrong[:10])


def trained(threads: int) -> dict[str, bytes]:
    parameters, x, y = step_data()
    with WasmBackend(threads=threads).compile(classifier_step()) as program:
        for name, array in (*parameters.items(), ("x", x), ("y", y)):
            program.write(name, array)
        program.run_many(5)
        return {name: program.read(name).tobytes() for name in program.graph.outputs}


def test_small_products_keep_a_memory_of_their_own() -> None:
    compiled = compiler.compile_graph(product_graph(), 4)
    assert compiled.threads == 1
    assert "shared" not in module_text(compiled.module)
    assert compiled.wasm == compiler.compile_graph(product_graph()).wasm


@pytest.mark.usefixtures("everything_is_shared")
def test_the_text_shows_the_imported_memory() -> None:
    assert '(import "env" "memory") ' in module_text(compiler.compile_graph(product_graph(), 2).module)
