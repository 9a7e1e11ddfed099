"""What a program costs before its first step: compiling, loading from the cache, one more instance, its size."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synaptic_mesh.base.codec import Record
from synaptic_mesh.bench.harness import measure
from synaptic_mesh.bench.ours import Ours, Stepping
from synaptic_mesh.bench.workload import Kind, Workload
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.workers.program_cache import ProgramCache
from synaptic_mesh.workers.wasm_runtime import WasmBackend

MODELS = {
    "train 784-128-10 batch 32": Workload(Kind.TRAIN, (784, 128, 10), 32),
    "train 16-32-4 batch 32": Workload(Kind.TRAIN, (16, 32, 4), 32),
}


class ProgramCost(Record):
    """Medians of CPU time of one program: `compile_ms` from the graph to code that can be called, `cached_load_ms` the
    same from the cache on disk, `spawn_us` one more instance of loaded code with its inputs zero. `module_bytes`: the
    portable module, or the object; `arena_bytes`: the memory of an instance."""

    name: str
    backend: str
    compile_ms: float
    cached_load_ms: float
    spawn_us: float
    module_bytes: int
    arena_bytes: int


def measure_programs(ours: Ours, repeats: int) -> list[ProgramCost]:
    """Return the costs of every model of `MODELS` on one backend."""
    return [_measure(name, work, ours, repeats) for name, work in MODELS.items()]


def _measure(name: str, work: Workload, ours: Ours, repeats: int) -> ProgramCost:
    graph = work.graph()
    opened = _maker(ours.backend)

    def load(cache: ProgramCache | None) -> float:
        """A backend keeps what it loaded, so each sample needs a new one, made outside the measured time."""
        backends = iter([opened(cache) for _ in range(repeats + 1)])
        return measure(lambda: next(backends).load(graph), repeats).cpu_us / 1e3

    compile_ms = load(None)
    with tempfile.TemporaryDirectory() as directory:
        cache = ProgramCache(Path(directory) / "programs")
        opened(cache).load(graph)
        cached_load_ms = load(cache)
    backend = opened(None)
    layout = backend.load(graph).layout

    def spawn() -> None:
        program: Stepping = backend.compile(graph)
        program.close()

    spawn_us = measure(spawn, 5 * repeats).cpu_us
    size = len(layout.wasm) or len(layout.native)
    return ProgramCost(name, ours.name, compile_ms, cached_load_ms, spawn_us, size, layout.arena_bytes)


def _maker(backend: Backend) -> Callable[[ProgramCache | None], Any]:
    """Return what makes another backend of the same kind, without its golden vectors: they are no part of a load."""
    if isinstance(backend, WasmBackend):
        return WasmBackend
    kind: Any = type(backend)
    profile = getattr(backend, "profile", None)
    return lambda cache: kind(cache, profile)
