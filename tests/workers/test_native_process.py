"""A worker process: the bits of the reference, the end of whatever dies, hangs or lies, and nothing left behind."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from random_graphs import differences
from small_graphs import classifier_step, counter

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import StepInvalid, Trust, run_feed, step_by_step
from synaptic_mesh.engine.golden import DIGESTS, run_case
from synaptic_mesh.engine.golden_cases import build_case
from synaptic_mesh.engine.golden_operations import OPERATIONS
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers import native_process
from synaptic_mesh.workers.confinement import is_supported
from synaptic_mesh.workers.native_messages import Ask
from synaptic_mesh.workers.native_process import NativeProcess, ProcessProgram, WorkerLost, WorkerRefused

pytest.importorskip("llvmlite")
pytestmark = [pytest.mark.process, pytest.mark.skipif(not is_supported(), reason="worker processes need Linux")]
HOSTILE = str(Path(__file__).parent / "hostile_worker.py")
WAIT_S = 60.0
ONE = np.ones(3, np.float32)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program cache that all workers share: each runs the golden vectors, only the first compiles them."""
    return tmp_path_factory.mktemp("programs")


class ProcessBackend:
    """Compiles every graph in a worker process of its own."""

    name = "native"
    trust = Trust.EXACT

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def compile(self, graph: Graph) -> ProcessProgram:
        process = NativeProcess(graph, self.cache)
        assert process.is_ready(wait=True)
        return process.program()


@pytest.fixture
def program(cache: Path) -> Iterator[ProcessProgram]:
    with ProcessBackend(cache).compile(counter()) as program:
        yield program


def hostile(how: str) -> NativeProcess:
    return NativeProcess(counter(), command=(sys.executable, "-S", HOSTILE, how))


def ready(how: str) -> tuple[NativeProcess, ProcessProgram]:
    process = hostile(how)
    assert process.is_ready(wait=True)
    return process, process.program()


def has_ended(pid: int) -> bool:
    """Whether there is no such process any more, or only what nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"not within {WAIT_S:.0f} s")


# --- what it computes


def test_a_program_keeps_the_promises_of_a_backend(program: ProcessProgram) -> None:
    assert program.read("w").tolist() == [0, 0, 0]
    with pytest.raises(LocalError):
        program.read("loss")
    assert program({"w": ONE, "x": ONE * 2})["loss"] == 6
    program.run()
    program.run_many(2)
    assert program.read("w").tolist() == [9, 9, 9]
    with pytest.raises(LocalError):
        program.write("x", ONE[:2])
    with pytest.raises(StepInvalid):
        program({"w": ONE, "x": ONE * np.float32(np.nan)})
    assert program({"w": ONE, "x": ONE})["loss"] == 3
    program.close()
    with pytest.raises(LocalError, match="closed"):
        program.run()


@pytest.mark.parametrize("name", ["words", "not_finite"])
def test_golden_vectors(cache: Path, name: str) -> None:
    expected = {key: value for key, value in DIGESTS.items() if key.startswith(name + ":")}
    assert run_case(build_case(name), ProcessBackend(cache)) == expected


@pytest.mark.long
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_golden_vectors(cache: Path, name: str) -> None:
    test_golden_vectors(cache, name)


def test_random_graphs_have_the_bits_of_the_reference(cache: Path) -> None:
    wrong, seen = differences(range(5), 16, [ProcessBackend(cache)])
    assert not wrong, "\n".join(wrong)
    assert seen["valid"]


@pytest.mark.long
def test_many_random_graphs_have_the_bits_of_the_reference(cache: Path) -> None:
    wrong, _ = differences(range(7000, 7200), 16, [ProcessBackend(cache)])
    assert not wrong, "\n".join(wrong)


def test_many_steps_in_one_message_are_the_steps_one_by_one(cache: Path) -> None:
    graph, random = classifier_step(3, 5, 4, 2), np.random.default_rng(3)
    feed = {"x": random.standard_normal((7, 3, 5)).astype(np.float32), "y": random.integers(0, 2, (7, 3), np.int32)}
    expected = ReferenceBackend().compile(graph)
    with ProcessBackend(cache).compile(graph) as program:
        for name, node in graph.inputs.items():
            if name not in feed:
                values = random.standard_normal(graph.nodes[node].shape).astype(np.float32)
                program.write(name, values)
                expected.write(name, values)
        run_feed(program, feed)
        step_by_step(expected, feed)
        for name in (*graph.outputs, "x", "y"):
            assert program.read(name).tobytes() == expected.read(name).tobytes()
        feed["y"][4, 1] = 9
        with pytest.raises(StepInvalid) as caught:
            run_feed(program, feed)
        assert caught.value.completed == 4
        with pytest.raises(LocalError, match=r"'x' of 7 steps is float32 \(7, 3, 5\), not float32 \(7, 3, 4\)"):
            run_feed(program, feed | {"x": feed["x"][..., :4]})


def test_feeds_of_some_inputs_and_of_more_steps_than_fit(cache: Path) -> None:
    graph = trace(lambda w, x, y: {"w": w + x * y}, {"w": f32(), "x": f32(), "y": f32()}, carried={"w": "w"})
    with ProcessBackend(cache).compile(graph) as program:
        program.write("y", np.float32(2))
        run_feed(program, {"x": np.ones(3, np.float32)})
        assert program.read("w") == 6
        run_feed(program, {"x": np.ones(150, np.float32), "y": np.arange(150, dtype=np.float32)})
        assert program.read("w") == 6 + 149 * 75


# --- what it may do, and what is left of it


def test_a_worker_has_given_up_what_it_does_not_need(program: ProcessProgram) -> None:
    place = Path(f"/proc/{program._process.pid}")
    assert "NoNewPrivs:\t1" in (place / "status").read_text()
    limits = {line[:26].strip(): line[26:].split()[1] for line in (place / "limits").read_text().splitlines()[1:]}
    assert [limits[f"Max {what}"] for what in ("open files", "processes", "core file size", "file size")] == ["0"] * 4
    assert 0 < int(limits["Max address space"]) < 8 << 30
    open_files = {int(file.name): os.readlink(file) for file in (place / "fd").iterdir()}
    assert [open_files[number] for number in (1, 2)] == ["/dev/null"] * 2
    assert sum(name.startswith("pipe:") for name in open_files.values()) == 2
    assert sum("synaptic-worker" in name for name in open_files.values()) <= 1
    assert len(open_files) <= 5


def test_nothing_is_left_of_closed_programs(cache: Path) -> None:
    descriptors, shared = set(os.listdir("/proc/self/fd")), set(os.listdir("/dev/shm"))
    backend = ProcessBackend(cache)
    first, second = backend.compile(counter()), backend.compile(counter())
    first({"w": ONE, "x": ONE})
    assert second({"w": ONE * 2, "x": ONE * 2})["w"].tolist() == [4, 4, 4]
    assert first.read("w").tolist() == [2, 2, 2]
    pids = [first._process.pid, second._process.pid]
    first.close()
    first.close()
    second.run()
    del second  # as whoever keeps programs forgets them
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert set(os.listdir("/dev/shm")) == shared


NODE = """
import fcntl, os, signal, sys, termios, threading
from pathlib import Path
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers.native_process import NativeProcess

process = NativeProcess(trace(lambda x: x + x, {"x": f32(1 << 16)}), Path(sys.argv[1]))
process.is_ready(wait=True)
threading.Thread(target=process.program().run_many, args=[1 << 20], daemon=True).start()
while process._number == 0 or any(fcntl.ioctl(process._requests, termios.FIONREAD, bytes(4))):
    pass
print(process.pid, flush=True)
input()
"""
"""A node whose worker computes for minutes, and reads nothing meanwhile."""


def test_a_worker_does_not_outlive_its_node(cache: Path) -> None:
    command = [sys.executable, "-c", NODE, str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        assert not has_ended(pid)
        node.kill()
    wait_until(lambda: has_ended(pid))


# --- what goes wrong


def test_a_worker_killed_in_a_call_is_one_clear_error(cache: Path) -> None:
    graph = classifier_step(32, 200, 100, 10)
    with ProcessBackend(cache).compile(graph) as program:
        process = program._process
        failures: list[BaseException] = []

        def run() -> None:
            try:
                program.run_many(1 << 20)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: process._number == 1 and not has_unread(process._requests))
        os.kill(process.pid, signal.SIGKILL)
        thread.join(WAIT_S)
        (failure,) = failures
        assert isinstance(failure, WorkerLost)
        assert str(failure) == f"worker process {process.pid} has ended (signal 9, Killed)"
        with pytest.raises(WorkerLost, match="was ended"):
            program.run()


def has_unread(pipe: int) -> bool:
    """Whether bytes wait in a pipe."""
    waiting: tuple[int] = struct.unpack("<i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return waiting[0] > 0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("dies", r"has ended \(exit status 0\)"),
        ("garbage", "talks nonsense: no answer"),
        ("short", r"has ended \(exit status 0\)"),
        ("flood", "talks nonsense"),
        ("early", "answered request 1, not 0"),
        ("arena", "an arena of 1099511627776 bytes"),
        ("outside", "at offset 4096 of an arena of 4096"),
        ("crooked", "at offset 12 of"),
    ],
)
def test_a_worker_that_begins_badly_is_ended(how: str, message: str) -> None:
    process = hostile(how)
    with pytest.raises(WorkerLost, match=f"worker process {process.pid} .*{message}"):
        process.program() if process.is_ready(wait=True) else None
    assert has_ended(process.pid)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nonsense", "talks nonsense"),
        ("wrong number", "answered request 2, not 1"),
        ("more steps", "answered DONE, 5 of 4 steps"),
        ("no reason", "answered DONE, 3 of 4 steps, flags 0x0"),
        ("strange flags", "talks nonsense"),
        ("ready again", "answered (request 1|READY)"),
        ("talks", "talks nonsense"),
    ],
)
def test_a_worker_that_answers_badly_is_ended(how: str, message: str) -> None:
    process, program = ready(how)
    with pytest.raises(WorkerLost, match=message):
        program.run_many(4)
    assert has_ended(process.pid)


def test_the_hostile_worker_that_obeys_is_believed() -> None:
    process, program = ready("obeys")
    program.run_many(4)
    assert process.ask(Ask.FEED, 3) == (3, 0)
    program.close()


@pytest.mark.parametrize(("how", "is_for_all"), [("refuses", False), ("unqualified", True)])
def test_a_refusal_says_why(how: str, is_for_all: bool) -> None:
    process = hostile(how)
    with pytest.raises(WorkerRefused) as caught:
        process.is_ready(wait=True)
    assert caught.value.is_for_all is is_for_all
    assert has_ended(process.pid)


def test_a_worker_cannot_take_memory_away_under_its_node() -> None:
    # A page that is gone when the node touches it would end the node (SIGBUS).
    with pytest.raises(WorkerRefused, match="Operation not permitted, Operation not permitted"):
        hostile("resizes").is_ready(wait=True)


def test_a_worker_that_never_begins_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = hostile("silent")
    assert not process.is_ready()
    monkeypatch.setattr(native_process, "WALL_FACTOR", 0)
    with pytest.raises(WorkerLost, match="did not answer within 0 s"):
        process.is_ready()
    assert has_ended(process.pid)


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process, program = ready("hangs")
    monkeypatch.setattr(native_process, "WALL_FACTOR", 0)
    with pytest.raises(WorkerLost, match="did not answer within 0 s"):
        program.run()
    assert has_ended(process.pid)


@pytest.mark.slow
def test_the_kernel_ends_a_worker_that_computes_longer_than_its_graph_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_process, "START_CPU_S", 1)
    monkeypatch.setattr(native_process, "CALL_CPU_S", 1)
    monkeypatch.setattr(native_process, "WALL_FACTOR", 60)
    process, program = ready("spins")
    with pytest.raises(WorkerLost, match=r"has ended \(signal 24, "):
        program.run()
    assert has_ended(process.pid)


def test_a_graph_too_large_to_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_process, "GRAPH_BYTES_MAX", 10)
    with pytest.raises(WorkerRefused, match="the limit is 10"):
        NativeProcess(counter())


def test_a_process_has_one_program_from_when_it_is_ready() -> None:
    process = hostile("obeys")
    with pytest.raises(LocalError, match="one program"):
        process.program()
    process.is_ready(wait=True)
    process.program()
    with pytest.raises(LocalError, match="one program"):
        process.program()
    process.close()
