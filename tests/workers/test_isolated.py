"""Programs that start in wasmtime and go on in a worker process: the state moves, the bits stay, losses are borne."""

import os
import signal
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.backend import ProgramLost, StepInvalid, Trust, run_feed
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.trace import f32, tanh, trace
from synaptic_mesh.workers import isolated
from synaptic_mesh.workers.confinement import is_supported
from synaptic_mesh.workers.isolated import IsolatedBackend, IsolatedProgram, MoveRule
from synaptic_mesh.workers.native_process import NativeProcess
from synaptic_mesh.workers.wasm_runtime import WasmBackend

pytest.importorskip("llvmlite")
pytestmark = [pytest.mark.process, pytest.mark.skipif(not is_supported(), reason="worker processes need Linux")]
HOSTILE = str(Path(__file__).parent / "hostile_worker.py")
AT_ONCE = MoveRule(after_s=0.0, call_s_min=0.0)
NEVER = MoveRule(after_s=1e9)
X = np.random.default_rng(5).standard_normal(37).astype(np.float32)


def recurrent(extent: int = 37) -> Graph:
    return trace(
        lambda h, x: {"h": tanh(h + x), "loss": (h * x).sum()},
        {"h": f32(extent), "x": f32(extent)},
        carried={"h": "h"},
        checked=["loss"],
    )


class Hostile:
    """Starts workers that misbehave, and remembers how to end them (which keeps none of them)."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.started: list[weakref.finalize] = []  # type: ignore[type-arg]

    def __call__(self, graph: Graph, cache: Path | None) -> NativeProcess:
        process = NativeProcess(graph, cache, (sys.executable, "-S", HOSTILE, self.how))
        self.started.append(process.close)
        return process


class Clock:
    """Stands where `perf_counter` stands: every look at it lets `tick` seconds pass."""

    def __init__(self) -> None:
        self.now, self.tick = 0.0, 1.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(isolated, "perf_counter", clock)
    return clock


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def wasm() -> WasmBackend:
    backend = WasmBackend()
    backend.qualify_on_demand()
    return backend


def are_over(hostile: Hostile) -> list[bool]:
    return [not close.alive for close in hostile.started]


def test_the_state_moves_into_the_process_and_survives_nothing(wasm: WasmBackend, cache: Path) -> None:
    said: list[str] = []
    expected = ReferenceBackend().compile(recurrent())
    with IsolatedBackend(wasm, cache, NEVER, said.append) as backend, backend.compile(recurrent()) as program:
        assert backend.trust is Trust.EXACT
        for one in (expected, program):
            one.write("x", X)
            one.run()
        assert program.wait_for_native()
        assert program.is_native
        process = program._process
        assert process is not None
        digest = graph_digest(recurrent())[:4].hex()
        assert said == [f"graph {digest} goes on as machine code in process {process.pid}"]
        feed = {"x": np.stack([X, X * 2, X * 3])}
        for one in (expected, program):
            one.run()
            run_feed(one, feed)
        for name in ("h", "x", "loss"):
            assert program.read(name).tobytes() == expected.read(name).tobytes()
        with pytest.raises(StepInvalid):
            program({"h": X, "x": X * np.float32(np.inf)})
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ProgramLost, match="signal 9, Killed"):
            program.run()
        assert not program.is_native
        assert program.read("h").tolist() == [0] * 37
        for one in (expected, program):
            one({"h": X, "x": X})
        assert program.read("h").tobytes() == expected.read("h").tobytes()
        assert said[1].startswith(f"graph {digest} runs in WebAssembly, for now (1 of 2 chances): worker process ")
        assert program.wait_for_native()  # it has another chance
        assert (backend.counts.started, backend.counts.moved, backend.counts.lost) == (2, 2, 1)
        process = program._process
        assert process is not None
    assert not process.close.alive


@pytest.mark.parametrize(("rule", "starts_in"), [(MoveRule(5.0, 1.0), 6), (MoveRule(5.0, 1.5), None)])
@pytest.mark.usefixtures("clock")
def test_a_program_gets_a_process_when_it_spent_enough_in_long_calls(
    wasm: WasmBackend, rule: MoveRule, starts_in: int | None
) -> None:
    hostile = Hostile("obeys")
    with IsolatedBackend(wasm, rule=rule, start=hostile) as backend, backend.compile(recurrent()) as program:
        for count in range(1, starts_in or 20):
            program.run()  # takes a second by this clock
            assert not hostile.started, count
        program.run()
        assert len(hostile.started) == (starts_in is not None)


def test_a_program_whose_steps_take_longer_in_the_process_goes_back_with_its_state(
    wasm: WasmBackend, cache: Path, clock: Clock
) -> None:
    said: list[str] = []
    rule = MoveRule(after_s=2.0, call_s_min=0.0, check_s=10.0)
    expected = ReferenceBackend().compile(recurrent())
    with IsolatedBackend(wasm, cache, rule, said.append) as backend, backend.compile(recurrent()) as program:

        def run(count: int, tick: float) -> None:
            clock.tick = tick
            for _ in range(count):
                program.run()
                expected.run()
                assert program.read("loss").tobytes() == expected.read("loss").tobytes()

        for one in (expected, program):
            one.write("x", X)
        run(2, 1.0)
        assert program.wait_for_native()
        run(12, 0.9)
        assert program.is_native  # faster than before, so it stays
        run(10, 1.1)
        assert program.is_native
        run(1, 1.0)
        assert not program.is_native
        assert said[-1].endswith(
            "back to WebAssembly: a step took 1000000 us there and takes 1100000 us in its process"
        )
        assert program.read("h").tobytes() == expected.read("h").tobytes()
        run(7, 1.0)
        assert backend.counts.started == 1  # four times as patient as the time before
        run(1, 1.0)
        assert (backend.counts.started, backend.counts.returned, backend.counts.lost) == (2, 1, 0)


def lose(program: IsolatedProgram) -> None:
    assert program.wait_for_native()
    with pytest.raises(ProgramLost, match="talks nonsense"):
        program.run()
    assert not program.is_native


def test_a_graph_that_lost_its_chances_is_never_tried_again(wasm: WasmBackend) -> None:
    said: list[str] = []
    hostile = Hostile("nonsense")
    with IsolatedBackend(wasm, None, AT_ONCE, said.append, hostile) as backend:
        program = backend.compile(recurrent())
        lose(program)
        lose(backend.compile(recurrent()))
        assert said[-1].split(": ")[0].endswith("and stays there")
        for one in (program, backend.compile(recurrent())):
            assert not one.wait_for_native()
            for _ in range(3):
                one.run()
            assert not one.is_native
        assert len(hostile.started) == backend.counts.lost == 2
        assert all(are_over(hostile))
        other = backend.compile(recurrent(5))  # another graph has its own chances
        lose(other)


def test_a_process_that_breaks_before_it_is_used_disturbs_nobody(wasm: WasmBackend) -> None:
    hostile = Hostile("dies")
    with IsolatedBackend(wasm, None, AT_ONCE, start=hostile) as backend, backend.compile(recurrent()) as program:
        program.write("x", X)
        program.run()
        assert not program.wait_for_native()
        assert backend.counts.lost == 1
        assert program.read("h").any()
        program.run()


@pytest.mark.parametrize(("how", "others"), [("refuses", True), ("unqualified", False)])
def test_refusals_hold_for_one_graph_or_for_all(wasm: WasmBackend, how: str, others: bool) -> None:
    said: list[str] = []
    hostile = Hostile(how)
    with IsolatedBackend(wasm, None, AT_ONCE, said.append, hostile) as backend:
        for _ in range(2):
            assert not backend.compile(recurrent()).wait_for_native()
        assert len(hostile.started) == len(said) == 1
        assert bool(backend.native_problem) is not others
        backend.compile(recurrent(5)).wait_for_native()
        assert len(hostile.started) == 1 + others


def test_there_are_so_many_processes_and_no_more(wasm: WasmBackend) -> None:
    hostile = Hostile("obeys")
    rule = MoveRule(0.0, 0.0, processes_max=2)
    backend = IsolatedBackend(wasm, None, rule, start=hostile)
    programs = [backend.compile(recurrent(extent)) for extent in (3, 4, 5)]
    assert [program.wait_for_native() for program in programs] == [True, True, False]
    programs[0].close()
    assert programs[2].wait_for_native()
    del programs[1]  # forgotten, not closed
    assert are_over(hostile) == [True, True, False]
    backend.close()
    assert all(are_over(hostile))
    with pytest.raises(LocalError, match="closed"):
        backend.compile(recurrent())
    with pytest.raises(ProgramLost, match="was ended"):
        programs[1].run()


def test_where_no_process_can_be_started_everything_stays_in_wasmtime(wasm: WasmBackend) -> None:
    def refuse(_graph: Graph, _cache: Path | None) -> NativeProcess:
        raise ResourceError("cannot start a worker process: Resource temporarily unavailable")

    with IsolatedBackend(wasm, None, AT_ONCE, start=refuse) as backend, backend.compile(recurrent()) as program:
        for _ in range(4):
            program.run()
        assert not program.is_native
        assert backend.counts.lost == 2
