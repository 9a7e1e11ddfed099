"""A node's side of a worker process: start it, ask it, and end it when it dies, hangs or talks nonsense.

    process = NativeProcess(graph, cache_directory)      returns at once; the process imports LLVM and compiles
    process.is_ready()                                   does not wait
    program = process.program()                          a `Program` over the memory that both see

One process serves one graph, so a graph that breaks its process breaks no other's results. Whatever goes wrong raises
`WorkerLost`; the process is gone then, with all that it had opened. The node itself never runs a byte of its code, and
uses nothing it says as an address.
"""

import contextlib
import fcntl
import math
import mmap
import os
import resource
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from synaptic_mesh.base.arrays import DTYPES, Array
from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.engine.backend import ProgramLost, step_by_step
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import flops
from synaptic_mesh.engine.serialize import GRAPH_BYTES_MAX, graph_to_bytes
from synaptic_mesh.workers.arena_program import ArenaProgram, refuse
from synaptic_mesh.workers.confinement import is_supported
from synaptic_mesh.workers.native_messages import (
    ANSWER_BYTES,
    Answer,
    Ask,
    Request,
    Say,
    decode_answer_untrusted,
    decode_layout_untrusted,
    encode_request,
    offsets_bytes,
    plan_memory,
)
from synaptic_mesh.workers.program_cache import CachedProgram

COMMAND = (sys.executable, "-m", "synaptic_mesh.workers.native_child")
START_CPU_S = 120
"""Processor time for imports, golden vectors and LLVM; a graph of 4,096 operations takes LLVM some 20 s."""
CALL_CPU_S = 10
"""Of every call, whatever the graph costs."""
SLOWEST_FLOPS_PER_S = 10**7
"""1 GFLOP/s, which any processor reaches without vectors, and subnormal values make it 100 times slower."""
WALL_FACTOR = 6
"""Times as long as its processor time a call may take on a machine that is busy with other things."""
_CLOCK_OF_PROCESS = 2
"""Linux: the clock of a process is (~pid << 3) | 2 (CPUCLOCK_SCHED)."""
HAS_ENDED = "has ended"


class WorkerLost(ProgramLost):
    """A graph's worker process is gone: it died, took too long, or answered with nonsense."""


class WorkerRefused(ResourceError):
    """A worker process could not use the graph, or LLVM, and said so. `is_for_all`: no graph can be used."""

    def __init__(self, message: str, is_for_all: bool) -> None:
        super().__init__(message)
        self.is_for_all = is_for_all


class NativeProcess:
    """The worker process of `graph`. Used by one thread, the one that made it: the process ends with that thread."""

    def __init__(self, graph: Graph, cache_directory: Path | None = None, command: Sequence[str] = COMMAND) -> None:
        """Start it. Raises ResourceError where it cannot be started or limited, WorkerRefused for a graph too large."""
        if not is_supported():
            raise ResourceError("machine code in a process of its own needs Linux")
        self.graph = graph
        self._flops = flops(graph)
        self._plan = plan_memory(graph)
        encoded = graph_to_bytes(graph)
        if len(encoded) > GRAPH_BYTES_MAX:
            raise WorkerRefused(f"the graph has {len(encoded)} bytes, the limit is {GRAPH_BYTES_MAX}", is_for_all=False)
        memory = _sealed_memory(self._plan.total_bytes)
        requests_read, self._requests = os.pipe()
        self._answers, answers_write = os.pipe()
        os.set_blocking(self._answers, False)
        try:
            os.pwrite(memory, encoded, 0)
            words = [memory, answers_write, len(encoded), os.getpid(), *([cache_directory] if cache_directory else [])]
            self._process = subprocess.Popen(
                [*command, *map(str, words)],
                stdin=requests_read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(memory, answers_write),
                start_new_session=True,  # Ctrl-C in a terminal is for the node
            )
        except OSError as error:
            for descriptor in (memory, self._requests, self._answers):
                os.close(descriptor)
            raise ResourceError(f"cannot start a worker process: {error.strerror}") from None
        finally:
            os.close(requests_read)
            os.close(answers_write)
        self.pid = self._process.pid
        self.close = weakref.finalize(self, _end, self._process, (memory, self._requests, self._answers))
        self._memory = memory
        self._is_given = False
        self._first: Answer | None = None
        self._number = 0
        self._allowed_s = 0
        self._allow(START_CPU_S)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._started_s = time.monotonic()

    def is_ready(self, wait: bool = False) -> bool:
        """Return whether the graph is compiled; with `wait`, when it is. Raises WorkerRefused or WorkerLost."""
        if self._first is None:
            limit_s = WALL_FACTOR * START_CPU_S
            is_late = time.monotonic() - self._started_s > limit_s
            if not wait and not is_late and not self._poll.poll(0):
                return False
            answer = self._receive(0, limit_s, self._started_s)
            if answer.kind in (Say.REFUSED, Say.UNQUALIFIED):
                self.close()
                raise WorkerRefused(answer.text, answer.kind is Say.UNQUALIFIED)
            if answer.kind is not Say.READY:
                self._fail(f"began with an answer of kind {answer.kind.name}")
            self._first = answer
        return True

    def program(self) -> "ProcessProgram":
        """Return the program, once; the process must be ready. Raises WorkerLost for a layout that cannot be."""
        if self._first is None or self._is_given:
            raise LocalError("a worker process has one program, from when it is ready")
        self._is_given = True
        arena_bytes = self._first.value
        try:
            head = os.pread(self._memory, offsets_bytes(self.graph), 0)
            layout = decode_layout_untrusted(self.graph, head, arena_bytes)
            shared = np.frombuffer(mmap.mmap(self._memory, self._plan.arena + arena_bytes), np.uint8)
        except PeerError as error:
            self._fail(f"names impossible memory: {error}")
        except (OSError, ValueError) as error:
            self._fail(f"spoilt its memory: {error}")
        steps = self._plan.feed_steps
        feed = {}
        for slot in self._plan.feed:
            node = self.graph.nodes[self.graph.inputs[slot.name]]
            values = shared[slot.offset : slot.offset + 4 * node.size * steps].view(DTYPES[node.dtype.value])
            feed[slot.name] = values.reshape(steps, *node.shape)
        return ProcessProgram(self, layout, shared[self._plan.arena :], feed)

    def run(self, steps: int) -> int:
        """Execute so many times and return the flags. Raises WorkerLost."""
        return self.ask(Ask.RUN, steps)[1]

    def ask(self, kind: Ask, steps: int) -> tuple[int, int]:
        """Have a request carried out; return the completed steps and the flags. Raises WorkerLost."""
        if not self.close.alive:  # its number may be that of another process by now
            raise WorkerLost(f"worker process {self.pid} was ended")
        budget_s = CALL_CPU_S + steps * self._flops // SLOWEST_FLOPS_PER_S
        self._allow(budget_s)
        self._number += 1
        try:
            os.write(self._requests, encode_request(Request(kind, self._number, steps)))
        except OSError:
            self._fail(HAS_ENDED)
        answer = self._receive(self._number, WALL_FACTOR * budget_s, time.monotonic())
        if answer.kind is not Say.DONE or answer.value > steps or (answer.value < steps) != (answer.flags != 0):
            self._fail(f"answered {answer.kind.name}, {answer.value} of {steps} steps, flags {answer.flags:#x}")
        return answer.value, answer.flags

    def _allow(self, cpu_s: int) -> None:
        """Let the process use so much more processor time from now on; the kernel ends it when it uses more."""
        try:
            used_s = time.clock_gettime((~self.pid << 3) | _CLOCK_OF_PROCESS)
            if used_s + cpu_s > self._allowed_s:
                self._allowed_s = math.ceil(used_s + cpu_s)
                resource.prlimit(self.pid, resource.RLIMIT_CPU, (self._allowed_s, resource.RLIM_INFINITY))
        except (OSError, ValueError) as error:
            self._fail(f"cannot be limited: {error}")

    def _receive(self, number: int, limit_s: int, since_s: float) -> Answer:
        """Return the answer to a request. Raises WorkerLost when it does not come in time or is none."""
        data = b""
        while len(data) < ANSWER_BYTES:
            left_s = since_s + limit_s - time.monotonic()
            if left_s <= 0 or not self._poll.poll(left_s * 1_000):
                self._fail(f"did not answer within {limit_s} s")
            part = os.read(self._answers, ANSWER_BYTES - len(data))
            if not part:
                self._fail(HAS_ENDED)
            data += part
        try:
            answer = decode_answer_untrusted(data)
        except PeerError as error:
            self._fail(f"talks nonsense: {error}")
        if answer.number != number:
            self._fail(f"answered request {answer.number}, not {number}")
        return answer

    def _fail(self, what: str) -> NoReturn:
        """End the process and say why."""
        self.close()
        how = f" ({_describe(self._process.returncode)})" if what == HAS_ENDED else ""
        raise WorkerLost(f"worker process {self.pid} {what}{how}")


class ProcessProgram(ArenaProgram):
    """A program whose code runs in a worker process. See `engine.backend.Program`. After WorkerLost it is of no use."""

    def __init__(self, process: NativeProcess, layout: CachedProgram, arena: Array, feed: Mapping[str, Array]) -> None:
        super().__init__(process.graph, layout, arena, process.run)
        self._process = process
        self._feed = feed

    def run_feed(self, feed: Mapping[str, Array]) -> None:
        """See `engine.backend.run_feed`: many steps in few messages, as long as `feed` has all that is not carried."""
        steps = len(next(iter(feed.values())))
        room = len(next(iter(self._feed.values()))) if self._feed else 0
        if feed.keys() != self._feed.keys() or not room:
            step_by_step(self, feed)
            return
        self._check(feed, steps)
        for start in range(0, steps, room):
            part = min(room, steps - start)
            for name, values in feed.items():
                self._feed[name][:part] = values[start : start + part]
            completed, flags = self._process.ask(Ask.FEED, part)
            if flags:
                refuse(flags, start + completed)
            self._has_run = True

    def close(self) -> None:
        """End the process. Arrays that `read` returned are copies and stay valid."""
        super().close()
        self._feed = {}
        self._process.close()

    def _check(self, feed: Mapping[str, Array], steps: int) -> None:
        for name, values in feed.items():
            place = self._feed[name]
            if values.shape != (steps, *place.shape[1:]) or values.dtype != place.dtype:
                raise LocalError(
                    f"input {name!r} of {steps} steps is {place.dtype} {(steps, *place.shape[1:])}, "
                    f"not {values.dtype} {values.shape}"
                )

    def __enter__(self) -> "ProcessProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sealed_memory(size: int) -> int:
    """Return a descriptor of anonymous memory that nobody can make smaller: whoever touched a page that was cut off
    would be killed. Pages are there once they are written to. Raises ResourceError."""
    try:
        memory = os.memfd_create("synaptic-worker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, size)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except OSError:
            os.close(memory)
            raise
    except OSError as error:
        raise ResourceError(f"no memory to share with a worker process: {error.strerror}") from None
    return memory


def _end(process: "subprocess.Popen[bytes]", descriptors: tuple[int, ...]) -> None:
    """Kill the process and what it may have started, and give everything back."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for descriptor in descriptors:
        os.close(descriptor)


def _describe(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    return f"signal {-status}, {signal.strsignal(-status)}"
