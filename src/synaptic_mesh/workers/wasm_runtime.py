"""Graphs in wasmtime: `WasmBackend` compiles them, `WasmProgram` owns one instance and its memory.

The exported function is called through wasmtime's C interface directly: the Python wrapper looks up types and
converts values on every call, which takes several times as long as a small model's whole step. The module has no
imports and a memory of fixed size; its arithmetic is deterministic but for NaN payloads, which nothing observes.
"""

import ctypes
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wasmtime
from wasmtime import _bindings as c_api

from synaptic_mesh.base.arrays import DTYPES, Array
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, ResourceError, broken
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.ir import Graph, verify
from synaptic_mesh.engine.limits import admit
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.wasm.compiler import EMITTER_VERSION, NOT_FINITE, RUN_EXPORT, Slot, compile_graph
from synaptic_mesh.engine.wasm.encoder import MEMORY_EXPORT
from synaptic_mesh.workers.float_environment import require_default, restore_default
from synaptic_mesh.workers.program_cache import CachedProgram, CachedSlot, ProgramCache, program_key

_WASMTIME_VERSION = version("wasmtime")
MODULES_KEPT_MAX = 64
"""Compiled modules a backend keeps, so that a second program for the same graph costs only an instance."""
STEPS_PER_CALL_MAX = 1 << 20


class Loaded(NamedTuple):
    """A module in wasmtime and its layout."""

    module: wasmtime.Module
    layout: CachedProgram


class WasmBackend:
    """Executes graphs as WebAssembly. Exact only after `qualify` found the golden vectors' bits on this machine.

    Threads may share a backend; each program belongs to one thread at a time.
    """

    name = "wasm"

    def __init__(self, cache: ProgramCache | None = None) -> None:
        self.trust = Trust.TOLERANT
        self.cache = cache
        self._engine = wasmtime.Engine(_config())
        self._loaded: OrderedDict[Digest, Loaded] = OrderedDict()
        self._lock = threading.Lock()

    def qualify(self) -> None:
        """Run the golden vectors; afterwards `trust` is EXACT. Raises ResourceError naming the first that differ."""
        failures = check_backend(self)
        if failures:
            raise ResourceError(
                f"WebAssembly computes {len(failures)} golden vectors differently here, so it is not used: "
                + "; ".join(failures[:3])
            )
        self.trust = Trust.EXACT

    def compile(self, graph: Graph) -> "WasmProgram":
        """Return a program for `graph`, its inputs zero. Raises LocalError when the graph breaks the IR's law or the
        admission limits, ResourceError when the machine has no memory for it."""
        loaded = self.load(graph)
        return WasmProgram(graph, loaded, self._engine)

    def load(self, graph: Graph) -> Loaded:
        """Return the compiled module of `graph`: from memory, from the cache, or newly built."""
        digest = graph_digest(graph)
        with self._lock:
            loaded = self._loaded.get(digest)
            if loaded is None:
                verify(graph)
                admit(graph)
                loaded = self._loaded[digest] = self._from_cache(digest) or self._build(graph, digest)
                if len(self._loaded) > MODULES_KEPT_MAX:
                    self._loaded.popitem(last=False)
            else:
                self._loaded.move_to_end(digest)
            return loaded

    def _from_cache(self, digest: Digest) -> Loaded | None:
        if self.cache is None:
            return None
        key = _key(digest)
        layout = self.cache.load(key)
        if layout is None:
            return None
        try:
            return Loaded(wasmtime.Module.deserialize(self._engine, layout.native), layout)
        except wasmtime.WasmtimeError as error:
            self.cache.discard(key, f"wasmtime refused it: {error}")
            return None

    def _build(self, graph: Graph, digest: Digest) -> Loaded:
        compiled = compile_graph(graph)
        module = wasmtime.Module(self._engine, compiled.wasm)
        layout = CachedProgram(
            wasm=compiled.wasm,
            native=bytes(module.serialize()) if self.cache is not None else b"",
            inputs=_cached_slots(compiled.inputs),
            outputs=_cached_slots(compiled.outputs),
            arena_bytes=compiled.arena_bytes,
        )
        if self.cache is not None:
            self.cache.store(_key(digest), layout)
        return Loaded(module, layout)


def open_wasm_backend(cache_directory: Path | None = None) -> WasmBackend:
    """Return a qualified backend, with a program cache if a directory is given. Raises ResourceError when it fails the
    golden vectors."""
    backend = WasmBackend(ProgramCache(cache_directory) if cache_directory is not None else None)
    backend.qualify()
    return backend


class WasmProgram:
    """One instance of a module with its memory. See `engine.backend.Program`. One thread at a time."""

    def __init__(self, graph: Graph, loaded: Loaded, engine: wasmtime.Engine) -> None:
        self.graph = graph
        self.layout = loaded.layout
        self._has_run = False
        self._store = wasmtime.Store(engine)
        try:
            exports = wasmtime.Instance(self._store, loaded.module, []).exports(self._store)
        except wasmtime.WasmtimeError as error:
            raise ResourceError(f"no memory for a program of {self.layout.arena_bytes} bytes: {error}") from None
        memory, function = exports[MEMORY_EXPORT], exports[RUN_EXPORT]
        if not isinstance(memory, wasmtime.Memory) or not isinstance(function, wasmtime.Func):
            broken("the emitter exports a memory and a function")
        self._memory = memory
        self._call = _RawCall(self._store, function)
        self._inputs = {name: self._view(slot) for name, slot in self.layout.inputs.items()}
        self._outputs = {name: self._view(slot) for name, slot in self.layout.outputs.items()}

    def write(self, name: str, array: Array) -> None:
        """Copy `array` into input `name`. Raises LocalError when dtype or shape differ from the graph's."""
        view = self._inputs.get(name)
        if view is None:
            raise LocalError(f"the graph has no input {name!r}, only {sorted(self._inputs)}")
        if array.shape != view.shape or array.dtype != view.dtype:
            raise LocalError(f"input {name!r} is {view.dtype} {view.shape}, not {array.dtype} {array.shape}")
        view[...] = array

    def run(self) -> None:
        """Execute once. Raises StepInvalid for a non-finite checked output or an index out of range, ResourceError
        when the floating-point environment changed meanwhile."""
        self.run_many(1)

    def run_many(self, steps: int) -> None:
        """Execute `steps` times in one call, carried inputs feeding the next step; stops at the first invalid one."""
        if not 0 <= steps <= STEPS_PER_CALL_MAX:
            raise LocalError(f"{steps} steps in one call: choose 0 to {STEPS_PER_CALL_MAX}")
        restore_default()
        flags = self._call(steps)
        require_default()
        if flags:
            reason = "a checked output is not finite" if flags & NOT_FINITE else "an index is out of range"
            raise StepInvalid(f"the step is invalid: {reason}")
        self._has_run = self._has_run or steps > 0

    def read(self, name: str) -> Array:
        """Return a copy of output (or input) `name`. Before the first run, outputs that are no inputs are missing."""
        if name in self._inputs and (name not in self._outputs or name in self.graph.carried or not self._has_run):
            return self._inputs[name].copy()
        if name not in self._outputs or not self._has_run:
            raise LocalError(f"no value {name!r}: the graph has outputs {sorted(self._outputs)}; run it first")
        return self._outputs[name].copy()

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}

    def memory_digest(self) -> Digest:
        """Return the digest of the whole memory: for tests that compare instances and engines."""
        size = self._memory.data_len(self._store)
        return blob_digest(ctypes.string_at(self._memory.data_ptr(self._store), size))

    def close(self) -> None:
        """Release instance and memory. Arrays that `read` returned are copies and stay valid."""
        self._inputs.clear()
        self._outputs.clear()
        self._call.close()
        self._store.close()

    def __enter__(self) -> "WasmProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _view(self, slot: CachedSlot) -> Array:
        """Return the tensor in place. The memory has min = max pages, so it never moves."""
        dtype = DTYPES[slot.dtype]
        size = math.prod(slot.shape) * dtype.itemsize
        address = ctypes.addressof(self._memory.data_ptr(self._store).contents) + slot.offset
        array: Array = np.frombuffer(memoryview((ctypes.c_char * size).from_address(address)), np.uint8).view(dtype)
        return array.reshape(slot.shape)


class _RawCall:
    """`run(steps) -> flags` through wasmtime_func_call_unchecked with everything prepared."""

    def __init__(self, store: wasmtime.Store, function: wasmtime.Func) -> None:
        self._function = c_api._wasmtime_func_call_unchecked
        self._context = store._context()
        self._callee: object = ctypes.byref(function._func)
        self._values = (c_api.wasmtime_val_raw_t * 1)()
        self._trap = ctypes.POINTER(c_api.wasm_trap_t)()
        self._trap_pointer = ctypes.byref(self._trap)

    def __call__(self, steps: int) -> int:
        if self._callee is None:
            raise LocalError("the program is closed")
        self._values[0].i32 = steps
        error = self._function(self._context, self._callee, self._values, 1, self._trap_pointer)
        if error:
            raise ResourceError(f"wasmtime: {wasmtime.WasmtimeError._from_ptr(error)}")
        if self._trap:
            trap = wasmtime.Trap._from_ptr(self._trap)
            self._trap = ctypes.POINTER(c_api.wasm_trap_t)()
            self._trap_pointer = ctypes.byref(self._trap)
            raise ResourceError(f"the module trapped: {trap.message}")
        return self._values[0].i32

    def close(self) -> None:
        """Refuse further calls."""
        self._callee = None


def _config() -> wasmtime.Config:
    """Deterministic features only; no fuel, no epochs: cost follows from static shapes."""
    config = wasmtime.Config()
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.cranelift_opt_level = "speed"
    return config


def _key(graph: Digest) -> Digest:
    return program_key(graph, f"emitter {EMITTER_VERSION}", f"wasmtime {_WASMTIME_VERSION}", "speed")


def _cached_slots(slots: Mapping[str, Slot]) -> dict[str, CachedSlot]:
    return {name: CachedSlot(slot.offset, slot.shape, slot.dtype.value) for name, slot in slots.items()}
