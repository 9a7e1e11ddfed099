"""The runtime around the native emitter: trust, values, invalid steps, carried state, the cache, what objects need."""

import ctypes
import ctypes.util
import mmap
import platform
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small_graphs import classifier_step, counter

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine import golden
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.native import compiler
from synaptic_mesh.engine.native.compiler import compile_native
from synaptic_mesh.engine.native.environment import environment_declarations, guarded_entry
from synaptic_mesh.engine.native.profile import AVX2, NEON, SSE2
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.trace import Builder, Tensor, exp, f32, floor, gather, i32, matmul, tanh, trace
from synaptic_mesh.workers import native_runtime
from synaptic_mesh.workers.arena_program import ENVIRONMENT_CHANGED
from synaptic_mesh.workers.compiling_backend import LOADED_MAX
from synaptic_mesh.workers.explain import explain_native
from synaptic_mesh.workers.float_environment import restore_default
from synaptic_mesh.workers.native_runtime import (
    HUGE_PAGE_BYTES,
    NativeBackend,
    allocate,
    host_profiles,
    open_native_backend,
)
from synaptic_mesh.workers.program_cache import CachedProgram, ProgramCache

llvm = pytest.importorskip("llvmlite.binding")
ONE = np.ones(3, np.float32)


def flush_to_zero() -> None:
    """Make this thread flush subnormals, results and inputs. Knows where MXCSR lies in x86-64's fenv_t."""
    state = (ctypes.c_uint8 * 64)()
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    library.fegetenv(state)
    state[28:32] = list((int.from_bytes(bytes(state[28:32]), "little") | 0x8040).to_bytes(4, "little"))
    library.fesetenv(state)


@pytest.fixture(scope="module")
def backend() -> NativeBackend:
    return NativeBackend()


@pytest.mark.slow
def test_trust_is_given_only_after_the_golden_vectors(backend: NativeBackend) -> None:
    assert backend.trust is Trust.TOLERANT
    assert open_native_backend().trust is Trust.EXACT


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(host_profiles())))
def test_every_width_of_this_machine_has_the_golden_bits(number: int) -> None:
    wide = NativeBackend(profile=host_profiles()[number])
    wide.qualify()
    assert wide.trust is Trust.EXACT


def test_small_graphs_are_served_by_a_narrow_profile_that_is_qualified_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = host_profiles()[-1]._replace(name="narrow")
    monkeypatch.setattr(native_runtime, "small_profile", lambda _: narrow)
    backend = NativeBackend()
    backend.qualify_on_demand()
    small, large = trace(lambda x: exp(x), {"x": f32(3)}), trace(lambda x: exp(x), {"x": f32(1000)})
    assert (backend.serving(large), backend.serving(small).profile) == (backend, narrow)
    assert NativeBackend(profile=host_profiles()[0]).serving(small).profile == host_profiles()[0]
    x = np.ones(3, np.float32)
    assert (
        backend.compile(small)({"x": x})["output"].tobytes()
        == ReferenceBackend().compile(small)({"x": x})["output"].tobytes()
    )
    key = "elementwise:out/tanh"
    monkeypatch.setitem(golden.DIGESTS, key, "0" * golden.DIGEST_CHARS)
    with pytest.raises(ResourceError, match="narrow"):
        backend.compile(trace(lambda x: tanh(x), {"x": f32(3)}))


@pytest.mark.slow
def test_a_machine_with_other_bits_gets_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(key for key in golden.DIGESTS if ":out/" in key)
    monkeypatch.setitem(golden.DIGESTS, key, "0" * golden.DIGEST_CHARS)
    fresh = NativeBackend()
    with pytest.raises(ResourceError, match="1 golden vectors"):
        fresh.qualify()
    assert fresh.trust is Trust.TOLERANT


def test_without_llvmlite_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_runtime, "llvm", None)
    with pytest.raises(LocalError, match="pip install llvmlite"):
        open_native_backend()


def test_carried_state_moves_on_and_inputs_stay(backend: NativeBackend) -> None:
    with backend.compile(counter()) as program:
        program.write("x", ONE * 2)
        for _ in range(3):
            program.run()
        assert program.read("w").tolist() == [6, 6, 6]
        assert program.read("loss") == 24
        program.run_many(1000)
        assert program.read("w").tolist() == [2006] * 3
        program.run_many(0)
        assert program.read("w").tolist() == [2006] * 3
        with pytest.raises(LocalError, match="-1 steps"):
            program.run_many(-1)


def test_invalid_steps_are_judged_one_by_one(backend: NativeBackend) -> None:
    with backend.compile(counter()) as program:
        program.write("x", ONE * np.float32(np.inf))
        with pytest.raises(StepInvalid, match="not finite"):
            program.run()
        assert program({"w": ONE, "x": ONE})["loss"] == 3


def test_an_index_out_of_range_makes_the_step_invalid_and_loads_nothing(backend: NativeBackend) -> None:
    graph = trace(lambda table, index: gather(table, index), {"table": f32(4, 3), "index": i32(2)})
    with backend.compile(graph) as program:
        for bad in (-1, 4, 1 << 30, -(1 << 31)):
            program.write("index", np.array([0, bad], np.int32))
            with pytest.raises(StepInvalid, match="out of range"):
                program.run()
        program.write("index", np.array([0, 3], np.int32))
        program.run()


@pytest.mark.parametrize("size", [1, 5, 16, 33, 260])
def test_a_checked_output_is_looked_at_to_its_last_element(size: int) -> None:
    def values(x: Tensor) -> dict[str, Tensor]:
        return {"fused": x * 2.0, "summed": x.reshape(size, 1).sum(1)}

    for profile in host_profiles():
        for name in ("fused", "summed"):
            with NativeBackend(profile=profile).compile(trace(values, {"x": f32(size)}, checked=[name])) as program:
                x = np.ones(size, np.float32)
                program({"x": x})
                for at in {0, size // 2, size - 1}:
                    bad = x.copy()
                    bad[at] = np.nan
                    with pytest.raises(StepInvalid):
                        program({"x": bad})


def test_two_programs_of_one_graph_share_the_code_but_no_memory(backend: NativeBackend) -> None:
    graph = counter()
    with backend.compile(graph) as one, backend.compile(graph) as other:
        assert backend.load(graph) is backend.load(graph)
        one.write("x", ONE)
        one.run()
        assert other.read("x").tolist() == [0, 0, 0]
        assert one.memory_digest() != other.memory_digest()


def test_a_closed_program_refuses_calls(backend: NativeBackend) -> None:
    program = backend.compile(counter())
    program.close()
    program.close()
    with pytest.raises(LocalError, match="closed"):
        program.run()


def test_arenas_start_on_a_line_of_64_bytes(backend: NativeBackend) -> None:
    with backend.compile(counter()) as program:
        assert program._address % 64 == 0


def test_a_changed_environment_voids_the_run(backend: NativeBackend) -> None:
    with backend.compile(counter()) as program:
        program._execute = lambda _: ENVIRONMENT_CHANGED
        with pytest.raises(ResourceError, match="discarded"):
            program.run()


@pytest.mark.parametrize(("mode", "flags"), [(0x1F80, 1), (0x9F80, 5), (0x1FC0, 5), (0x5F80, 5)])
def test_the_entry_sets_the_environment_and_notices_a_change(backend: NativeBackend, mode: int, flags: int) -> None:
    """A body that leaves `mode` in the control register, on a thread of its own: the last three flush or round."""
    if backend.profile == NEON:
        pytest.skip("the body is written for x86-64")
    body = f"""define internal i32 @body(ptr %arena, i64 %steps) nounwind noinline {{
  %was = getelementptr i8, ptr %arena, i64 4
  call void @llvm.x86.sse.stmxcsr(ptr %was)
  %word = alloca i32
  store i32 {mode}, ptr %word
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  ret i32 1
}}
define void @init(ptr %arena) {{
  ret void
}}
"""
    text = environment_declarations(backend.profile) + body + guarded_entry("run", "body", 4, backend.profile)
    loaded = backend._open(CachedProgram(b"", backend.assemble(text), {}, {}, 64))
    words = np.zeros(2, np.uint32)
    found: list[int] = []

    def scenario() -> None:
        flush_to_zero()
        found.append(loaded.run(words.ctypes.data, 1))
        restore_default()

    thread = threading.Thread(target=scenario)
    thread.start()
    thread.join()
    assert found == [flags]
    assert words[1] & 0xFFC0 == 0x1F80


def test_only_short_steps_keep_the_interpreters_lock(backend: NativeBackend) -> None:
    """What ctypes calls so lets no other thread run; a step of a millisecond would stop a whole node."""

    def is_locked(graph: Graph) -> bool:
        with backend.compile(graph) as program:
            return isinstance(program._single_step().func, native_runtime._LOCKED)  # type: ignore[attr-defined]

    assert is_locked(counter())
    assert not is_locked(trace(lambda x: x @ x, {"x": f32(128, 128)}))


def test_a_prepared_function_refuses_an_invalid_step(backend: NativeBackend) -> None:
    with backend.compile(counter()) as program:
        step = program.function(["x"], ["loss"])
        step(ONE)
        with pytest.raises(StepInvalid, match="not finite"):
            step(np.full(3, np.nan, np.float32))


def test_a_prepared_function_does_what_write_run_and_read_do(backend: NativeBackend) -> None:
    with backend.compile(counter()) as program:
        step = program.function(["x"], ["loss", "w"])
        step(ONE)
        loss, w = step(2 * ONE)
        assert loss == 6
        assert w.tolist() == [3, 3, 3]
        for bad in (np.ones(4, np.float32), np.ones(3)):
            with pytest.raises(LocalError, match=r"input 'x' is float32 \(3,\)"):
                step(bad)
        with pytest.raises(TypeError, match="1 positional argument but 2"):
            step(ONE, ONE)
        with pytest.raises(LocalError, match="no input 'y'"):
            program.function(["y"], [])
        with pytest.raises(LocalError, match="no output 'x'"):
            program.function([], ["x"])
    with pytest.raises(LocalError, match="closed"):
        step(ONE)


def test_the_cache_saves_the_compilation_and_a_damaged_entry_is_rebuilt(tmp_path: Path) -> None:
    graph = counter()
    NativeBackend(ProgramCache(tmp_path / "c")).compile(graph).close()
    cache = ProgramCache(tmp_path / "c")
    with NativeBackend(cache).compile(graph) as program:
        assert program({"w": ONE, "x": ONE})["w"].tolist() == [2, 2, 2]
    assert cache.hits == 1
    (entry,) = (tmp_path / "c").iterdir()
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 0x10
    entry.write_bytes(data)
    damaged = ProgramCache(tmp_path / "c")
    with NativeBackend(damaged).compile(graph) as program:
        assert program({"w": ONE, "x": ONE})["w"].tolist() == [2, 2, 2]
    assert len(damaged.rebuilt) == 1


def test_an_object_that_llvm_refuses_is_rebuilt(tmp_path: Path) -> None:
    graph = counter()
    cache = ProgramCache(tmp_path / "c")
    first = NativeBackend(cache).serving(graph)
    built = first.load(graph).layout
    key = first._key(graph_digest(graph))
    cache.store(key, type(built)(b"", b"not an object", built.inputs, built.outputs, built.arena_bytes))
    with NativeBackend(cache).compile(graph) as program:
        program.run()
    assert "LLVM refused it" in cache.rebuilt[0]


def test_a_system_that_forbids_code_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cannot allocate memory")

    backend = NativeBackend()
    monkeypatch.setattr(llvm.JITLibraryBuilder, "link", refuse)
    with pytest.raises(ResourceError, match="use wasm here: cannot allocate memory"):
        backend.compile(counter())


def test_a_processor_that_llvm_cannot_ask_gets_the_least_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr(llvm, "get_host_cpu_features", refuse)
    assert host_profiles() in ([SSE2], [NEON])


def test_widths_do_not_share_cache_entries(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path / "c")
    for profile in host_profiles():
        NativeBackend(cache, profile).compile(counter()).close()
    assert cache.hits == 0
    assert len(list((tmp_path / "c").iterdir())) == len(host_profiles())


# --- what objects contain ---------------------------------------------------------------------------------------------


def everything() -> Graph:
    """A packed product, an unpacked one, rounding, a polynomial and reductions."""
    return trace(
        lambda a, b, x: {"c": matmul(a, b), "d": matmul(x, x, transpose_left=True), "e": floor(exp(x)), "s": x.sum(1)},
        {"a": f32(33, 2100), "b": f32(2100, 9), "x": f32(5, 7)},
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
@pytest.mark.parametrize("number", range(len(host_profiles())))
def test_an_object_needs_no_symbol_from_outside(number: int) -> None:
    backend = NativeBackend(profile=host_profiles()[number])
    for graph in (everything(), classifier_step(4, 9, 8, 3)):
        compiled = compile_native(graph, backend.profile)
        assert undefined_symbols(backend.assemble(compiled.text, compiled.joined)) == []


def test_small_steps_are_joined_and_others_are_not() -> None:
    def joined(graph: Graph) -> bool:
        return compile_native(graph, AVX2).joined

    assert joined(classifier_step(1, 16, 32, 4))
    assert joined(classifier_step(4, 9, 8, 3))
    assert not joined(classifier_step(32, 16, 32, 4))  # long enough not to wait for single results
    assert not joined(everything())
    assert not joined(trace(lambda x: {f"y{at}": (x * np.float32(at)).sum() for at in range(20)}, {"x": f32(3)}))


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
def test_passes_make_no_call_of_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = NativeBackend()
    inputs = {"a": f32(300), "b": f32(300)}
    swapped = trace(lambda a, b: {"x": b, "y": a}, inputs, carried={"a": "x", "b": "y"})
    constant = trace(lambda x: x + x.builder.array(np.arange(2500, dtype=np.float32)), {"x": f32(2500)})

    def symbols(graph: Graph) -> list[str]:
        compiled = compile_native(graph, backend.profile)
        assert compiled.joined
        return undefined_symbols(backend.assemble(compiled.text, compiled.joined))

    assert symbols(swapped) == symbols(constant) == []
    monkeypatch.setattr(compiler, "_NO_LIBRARY", "")
    assert symbols(swapped) == symbols(constant) == ["memcpy"]


def test_a_call_to_the_c_library_would_be_seen(backend: NativeBackend) -> None:
    text = (
        "declare float @cosf(float)\ndefine float @f(float %x) {\n %y = call float @cosf(float %x)\n ret float %y\n}\n"
    )
    if sys.platform == "linux":
        assert undefined_symbols(backend.assemble(text)) == ["cosf"]


def undefined_symbols(data: bytes) -> list[str]:
    """Names of an ELF object's symbols that no section of it defines."""
    (start,), (count,) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<H", data, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + 64 * number) for number in range(count)]
    table = next(section for section in sections if section[1] == 2)
    names = sections[table[6]][4]
    found = []
    for number in range(1, table[5] // 24):
        name, info, _, section, _, _ = struct.unpack_from("<IBBHQQ", data, table[4] + 24 * number)
        if section == 0 and info & 15 != 4:
            found.append(data[names + name : data.index(b"\0", names + name)].decode())
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 assembly")
def test_nothing_is_fused() -> None:
    backend = NativeBackend(profile=AVX2) if AVX2 in host_profiles() else NativeBackend()
    text = compile_native(everything(), backend.profile).text
    assert "vfm" not in backend.assembly(text)
    assert "fast" not in text
    if backend.profile == AVX2:
        loose = text.replace(" = fadd ", " = fadd contract ").replace(" = fmul ", " = fmul contract ")
        assert "vfm" in backend.assembly(loose)


def test_nothing_is_fused_for_aarch64() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(cpu=NEON.cpu, opt=2)
    text = compile_native(everything(), NEON).text
    assert "fmul\tv" in machine.emit_assembly(llvm.parse_assembly(text))
    assert "fmla" not in machine.emit_assembly(llvm.parse_assembly(text))
    loose = text.replace(" = fadd ", " = fadd contract ").replace(" = fmul ", " = fmul contract ")
    assert "fmla" in machine.emit_assembly(llvm.parse_assembly(loose))


def test_explain_shows_plan_text_and_assembly() -> None:
    report = explain_native(counter())
    assert report.profile == NativeBackend().serving(counter()).profile.name
    assert "fused (3,)" in report.plan
    assert "define i32 @run(ptr %arena, i64 %steps)" in report.text
    assert "run:" in report.assembly
    assert report.sizes["object_bytes"] > 0


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 9, 8, 3), (32, 784, 128, 10), (7, 16, 33, 4)])
def test_whole_training_steps_have_the_bits_of_the_reference(shape: tuple[int, int, int, int]) -> None:
    rows, features, hidden, classes = shape
    graph, random = classifier_step(*shape), np.random.default_rng(4)
    sizes = {"w1": (features, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
    values = {name: random.standard_normal(size, np.float32) * np.float32(0.1) for name, size in sizes.items()}
    values["x"] = random.standard_normal((rows, features), np.float32)
    labels = random.integers(0, classes, rows).astype(np.int32)
    programs = [NativeBackend(profile=profile).compile(graph) for profile in host_profiles()]
    expected = ReferenceBackend().compile(graph)
    for program in (expected, *programs):
        for name, array in values.items():
            program.write(name, array)
        program.write("y", labels)
        for _ in range(3):
            program.run()
    for name in graph.outputs:
        found = {program.read(name).tobytes() for program in (expected, *programs)}
        assert len(found) == 1, name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows where MXCSR lies in x86-64's fenv_t only")
def test_a_thread_that_flushes_subnormals_still_gets_the_right_bits(backend: NativeBackend) -> None:
    least = np.array([1], np.uint32).view(np.float32)
    found: list[list[float]] = []

    def scenario() -> None:
        flush_to_zero()
        with backend.compile(trace(lambda x: x * 3.0, {"x": f32(1)})) as program:
            program.write("x", least)
            program.run()
            found.append(program.read("output").view(np.uint32).tolist())

    thread = threading.Thread(target=scenario)
    thread.start()
    thread.join()
    assert found == [[3]]


def test_threads_may_share_a_backend() -> None:
    shared = NativeBackend()
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


@pytest.mark.parametrize("size", [1, 2, 15, 301])
def test_a_constant_arrives_whole(backend: NativeBackend, size: int) -> None:
    builder = Builder()
    table = np.arange(size, dtype=np.float32)
    graph = builder.finish({"y": builder.input("x", f32(size)) + builder.array(table)})
    with backend.compile(graph) as program:
        assert program({"x": np.ones(size, np.float32)})["y"].tolist() == (table + 1).tolist()


def test_large_memory_starts_on_a_huge_page_and_holds_zeros() -> None:
    memory = allocate(HUGE_PAGE_BYTES + 4097)
    assert memory.size == HUGE_PAGE_BYTES + 4097
    assert not memory.any()
    memory[-1] = 1
    if hasattr(mmap, "MADV_HUGEPAGE"):
        assert memory.ctypes.data % HUGE_PAGE_BYTES == 0
    assert allocate(100).ctypes.data % mmap.PAGESIZE == 0
