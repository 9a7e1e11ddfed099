"""Products that threads share: the same bits whoever takes which part, with helpers that come, come late, or do not."""

import os
import subprocess
import sys
import threading

import numpy as np
import numpy.typing as npt
import pytest
from broken_environment import rounding_upward
from random_graphs import differences

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.bench.engine_suite import classifier_step, step_data
from synaptic_mesh.engine import fusion
from synaptic_mesh.engine.abi import HELPER_IDLE, HELPERS_INSIDE, INSIDE_OFFSET, WORD_CLOSED
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.executors.contraction import multiply_ascending
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.native import compiler, gemm
from synaptic_mesh.engine.native.parts import job_word
from synaptic_mesh.engine.native.profile import AVX2, AVX512
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers import pool
from synaptic_mesh.workers.native_runtime import NativeBackend, NativeProgram
from synaptic_mesh.workers.pool import HelpedRun, word_view

pytest.importorskip("llvmlite")
COUNTS = (1, 2, 4)


@pytest.fixture
def everything_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "STRIP_RIGHT_ELEMENTS_MAX", 0)
    monkeypatch.setattr(compiler, "SHARED_PRODUCT_MIN", 1)
    monkeypatch.setattr(gemm, "PART_EXTENT_MIN", 1)


@pytest.fixture
def fused_products_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "SHARED_PRODUCT_MIN", 1)
    monkeypatch.setattr(compiler, "SHARED_ROWS_MIN", 1)


def operands() -> tuple[F32, F32]:
    random = np.random.default_rng(5)
    return random.standard_normal((150, 70), np.float32), random.standard_normal((70, 130), np.float32)


def product_graph() -> Graph:
    return trace(lambda a, b: a @ b, {"a": f32(150, 70), "b": f32(70, 130)})


def prepared(threads: int) -> NativeProgram:
    program = NativeBackend(threads=threads).compile(product_graph())
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
        assert program._code is not None
        word = word_view(program._memory)
        parts = compiled_parts(4)
        word[0] = job_word(0, parts)
        inside = inside_view(program)
        inside[0] = 0b011  # two others have come before
        code, address = program._code, program._address
        workspaces = program._memory[own_workspace(0) : own_workspace(4)]
        workspaces[:] = 0xA5
        assert rounding_upward(lambda: code.assist(address)) == HELPER_IDLE
        assert inside[0] == 0b011
        first = own_workspace(0) + int(np.argmax(workspaces != 0xA5))
        assert own_workspace(3) <= first < own_workspace(4)
        assert word[0] == job_word(0, parts) + parts
        program._has_run = True
        assert program.read("output").tobytes() == expected()
        word[0] = np.uint64(WORD_CLOSED % (1 << 64))
        assert program._code.assist(program._address) == 0


def own_workspace(slot: int) -> int:
    profile = NativeBackend().profile
    start = compiler.compile_native(product_graph(), profile, 4).plan.workspace
    return start + slot * gemm.workspace_bytes(profile, 150, 70)


def inside_view(program: NativeProgram) -> npt.NDArray[np.uint64]:
    return program._memory[INSIDE_OFFSET : INSIDE_OFFSET + 8].view(np.uint64)


@pytest.mark.usefixtures("everything_is_shared")
def test_a_helper_for_whom_there_is_no_workspace_goes_home() -> None:
    with prepared(4) as program:
        assert program._code is not None
        word, inside = word_view(program._memory), inside_view(program)
        word[0], inside[0] = job_word(0, compiled_parts(4)), 0b111
        assert program._code.assist(program._address) == 0
        assert word[0] == job_word(0, compiled_parts(4))
        assert inside[0] == 0b111
        inside[0] = 0


@pytest.mark.usefixtures("everything_is_shared")
def test_a_run_does_not_end_before_its_helpers() -> None:
    with prepared(4) as program:
        assert program._code is not None
        inside = inside_view(program)
        word_view(program._memory)[0], inside[0] = 0, 0b001  # one whose processor was taken away
        assert program._code.run(program._address, 1) == HELPERS_INSIDE
        left: list[bool] = []

        def leave() -> None:
            left.append(True)
            inside[0] = 0

        inside[0] = 0b001
        timer = threading.Timer(0.05, leave)
        timer.start()
        program.run()
        assert left == [True]
        assert program.read("output").tobytes() == expected()


@pytest.mark.usefixtures("fused_products_are_shared")
def test_no_part_undoes_a_flag_that_another_has_raised() -> None:
    graph = trace(lambda x, w, b: x @ w + b, {"x": f32(64, 9), "w": f32(9, 8), "b": f32(8)}, checked=("output",))
    text = compiler.compile_native(graph, AVX2, 2).text
    (kernel,) = (part for part in text.split("define ") if part.startswith("internal void @fused_"))
    assert "atomicrmw or ptr %arena, i32 1 " in kernel
    assert "store i32" not in kernel


class Interrupted(BaseException):
    pass


@pytest.mark.usefixtures("everything_is_shared")
def test_a_run_that_did_not_come_to_its_end_sends_helpers_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> int:
        raise Interrupted

    with prepared(2) as program:
        with monkeypatch.context() as context:
            context.setattr(program._execute, "_run", interrupt)
            with pytest.raises(Interrupted):
                program.run()
        assert word_view(program._memory)[0] == WORD_CLOSED % (1 << 64)
        program.run()
        assert program.read("output").tobytes() == expected()


@pytest.mark.usefixtures("everything_is_shared")
def test_a_system_without_threads_to_spare_computes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(pool, "_pool", pool.WorkerPool())
    with prepared(3) as program:
        program.run()
        assert program.read("output").tobytes() == expected()


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_of_a_fork_does_not_wait_for_helpers_of_its_parent() -> None:
    script = """
import os, signal
import numpy as np
from synaptic_mesh.engine.abi import INSIDE_OFFSET
from synaptic_mesh.engine.native import compiler
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers.native_runtime import NativeBackend
compiler.SHARED_PRODUCT_MIN = 1
program = NativeBackend(threads=2).compile(trace(lambda a: a @ a, {"a": f32(500, 500)}))
program.write("a", np.eye(500, dtype=np.float32))
inside = program._memory[INSIDE_OFFSET : INSIDE_OFFSET + 8].view(np.uint64)
inside[0] = 1
child = os.fork()
if not child:
    signal.alarm(60)
    program.run()
    os._exit(0 if program.read("output").trace() == 500 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.usefixtures("everything_is_shared")
def test_a_helper_that_comes_late_finds_code_and_memory() -> None:
    calls = []
    for _ in range(50):
        with prepared(4) as program:
            program.run()
            assert isinstance(program._execute, HelpedRun)
            calls.append(program._execute._assist)
            kept = program._execute
        assert kept._help() is None  # the program is closed
    assert [call() for call in calls[-1:]] == [0]


def compiled_parts(threads: int) -> int:
    rows, columns = gemm.grid(NativeBackend().profile, 150, 130, threads * compiler.PARTS_PER_THREAD)
    return -(-150 // rows) * -(-130 // columns)


@pytest.mark.slow
@pytest.mark.usefixtures("everything_is_shared")
@pytest.mark.parametrize("threads", COUNTS[1:])
def test_golden_vectors_random_graphs_and_training_steps(threads: int) -> None:
    backend = NativeBackend(threads=threads)
    assert check_backend(backend) == []
    wrong, _ = differences(range(7000, 7010), 16, [backend])
    assert not wrong, "\n".join(wrong[:10])
    assert trained(threads) == trained(1)


@pytest.mark.slow
@pytest.mark.usefixtures("fused_products_are_shared")
@pytest.mark.parametrize("threads", COUNTS[1:])
def test_products_with_their_chains(threads: int) -> None:
    backend = NativeBackend(threads=threads)
    assert backend.load(classifier_step()).layout.threads == threads
    assert check_backend(backend) == []
    wrong, _ = differences(range(7100, 7110), 16, [backend])
    assert not wrong, "\n".join(wrong[:10])
    assert trained(threads) == trained(1)


def test_parts_of_fused_products_are_equal() -> None:
    def rows(m: int, threads: int) -> int:
        graph = trace(lambda x, w, b: relu(x @ w + b), {"x": f32(m, 784), "w": f32(784, 128), "b": f32(128)})
        (kernel,) = compiler.compile_native(graph, AVX2).plan.kernels
        return compiler.part_rows(graph, kernel, threads)

    assert [rows(m, 2) for m in (1024, 1000, 600, 96)] == [128, 125, 75, 0]
    assert rows(640, 4) == 64
    assert rows(1021, 2) == 0  # a prime
    assert rows(4096, 1) == 0


@pytest.mark.long
@pytest.mark.usefixtures("everything_is_shared")
def test_many_random_graphs_with_threads() -> None:
    wrong, _ = differences(range(30_000, 30_400), 22, [NativeBackend(threads=threads) for threads in COUNTS[1:]])
    assert not wrong, "\n".join(wrong[:10])


def trained(threads: int) -> dict[str, bytes]:
    parameters, x, y = step_data()
    with NativeBackend(threads=threads).compile(classifier_step()) as program:
        for name, array in (*parameters.items(), ("x", x), ("y", y)):
            program.write(name, array)
        program.run_many(5)
        return {name: program.read(name).tobytes() for name in program.graph.outputs}


def test_small_products_are_not_shared() -> None:
    assert NativeBackend(threads=4).load(product_graph()).layout.threads == 1
    assert "assist" not in compiler.compile_native(product_graph(), AVX2, 4).text


def test_parts_are_whole_tiles_and_near_squares() -> None:
    assert gemm.grid(AVX512, 1000, 1000, 4) == (504, 528)
    assert gemm.grid(AVX2, 4000, 32, 8) == (504, 32)
    assert gemm.grid(AVX2, 100, 100, 8) == (102, 112)
