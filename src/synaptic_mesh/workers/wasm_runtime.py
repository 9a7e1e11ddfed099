"""Graphs in wasmtime: `WasmBackend` compiles them, `WasmProgram` owns one instance and its memory.

The exported function is called through wasmtime's C interface directly: the Python wrapper looks up types and
converts values on every call, which takes several times as long as a small model's whole step. The module has no
imports and a memory of fixed size; its arithmetic is deterministic but for NaN payloads, which nothing observes.
Where threads share large products, each has an instance of its own, and the memory is one that all of them import.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import wasmtime
from wasmtime import _bindings as c_api
from wasmtime._ffi import WASMTIME_EXTERN_SHAREDMEMORY
from wasmtime._ffi import dll as wasmtime_library

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import ResourceError, broken
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.engine.abi import (
    ASSIST_EXPORT,
    ENVIRONMENT_CHANGED,
    MEMORY_EXPORT,
    PAGE_BYTES,
    RUN_EXPORT,
    WASM_EMITTER_VERSION,
)
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.workers.arena_program import ArenaProgram
from synaptic_mesh.workers.compiling_backend import CompilingBackend, cached_slots
from synaptic_mesh.workers.float_environment import is_default, restore_default
from synaptic_mesh.workers.pool import SharedRun, check_threads, word_view
from synaptic_mesh.workers.program_cache import CachedProgram, ProgramCache, program_key
from synaptic_mesh.workers.wasm_engine import new_engine


class Loaded(NamedTuple):
    """A module in wasmtime and its layout."""

    module: wasmtime.Module
    layout: CachedProgram


class WasmBackend(CompilingBackend[Loaded, "WasmProgram"]):
    """Executes graphs as WebAssembly. Exact only after the golden vectors gave the right bits on this machine.

    Threads may share a backend; each program belongs to one thread at a time. `threads`: how many may work on one large
    product; the bits do not depend on it. `instances`: reserve room for so many programs at once, which pays beyond
    about a hundred; 0 asks for each by itself.
    """

    name = "wasm"
    makes = "WebAssembly"
    compiler = "wasmtime"
    refusals = (wasmtime.WasmtimeError,)

    def __init__(self, cache: ProgramCache | None = None, threads: int = 1, instances: int = 0) -> None:
        super().__init__(cache)
        self.threads = check_threads(threads)
        self._settings = f"speed, {threads} threads, {'pool' if instances else 'one by one'}"
        self._engine = new_engine(threads, instances)

    def program(self, graph: Graph, code: Loaded) -> "WasmProgram":
        """Return a new instance of `code`. Raises ResourceError when there is no memory for it."""
        return WasmProgram(graph, code, self._engine)

    def _open(self, layout: CachedProgram) -> Loaded:
        return Loaded(wasmtime.Module.deserialize(self._engine, layout.native), layout)

    def _generate(self, graph: Graph) -> tuple[CachedProgram, Loaded]:
        from synaptic_mesh.engine.wasm.compiler import compile_graph  # not needed for what the cache holds

        compiled = compile_graph(graph, self.threads)
        module = wasmtime.Module(self._engine, compiled.wasm)
        layout = CachedProgram(
            wasm=compiled.wasm,
            native=bytes(module.serialize()) if self.cache is not None else b"",
            inputs=cached_slots(compiled.inputs),
            outputs=cached_slots(compiled.outputs),
            arena_bytes=compiled.arena_bytes,
            threads=compiled.threads,
        )
        return layout, Loaded(module, layout)

    def _key(self, graph: Digest) -> Digest:
        return program_key(graph, f"emitter {WASM_EMITTER_VERSION}", _library(), self._settings)


def open_wasm_backend(cache_directory: Path | None = None, threads: int = 1, *, on_demand: bool = False) -> WasmBackend:
    """Return a qualified backend, with a program cache if a directory is given; `on_demand`: one that is qualified for
    an operation when it first meets it. Raises ResourceError when it fails the golden vectors, LocalError for an
    impossible number of threads."""
    backend = WasmBackend(ProgramCache(cache_directory) if cache_directory is not None else None, threads)
    backend.qualify_on_demand() if on_demand else backend.qualify()
    return backend


class WasmProgram(ArenaProgram):
    """One instance of a module with its memory. See `engine.backend.Program`. One thread at a time."""

    def __init__(self, graph: Graph, loaded: Loaded, engine: wasmtime.Engine) -> None:
        layout = loaded.layout
        shared = _SharedMemory.of(engine, layout.arena_bytes) if layout.threads > 1 else None
        self._instances = [_Instance(engine, loaded, shared)]
        self._bytes = self._instances[0].memory_bytes() if shared is None else shared.memory_bytes()
        run: Callable[[int], int] = self._instances[0].call(RUN_EXPORT)
        if shared is not None:
            self._instances += [_Instance(engine, loaded, shared) for _ in range(1, layout.threads)]
            helpers = [instance.call(ASSIST_EXPORT) for instance in self._instances[1:]]
            run = SharedRun(run, lambda slot: helpers[slot - 1](slot), word_view(self._bytes), len(helpers))
        super().__init__(graph, layout, self._bytes, run)

    def memory_digest(self) -> Digest:
        """Return the digest of the whole memory: for tests that compare instances and engines."""
        return blob_digest(self._bytes.tobytes())

    def close(self) -> None:
        """Release instance and memory. Arrays that `read` returned are copies and stay valid."""
        super().close()
        self._bytes = np.zeros(0, np.uint8)
        for instance in self._instances:
            instance.store.close()

    def __enter__(self) -> "WasmProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Instance:
    """A store with one instance of a module in it, for one thread at a time."""

    def __init__(self, engine: wasmtime.Engine, loaded: Loaded, shared: "_SharedMemory | None") -> None:
        self.store = wasmtime.Store(engine)
        try:
            instance = wasmtime.Instance(self.store, loaded.module, [] if shared is None else [shared])
        except wasmtime.WasmtimeError as error:
            needs = loaded.layout.arena_bytes
            raise ResourceError(f"no memory for a program of {needs} bytes: {error}") from None
        self._exports = instance.exports(self.store)

    def call(self, name: str) -> "_RawCall":
        """Return an exported function that takes and returns one i32."""
        function = self._exports[name]
        if not isinstance(function, wasmtime.Func):
            broken(f"the emitter exports a function {name!r}")
        return _RawCall(self.store, function)

    def memory_bytes(self) -> Array:
        """Return the memory of a module that has its own, in place. It has min = max pages, so it never moves."""
        memory = self._exports[MEMORY_EXPORT]
        if not isinstance(memory, wasmtime.Memory):
            broken("the emitter exports a memory")
        return _in_place(memory.data_ptr(self.store), memory.data_len(self.store))


class _SharedMemory(wasmtime.SharedMemory):
    """A memory that instances on several threads import."""

    @classmethod
    def of(cls, engine: wasmtime.Engine, arena_bytes: int) -> "_SharedMemory":
        """Return one of fixed size. Raises ResourceError when the machine has no room for it."""
        pages = max(1, -(-arena_bytes // PAGE_BYTES))
        try:
            return cls(engine, wasmtime.MemoryType(wasmtime.Limits(pages, pages), shared=True))
        except wasmtime.WasmtimeError as error:
            raise ResourceError(f"no memory for a program of {arena_bytes} bytes: {error}") from None

    def memory_bytes(self) -> Array:
        """Return the memory in place."""
        return _in_place(self.data_ptr(), self.data_len())

    def _as_extern(self) -> c_api.wasmtime_extern_t:
        # wasmtime-py 50.0.1 hands over a pointer to the pointer here, which ctypes refuses with a TypeError.
        union = c_api.wasmtime_extern_union(sharedmemory=self.ptr())
        return c_api.wasmtime_extern_t(WASMTIME_EXTERN_SHAREDMEMORY, union)


def _in_place(data: Any, size: int) -> Array:
    address = ctypes.addressof(data.contents)
    return np.frombuffer(memoryview((ctypes.c_char * size).from_address(address)), np.uint8)


class _RawCall:
    """`run(steps) -> flags` through wasmtime_func_call_unchecked with everything prepared, under the default
    floating-point environment."""

    def __init__(self, store: wasmtime.Store, function: wasmtime.Func) -> None:
        self._values = (c_api.wasmtime_val_raw_t * 1)()
        self._trap = ctypes.POINTER(c_api.wasm_trap_t)()
        self._arguments = (store._context(), ctypes.byref(function._func), self._values, 1, ctypes.byref(self._trap))
        self._function = c_api._wasmtime_func_call_unchecked

    def __call__(self, steps: int) -> int:
        value = self._values[0]
        value.i32 = steps
        restore_default()
        error = self._function(*self._arguments)
        if not is_default():
            return ENVIRONMENT_CHANGED
        if error:
            raise ResourceError(f"wasmtime: {wasmtime.WasmtimeError._from_ptr(error)}")
        if self._trap:
            trap = wasmtime.Trap._from_ptr(self._trap)
            self._trap = ctypes.POINTER(c_api.wasm_trap_t)()
            self._arguments = (*self._arguments[:4], ctypes.byref(self._trap))
            raise ResourceError(f"the module trapped: {trap.message}")
        flags: int = value.i32
        return flags


@cache
def _library() -> str:
    """Tell one build of wasmtime from another by its shared library: reading the installed package's version would
    take as long as loading a dozen programs."""
    status = os.stat(wasmtime_library._name)
    return f"wasmtime {status.st_size} {status.st_mtime_ns}"
