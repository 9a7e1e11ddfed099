"""The runtime around the emitter: trust, values, invalid steps, carried state, the cache, and what closing means."""

import ctypes
import ctypes.util
import gc
import platform
import threading
import weakref
from pathlib import Path

import msgspec
import numpy as np
import pytest
from small_graphs import counter

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine import golden
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.trace import f32, gather, i32, trace
from synaptic_mesh.engine.wasm.compiler import compile_graph
from synaptic_mesh.workers import compiling_backend, wasm_runtime
from synaptic_mesh.workers.compiling_backend import LOADED_MAX
from synaptic_mesh.workers.explain import explain
from synaptic_mesh.workers.peak import PeakLoop
from synaptic_mesh.workers.program_cache import ProgramCache
from synaptic_mesh.workers.wasm_runtime import WasmBackend, open_wasm_backend

ONE = np.ones(3, np.float32)


@pytest.fixture(scope="module")
def backend() -> WasmBackend:
    return WasmBackend()


def test_trust_is_given_only_after_the_golden_vectors(backend: WasmBackend) -> None:
    assert backend.trust is Trust.TOLERANT
    assert open_wasm_backend().trust is Trust.EXACT


def test_a_machine_with_other_bits_gets_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(key for key in golden.DIGESTS if ":out/" in key)
    monkeypatch.setitem(golden.DIGESTS, key, "0" * golden.DIGEST_CHARS)
    fresh = WasmBackend()
    with pytest.raises(ResourceError, match="1 golden vectors"):
        fresh.qualify()
    assert fresh.trust is Trust.TOLERANT


def test_carried_state_moves_on_and_inputs_stay(backend: WasmBackend) -> None:
    with backend.compile(counter()) as program:
        program.write("x", ONE * 2)
        for _ in range(3):
            program.run()
        assert program.read("w").tolist() == [6, 6, 6]
        assert program.read("x").tolist() == [2, 2, 2]
        assert program.read("loss") == 24
        program.run_many(1000)
        assert program.read("w").tolist() == [2006] * 3
        assert program({"w": ONE, "x": ONE})["w"].tolist() == [2, 2, 2]


def test_inputs_are_zero_and_outputs_missing_before_the_first_run(backend: WasmBackend) -> None:
    with backend.compile(counter()) as program:
        assert program.read("w").tolist() == [0, 0, 0]
        with pytest.raises(LocalError, match="run it first"):
            program.read("loss")
        with pytest.raises(LocalError, match="no value 'z'"):
            program.read("z")


def test_reads_are_copies(backend: WasmBackend) -> None:
    with backend.compile(counter()) as program:
        before = program({"w": ONE, "x": ONE})["w"]
        program.run()
        assert before.tolist() == [2, 2, 2]


def test_wrong_inputs_are_refused_by_name(backend: WasmBackend) -> None:
    with backend.compile(counter()) as program:
        with pytest.raises(LocalError, match=r"input 'x' is float32 \(3,\), not float32 \(4,\)"):
            program.write("x", np.ones(4, np.float32))
        with pytest.raises(LocalError, match="not float64"):
            program.write("x", np.ones(3))
        with pytest.raises(LocalError, match="no input 'loss'"):
            program.write("loss", ONE)
        with pytest.raises(LocalError, match="-1 steps"):
            program.run_many(-1)


def test_a_checked_output_that_is_not_finite_makes_the_step_invalid(backend: WasmBackend) -> None:
    with backend.compile(counter()) as program:
        program.write("x", ONE * np.float32(np.inf))
        with pytest.raises(StepInvalid, match="not finite"):
            program.run()
        assert program({"w": ONE, "x": ONE})["loss"] == 3  # and the next step is judged by itself


def test_an_index_out_of_range_makes_the_step_invalid_and_loads_nothing(backend: WasmBackend) -> None:
    graph = trace(lambda table, index: gather(table, index), {"table": f32(4, 3), "index": i32(2)})
    with backend.compile(graph) as program:
        for bad in (-1, 4, 1 << 30, -(1 << 31)):
            program.write("index", np.array([0, bad], np.int32))
            with pytest.raises(StepInvalid, match="out of range"):
                program.run()
        program.write("index", np.array([0, 3], np.int32))
        program.run()


def test_an_unlawful_or_unaffordable_graph_is_refused(backend: WasmBackend) -> None:
    with pytest.raises(LocalError, match="arena bytes"):
        backend.compile(trace(lambda x: x + 1.0, {"x": f32(1 << 28)}))
    lawful = trace(lambda x: x + 1.0, {"x": f32(3)})
    first, *others = lawful.nodes
    with pytest.raises(LocalError, match=r"node %3 add: shapes .* differ"):
        backend.compile(msgspec.structs.replace(lawful, nodes=(msgspec.structs.replace(first, shape=(4,)), *others)))


def test_the_law_is_looked_up_once_for_a_graph_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Graph] = []
    monkeypatch.setattr(compiling_backend, "verify", seen.append)
    graph = counter()
    for _ in range(3):
        WasmBackend(ProgramCache(tmp_path)).load_unqualified(graph)
    assert seen == [graph]
    monkeypatch.setattr(compiling_backend, "admit", refuse_all)
    with pytest.raises(LocalError, match="costs too much"):
        WasmBackend(ProgramCache(tmp_path)).load_unqualified(graph)


def refuse_all(_: Graph) -> None:
    raise LocalError("costs too much")


def test_two_programs_of_one_graph_share_the_module_but_no_memory(backend: WasmBackend) -> None:
    graph = counter()
    with backend.compile(graph) as one, backend.compile(graph) as other:
        assert backend.load(graph) is backend.load(graph)
        one.write("x", ONE)
        one.run()
        assert other.read("x").tolist() == [0, 0, 0]
        assert one.memory_digest() != other.memory_digest()


def test_a_closed_program_refuses_calls(backend: WasmBackend) -> None:
    program = backend.compile(counter())
    program.close()
    program.close()
    with pytest.raises(LocalError, match="closed"):
        program.run()


def test_dropping_a_program_releases_its_store(backend: WasmBackend) -> None:
    program = backend.compile(counter())
    store = weakref.ref(program._instances[0].store)
    del program
    gc.collect()
    assert store() is None


def test_a_changed_environment_voids_the_run(backend: WasmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm_runtime, "restore_default", lambda: None)
    monkeypatch.setattr(wasm_runtime, "is_default", lambda: False)
    with backend.compile(counter()) as program, pytest.raises(ResourceError, match="discarded"):
        program.run()


def test_the_cache_saves_the_compilation_and_a_damaged_entry_is_rebuilt(tmp_path: Path) -> None:
    graph = counter()
    WasmBackend(ProgramCache(tmp_path / "c")).compile(graph).close()
    warm = WasmBackend(ProgramCache(tmp_path / "c"))
    with warm.compile(graph) as program:
        assert program({"w": ONE, "x": ONE})["w"].tolist() == [2, 2, 2]
    assert warm.cache is not None
    assert warm.cache.hits == 1
    (entry,) = (tmp_path / "c").iterdir()
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 0x10
    entry.write_bytes(data)
    damaged = WasmBackend(ProgramCache(tmp_path / "c"))
    with damaged.compile(graph) as program:
        assert program({"w": ONE, "x": ONE})["w"].tolist() == [2, 2, 2]
    assert damaged.cache is not None
    assert len(damaged.cache.rebuilt) == 1
    assert ProgramCache(tmp_path / "c").load(WasmBackend()._key(graph_digest(graph))) is not None


def test_code_that_wasmtime_refuses_is_rebuilt(tmp_path: Path) -> None:
    graph = counter()
    cache = ProgramCache(tmp_path / "c")
    key = WasmBackend()._key(graph_digest(graph))
    built = WasmBackend(cache).load(graph).layout
    cache.store(key, type(built)(built.wasm, b"not machine code", built.inputs, built.outputs, built.arena_bytes))
    with WasmBackend(cache).compile(graph) as program:
        program.run()
    assert "wasmtime refused it" in cache.rebuilt[0]


def test_explain_shows_every_stage() -> None:
    report = explain(counter())
    assert "input w : f32 (3,)" in report.graph
    assert "fused (3,)" in report.plan
    assert report.wat.startswith("(module")
    assert report.sizes["module_bytes"] == len(compile_graph(counter()).wasm)
    assert report.sizes["compile_ms"] > 0


def test_the_peak_loop_runs() -> None:
    loop = PeakLoop(iterations=10)
    loop.run()
    assert loop.operations == 10 * 14 * 8 * 4


def test_two_carried_inputs_may_take_one_value(backend: WasmBackend) -> None:
    def both(a, b):  # type: ignore[no-untyped-def]
        total = a + b
        return {"p": total, "q": total}

    with backend.compile(trace(both, {"a": f32(3), "b": f32(3)}, carried={"a": "p", "b": "q"})) as program:
        program({"a": ONE, "b": ONE * 2})
        program.run()
        assert [program.read(name).tolist() for name in ("a", "b", "p", "q")] == [[6, 6, 6]] * 4


def test_carried_inputs_that_need_each_other_take_both_from_the_old_values(backend: WasmBackend) -> None:
    graph = trace(lambda a, b: {"a": a + b, "b": a - b}, {"a": f32(3), "b": f32(3)}, carried={"a": "a", "b": "b"})
    with backend.compile(graph) as program:
        assert {name: array.tolist() for name, array in program({"a": ONE * 5, "b": ONE}).items()} == {
            "a": [6, 6, 6],
            "b": [4, 4, 4],
        }


def test_layers_of_equal_shape_share_one_function() -> None:
    def layers(x, u, v, w):  # type: ignore[no-untyped-def]
        for weight in (u, v, w):
            x = x @ weight
        return x

    square = f32(8, 8)
    report = explain(trace(layers, {"x": square, "u": square, "v": square, "w": square}))
    assert report.sizes["kernels_count"] == 3
    assert report.sizes["functions_count"] == 2  # the product, and run


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows where MXCSR lies in x86-64's fenv_t only")
def test_a_thread_that_flushes_subnormals_still_gets_the_right_bits(backend: WasmBackend) -> None:
    least = np.array([1], np.uint32).view(np.float32)
    found: list[list[float]] = []

    def scenario() -> None:
        state = (ctypes.c_uint8 * 64)()
        library = ctypes.CDLL(ctypes.util.find_library("m"))
        library.fegetenv(state)
        state[28:32] = list((int.from_bytes(bytes(state[28:32]), "little") | 0x8040).to_bytes(4, "little"))
        library.fesetenv(state)
        with backend.compile(trace(lambda x: x * 3.0, {"x": f32(1)})) as program:
            program.write("x", least)
            program.run()
            found.append(program.read("output").view(np.uint32).tolist())

    thread = threading.Thread(target=scenario)
    thread.start()
    thread.join()
    assert found == [[3]]


def test_threads_may_share_a_backend() -> None:
    shared = WasmBackend()
    graphs = [trace(lambda x, n=n: x * float(n), {"x": f32(3)}) for n in range(LOADED_MAX + 8)]
    found: dict[int, list[float]] = {}

    def work(first: int) -> None:
        for n in range(first, len(graphs), 3):
            with shared.compile(graphs[n]) as program:
                found[n] = program({"x": ONE})["output"].tolist()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [n, n, n] for n in range(len(graphs))}


def test_an_empty_checked_view_is_finite_whatever_it_is_a_view_of(backend: WasmBackend) -> None:
    graph = trace(lambda x: {"y": (x / x).repeat(1, 0)}, {"x": f32(2)}, checked=["y"])
    with backend.compile(graph) as program:
        program.run()  # 0 / 0
        assert program.read("y").shape == (2, 0)
