"""Graphs from others: WebAssembly at once, and machine code in a worker process when that pays.

A stranger's graph may be made to provoke a bug in LLVM, while it compiles or in the code that comes out. So LLVM never
meets such a graph in the node's process (`native_child`, `confinement`). The bits are the same in both places, so the
only questions are of time, and they are answered by measuring:

- A process takes about as long to start as `after_s`. It is started once a graph has spent that time in WebAssembly:
  whoever waits so long wastes at most about as much as it can lose.
- A message to the process and back costs some 20 us where a core is free, and machine code takes about half the time of
  WebAssembly. So a call pays from 40 us in WebAssembly on; `call_s_min` is above that. Small models reach it because
  the inner steps of an update travel in groups (`engine.backend.run_feed`). Figures: decision 0030.
- On a busy machine waking a process waits for a turn, which may take milliseconds. So both places are compared by what
  a step took there: after each `check_s` in the process a program whose steps took longer than before goes back, and
  waits `RETRY_FACTOR` times as long for its next chance.

A process that is lost takes the state of its program with it: the call raises WorkerLost, and afterwards the program is
a new one in WebAssembly, its inputs zero. Whoever has the task repeats it. A graph that lost `losses_max` processes
stays in WebAssembly while this backend lives.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import msgspec

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest, short
from synaptic_mesh.engine.backend import Trust, run_feed
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.workers.native_process import NativeProcess, ProcessProgram, WorkerLost, WorkerRefused
from synaptic_mesh.workers.wasm_runtime import WasmBackend, WasmProgram

RETRY_FACTOR = 4
"""How much longer a program that went back waits than the time before."""
GRAPHS_REMEMBERED_MAX = 1_024
"""Graphs whose losses are counted; each came with a job that somebody paid for."""


class MoveRule(msgspec.Struct, frozen=True):
    """When a graph gets a process, and how many there may be."""

    after_s: float = 1.0
    """Seconds that its calls have taken in WebAssembly."""
    call_s_min: float = 60e-6
    """Least seconds that a call takes in WebAssembly on average."""
    check_s: float = 2.0
    """Seconds of calls in the process after which it is compared with WebAssembly."""
    processes_max: int = 4
    """At once; some 80 MB each, and the arena. Further graphs stay in WebAssembly until a program is closed."""
    losses_max: int = 2
    """Of one graph's processes."""


class Counts:
    """What happened to worker processes since the backend was opened."""

    def __init__(self) -> None:
        self.started = 0
        self.moved = 0
        """Programs that went on in a process."""
        self.returned = 0
        """Programs that came back because their steps took longer there."""
        self.lost = 0
        self.refused = 0
        """Graphs that LLVM or our planner cannot compile."""


Start = Callable[[Graph, Path | None], NativeProcess]


class IsolatedBackend:
    """Executes graphs in `wasm`, and as machine code in processes of their own. One thread uses it.

    `say` is told what an operator should know, one sentence at a time.
    """

    name = "wasm, then native in a process"

    def __init__(
        self,
        wasm: WasmBackend,
        cache_directory: Path | None = None,
        rule: MoveRule | None = None,
        say: Callable[[str], None] = lambda _: None,
        start: Start = NativeProcess,
    ) -> None:
        self.wasm = wasm
        self.trust: Trust = wasm.trust
        """That of WebAssembly; a process runs the golden vectors before it compiles anything else."""
        self.rule = rule or MoveRule()
        self.say = say
        self.counts = Counts()
        self.native_problem = ""
        """Why no graph gets a process, or nothing."""
        self._cache_directory = cache_directory
        self._start = start
        self._losses = OrderedDict[Digest, int]()
        self._processes = weakref.WeakSet[NativeProcess]()
        self._is_closed = False

    def compile(self, graph: Graph) -> "IsolatedProgram":
        """Return a program for `graph` that runs at once. Raises as `WasmBackend.compile` does, and LocalError after
        `close`."""
        if self._is_closed:
            raise LocalError("the backend is closed")
        return IsolatedProgram(self, graph, self.wasm.compile(graph))

    def start(self, graph: Graph, digest: Digest) -> NativeProcess | None:
        """Return a new process for the graph, or None when it may not have one now."""
        alive = sum(process.close.alive for process in self._processes)
        if self._is_closed or self.native_problem or self.is_barred(digest) or alive >= self.rule.processes_max:
            return None
        try:
            process = self._start(graph, self._cache_directory)
        except WorkerRefused as error:
            self.note_refusal(digest, error)
            return None
        except ResourceError as error:
            self.note_loss(digest, error)
            return None
        self._processes.add(process)
        self.counts.started += 1
        return process

    def is_barred(self, digest: Digest) -> bool:
        """True for a graph that had its chances."""
        return self._losses.get(digest, 0) >= self.rule.losses_max

    def note_move(self, digest: Digest, process: NativeProcess) -> None:
        """Count, and say so."""
        self.counts.moved += 1
        self.say(f"graph {short(digest)} goes on as machine code in process {process.pid}")

    def note_return(self, digest: Digest, wasm_s: float, process_s: float) -> None:
        """Count, and say why."""
        self.counts.returned += 1
        self.say(
            f"graph {short(digest)} goes back to WebAssembly: a step took {wasm_s * 1e6:.0f} us there and takes "
            f"{process_s * 1e6:.0f} us in its process"
        )

    def note_loss(self, digest: Digest, error: Exception) -> None:
        """Count, and say what happens now."""
        self.counts.lost += 1
        self._losses[digest] = count = self._losses.pop(digest, 0) + 1
        if len(self._losses) > GRAPHS_REMEMBERED_MAX:
            self._losses.popitem(last=False)
        end = "and stays there" if self.is_barred(digest) else f"for now ({count} of {self.rule.losses_max} chances)"
        self.say(f"graph {short(digest)} runs in WebAssembly, {end}: {error}")

    def note_refusal(self, digest: Digest, error: WorkerRefused) -> None:
        """Remember that this graph, or every graph, stays in WebAssembly, and say why."""
        self.counts.refused += 1
        if error.is_for_all:
            self.native_problem = str(error)
            self.say(f"all graphs run in WebAssembly: {error}")
        else:
            self._losses[digest] = self.rule.losses_max
            self.say(f"graph {short(digest)} runs in WebAssembly and stays there: {error}")

    def close(self) -> None:
        """End all processes. A program that ran in one raises WorkerLost at its next call."""
        self._is_closed = True
        for process in list(self._processes):
            process.close()

    def __enter__(self) -> "IsolatedBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class IsolatedProgram:
    """A program in wasmtime that moves to a worker process. See `engine.backend.Program`."""

    def __init__(self, backend: IsolatedBackend, graph: Graph, program: WasmProgram) -> None:
        self.graph = graph
        self._backend = backend
        self._digest = graph_digest(graph)
        self._program: WasmProgram | ProcessProgram = program
        self._process: NativeProcess | None = None
        self._wait_s = backend.rule.after_s
        self._wasm_step_s = 0.0
        self._spent_s, self._calls, self._steps = 0.0, 0, 0
        self.is_native = False
        """True while the program runs in a process."""

    def wait_for_native(self) -> bool:
        """Start a process whatever the rule says, wait until it is ready, and go on there if there is one."""
        if self._process is None:
            self._process = self._backend.start(self.graph, self._digest)
        self._try_move(wait=True)
        return self.is_native

    def write(self, name: str, array: Array) -> None:
        """See `backend.Program`."""
        self._program.write(name, array)

    def read(self, name: str) -> Array:
        """See `backend.Program`."""
        return self._program.read(name)

    def run(self) -> None:
        """See `backend.Program`. Raises WorkerLost too, when the process is lost: see the module's docstring."""
        self.run_many(1)

    def run_many(self, steps: int) -> None:
        """Execute `steps` times in one call. Raises as `run` does."""
        self._carry_out(lambda program: program.run_many(steps), steps)

    def run_feed(self, feed: Mapping[str, Array]) -> None:
        """See `engine.backend.run_feed`. Raises as `run` does."""
        self._carry_out(lambda program: run_feed(program, feed), len(next(iter(feed.values()))))

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}

    def close(self) -> None:
        """Release what the program holds."""
        self._program.close()
        if self._process is not None:
            self._process.close()

    def _carry_out(self, act: Callable[[WasmProgram | ProcessProgram], None], steps: int) -> None:
        if self.is_native:
            self._compare()
        else:
            self._consider()
        began_s = perf_counter()
        try:
            act(self._program)
        except WorkerLost as error:
            self._fall_back()
            self._backend.note_loss(self._digest, error)
            raise
        self._spent_s += perf_counter() - began_s
        self._calls += 1
        self._steps += steps

    def _consider(self) -> None:
        """Start a process when the rule says so; move to one that is ready."""
        if self._process is not None:
            self._try_move(wait=False)
            return
        rule = self._backend.rule
        if self._spent_s >= self._wait_s and self._spent_s >= rule.call_s_min * self._calls:
            self._process = self._backend.start(self.graph, self._digest)
            if self._process is None:
                self._begin_watch()

    def _compare(self) -> None:
        """Go back to WebAssembly, with the state, when the steps took less there."""
        if self._spent_s < self._backend.rule.check_s or not self._steps:
            return
        process_step_s = self._spent_s / self._steps
        self._begin_watch()
        if process_step_s <= self._wasm_step_s or self._process is None:
            return
        self._backend.note_return(self._digest, self._wasm_step_s, process_step_s)
        wasm = self._backend.wasm.compile(self.graph)
        self._take(wasm)
        self._process.close()
        self._process, self.is_native = None, False
        self._wait_s *= RETRY_FACTOR

    def _try_move(self, *, wait: bool) -> None:
        """Switch to the process when it is ready, or say what became of it."""
        process = self._process
        if process is None or self.is_native:
            return
        try:
            if not process.is_ready(wait):
                return
            native = process.program()
        except WorkerRefused as error:
            self._process = None
            self._backend.note_refusal(self._digest, error)
        except WorkerLost as error:
            self._process = None
            self._begin_watch()
            self._backend.note_loss(self._digest, error)
        else:
            self._take(native)
            self.is_native = True
            self._wasm_step_s = self._spent_s / self._steps if self._steps else float("inf")
            self._begin_watch()
            self._backend.note_move(self._digest, process)

    def _take(self, program: WasmProgram | ProcessProgram) -> None:
        """Go on in `program`. Inputs, which hold the carried state, are all that a following step reads."""
        for name in self.graph.inputs:
            program.write(name, self._program.read(name))
        self._program.close()
        self._program = program

    def _fall_back(self) -> None:
        self._process, self.is_native = None, False
        self._begin_watch()
        self._program.close()
        self._program = self._backend.wasm.compile(self.graph)

    def _begin_watch(self) -> None:
        """Measure anew: a graph that got no process, or lost one, earns its next chance as it did the first."""
        self._spent_s, self._calls, self._steps = 0.0, 0, 0

    def __enter__(self) -> "IsolatedProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
