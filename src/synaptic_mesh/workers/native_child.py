"""The worker process of one graph: compiles it with LLVM and executes it, in memory that its node sees too.

    python -m synaptic_mesh.workers.native_child MEMORY_FD ANSWERS_FD GRAPH_BYTES PARENT_PID [CACHE_DIRECTORY]

Requests come on standard input; its end is the end of the process. First it does what it needs files for: it reads the
graph, and runs the golden vectors of the graph's operations as machine code, with the program cache for these (they are
our own graphs). Then it confines itself, and only then LLVM meets the stranger's graph. Neither the graph's code nor
anything made after it is kept: a process that a graph took over leaves nothing behind that another would load.
"""

import importlib
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synaptic_mesh.base.arrays import DTYPES, Array
from synaptic_mesh.base.errors import MeshError, PeerError
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.serialize import graph_from_bytes_untrusted
from synaptic_mesh.workers.confinement import confine, die_with
from synaptic_mesh.workers.float_environment import restore_default
from synaptic_mesh.workers.native_messages import (
    REQUEST_BYTES,
    Answer,
    Ask,
    Request,
    Say,
    SharedPlan,
    decode_request,
    encode_answer,
    encode_offsets,
    plan_memory,
)
from synaptic_mesh.workers.native_runtime import Loaded, NativeBackend
from synaptic_mesh.workers.program_cache import ProgramCache

IMPORTED_LATER = ("synaptic_mesh.engine.native.compiler",)
"""What compiling imports when it begins, which is too late here: no file can be opened then."""


class Worker:
    """One compiled graph over the shared memory."""

    def __init__(self, graph: Graph, code: Loaded, memory: Array, plan: SharedPlan) -> None:
        self._run = code.run
        self._code = code  # keeps it in memory
        arena = memory[plan.arena :]
        self._address = arena.ctypes.data
        code.init(self._address)
        self._feed: list[tuple[Array, Array]] = []
        for slot in plan.feed:
            place = code.layout.inputs[slot.name]
            dtype = DTYPES[place.dtype]
            size = 4 * graph.nodes[graph.inputs[slot.name]].size
            target = arena[place.offset : place.offset + size].view(dtype).reshape(place.shape)
            steps = memory[slot.offset : slot.offset + size * plan.feed_steps].view(dtype)
            self._feed.append((target, steps.reshape(plan.feed_steps, *place.shape)))

    def carry_out(self, request: Request) -> Answer:
        """Execute, and return how far it came and the flags of the last step."""
        if request.kind is Ask.RUN:
            flags = self._run(self._address, request.steps)
            return Answer(Say.DONE, request.number, 0 if flags else request.steps, flags)
        for step in range(request.steps):
            for target, values in self._feed:
                target[...] = values[step]
            flags = self._run(self._address, 1)
            if flags:
                return Answer(Say.DONE, request.number, step, flags)
        return Answer(Say.DONE, request.number, request.steps)


def open_worker(memory: Array, graph_bytes: int, cache: Path | None) -> tuple[Answer, Worker | None]:
    """Return the first answer, and the worker where there is one; afterwards this process is confined."""
    try:
        graph = graph_from_bytes_untrusted(memory[:graph_bytes].tobytes())
    except PeerError as error:
        return Answer(Say.REFUSED, 0, text=str(error)), None
    try:
        backend = NativeBackend(ProgramCache(cache) if cache is not None else None)
        backend.qualify_on_demand()
        backend.meet(graph)
    except MeshError as error:
        return Answer(Say.UNQUALIFIED, 0, text=str(error)), None
    for name in IMPORTED_LATER:
        importlib.import_module(name)
    backend.cache = None
    confine()
    try:
        code = backend.load_unqualified(graph)
    except MeshError as error:
        return Answer(Say.REFUSED, 0, text=str(error)), None
    plan = plan_memory(graph)
    worker = Worker(graph, code, memory, plan)
    offsets = encode_offsets(graph, code.layout)
    memory[: len(offsets)] = np.frombuffer(offsets, np.uint8)
    return Answer(Say.READY, 0, code.layout.arena_bytes), worker


def main(arguments: Sequence[str]) -> int:
    """Serve until standard input ends."""
    memory_fd, answers, graph_bytes, parent = map(int, arguments[:4])
    die_with(parent)
    restore_default()  # generated code does so too, at each call
    memory = np.frombuffer(mmap.mmap(memory_fd, os.fstat(memory_fd).st_size), np.uint8)
    os.close(memory_fd)
    cache = Path(arguments[4]) if len(arguments) > 4 else None
    answer, worker = open_worker(memory, graph_bytes, cache)
    os.write(answers, encode_answer(answer))
    while worker is not None and len(data := os.read(sys.stdin.fileno(), REQUEST_BYTES)) == REQUEST_BYTES:
        os.write(answers, encode_answer(worker.carry_out(decode_request(data))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
