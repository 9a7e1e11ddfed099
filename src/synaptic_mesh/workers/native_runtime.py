"""Graphs as machine code: `NativeBackend` compiles them with LLVM, `NativeProgram` owns one arena.

LLVM is an extra (llvmlite) and imported here only. Code is generated for a stated baseline (`engine.native.profile`),
not for the exact processor, so a machine of the same family makes the same object. An object calls nothing outside
itself; it is kept in the program cache and linked again in well under a millisecond. Native code has no sandbox: every
address it touches was computed by our own planner from static shapes, indices are checked, and the golden vectors run
before the backend is trusted.
"""

import contextlib
import ctypes
import itertools
import mmap
import platform
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.engine.abi import (
    ASSIST_EXPORT,
    INIT_EXPORT,
    NATIVE_EMITTER_VERSION,
    RUN_EXPORT,
    Slot,
)
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import admit
from synaptic_mesh.engine.native.profile import Profile, supported_profiles
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.verify import verify
from synaptic_mesh.workers.arena_program import ArenaProgram
from synaptic_mesh.workers.pool import SharedRun, check_threads, word_view
from synaptic_mesh.workers.program_cache import CachedProgram, CachedSlot, ProgramCache, program_key

try:
    import llvmlite
    import llvmlite.binding as llvm
except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
    llvm = None

OBJECTS_KEPT_MAX = 64
"""Linked objects a backend keeps, so that a second program for the same graph costs only an arena."""
LLVM_LEVEL = 2
"""Optimisation of LLVM's code generator; no passes over the text run before it."""
NARROW_CPUS = ("znver4",)
"""Processors that carry out 512-bit instructions in halves: code for 256 bits is at least as fast there."""


def require_llvm() -> None:
    """Raise LocalError when llvmlite is not installed."""
    if llvm is None:
        raise LocalError("the native backend needs llvmlite, which is not installed: pip install llvmlite, or use wasm")


def host_profiles() -> list[Profile]:
    """Return the profiles that this machine can execute, the fastest first."""
    require_llvm()
    try:
        features = [name for name, present in llvm.get_host_cpu_features().items() if present]
    except RuntimeError:  # LLVM does not know how to ask this system: take what every processor of the family has
        features = []
    profiles = supported_profiles(platform.machine(), features)
    if llvm.get_host_cpu_name() in NARROW_CPUS:
        profiles.sort(key=lambda profile: profile.name == "avx512")
    return profiles


HUGE_PAGE_BYTES = 2 << 20
_PRIVATE: dict[str, int] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""Huge pages are for private memory; Windows knows neither."""


class Loaded(NamedTuple):
    """A linked object and its layout. The code lives as long as `tracker` does. `assist`: where threads share kernels,
    what a helper calls."""

    tracker: Any
    run: Any
    init: Any
    layout: CachedProgram
    assist: Any = None


class NativeBackend:
    """Executes graphs as machine code. Exact only after `qualify` found the golden vectors' bits on this machine.

    Threads may share a backend; each program belongs to one thread at a time. `profile`: one of `host_profiles()`.
    `threads`: how many may work on one large product; the bits do not depend on it.
    """

    name = "native"

    def __init__(self, cache: ProgramCache | None = None, profile: Profile | None = None, threads: int = 1) -> None:
        self.profile = profile or host_profiles()[0]
        self.threads = check_threads(threads)
        require_llvm()
        self.trust = Trust.TOLERANT
        self.cache = cache
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._linker = llvm.create_lljit_compiler(self.machine())
        self._loaded: OrderedDict[Digest, Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def machine(self) -> Any:
        """Return LLVM's description of what to generate code for."""
        target = llvm.Target.from_default_triple()
        return target.create_target_machine(
            cpu=self.profile.cpu, features="", opt=LLVM_LEVEL, codemodel="jitdefault", jit=True
        )

    def qualify(self) -> None:
        """Run the golden vectors; afterwards `trust` is EXACT. Raises ResourceError naming the first that differ."""
        failures = check_backend(self)
        if failures:
            raise ResourceError(
                f"native {self.profile.name} code computes {len(failures)} golden vectors differently here, so it is "
                "not used: " + "; ".join(failures[:3])
            )
        self.trust = Trust.EXACT

    def compile(self, graph: Graph) -> "NativeProgram":
        """Return a program for `graph`, its inputs zero. Raises LocalError when the graph breaks the IR's law or the
        admission limits, ResourceError when the machine has no memory for it."""
        return NativeProgram(graph, self.load(graph))

    def load(self, graph: Graph) -> Loaded:
        """Return the linked code of `graph`: from memory, from the cache, or newly built."""
        digest = graph_digest(graph)
        with self._lock:
            loaded = self._loaded.get(digest)
            if loaded is None:
                verify(graph)
                admit(graph)
                loaded = self._loaded[digest] = self._from_cache(digest) or self._build(graph, digest)
                if len(self._loaded) > OBJECTS_KEPT_MAX:
                    self._loaded.popitem(last=False)
            else:
                self._loaded.move_to_end(digest)
            return loaded

    def _from_cache(self, digest: Digest) -> Loaded | None:
        if self.cache is None:
            return None
        key = self._key(digest)
        layout = self.cache.load(key)
        if layout is None:
            return None
        try:
            return self._link(layout)
        except RuntimeError as error:
            self.cache.discard(key, f"LLVM refused it: {error}")
            return None

    def _build(self, graph: Graph, digest: Digest) -> Loaded:
        from synaptic_mesh.engine.native.compiler import compile_native  # not needed for what the cache holds

        compiled = compile_native(graph, self.profile, self.threads)
        layout = CachedProgram(
            wasm=b"",
            native=self.assemble(compiled.text),
            inputs=_cached_slots(compiled.inputs),
            outputs=_cached_slots(compiled.outputs),
            arena_bytes=compiled.arena_bytes,
            threads=compiled.threads,
        )
        try:
            loaded = self._link(layout)
        except RuntimeError as error:
            raise ResourceError(f"LLVM could not load its own code, so use wasm here: {error}") from None
        if self.cache is not None:
            self.cache.store(self._key(digest), layout)
        return loaded

    def assemble(self, text: str) -> bytes:
        """Return the object of a module's text."""
        return bytes(self.machine().emit_object(llvm.parse_assembly(text)))

    def assembly(self, text: str) -> str:
        """Return the assembly of a module's text, for people."""
        return str(self.machine().emit_assembly(llvm.parse_assembly(text)))

    def _link(self, layout: CachedProgram) -> Loaded:
        """Return callable code. Raises RuntimeError for an object that LLVM does not accept."""
        shared = layout.threads > 1
        builder = llvm.JITLibraryBuilder().add_object_img(layout.native)
        for name in (RUN_EXPORT, INIT_EXPORT, ASSIST_EXPORT)[: 2 + shared]:
            builder = builder.export_symbol(name)
        tracker = builder.link(self._linker, f"program{next(self._numbers)}")
        step = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64)
        run, init = step(tracker[RUN_EXPORT]), ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tracker[INIT_EXPORT])
        return Loaded(tracker, run, init, layout, step(tracker[ASSIST_EXPORT]) if shared else None)

    def _key(self, graph: Digest) -> Digest:
        versions = f"llvmlite {llvmlite.__version__} LLVM {llvm.llvm_version_info}"
        how = f"{self.profile.name} O{LLVM_LEVEL} {self.threads} threads"
        return program_key(graph, f"native emitter {NATIVE_EMITTER_VERSION}", versions, how)


def open_native_backend(
    cache_directory: Path | None = None, profile: Profile | None = None, threads: int = 1
) -> NativeBackend:
    """Return a qualified backend, with a program cache if a directory is given. Raises LocalError without llvmlite or
    for an impossible number of threads, ResourceError when it fails the golden vectors."""
    require_llvm()
    backend = NativeBackend(ProgramCache(cache_directory) if cache_directory is not None else None, profile, threads)
    backend.qualify()
    return backend


class NativeProgram(ArenaProgram):
    """One arena and the code that works on it. See `engine.backend.Program`. One thread at a time.

    The code itself sets the floating-point environment and looks at it again: nothing of it is left to do here.
    """

    def __init__(self, graph: Graph, loaded: Loaded) -> None:
        memory = allocate(loaded.layout.arena_bytes)
        self._code: Loaded | None = loaded
        self._memory = memory
        self._address = memory.ctypes.data
        loaded.init(self._address)
        execute: Callable[[int], int] = partial(loaded.run, self._address)
        if loaded.assist is not None:
            execute = SharedRun(
                execute, partial(loaded.assist, self._address), word_view(memory), loaded.layout.threads - 1
            )
        super().__init__(graph, loaded.layout, memory, execute)

    def memory_digest(self) -> Digest:
        """Return the digest of the whole arena: for tests that compare programs."""
        return blob_digest(self._memory.tobytes())

    def close(self) -> None:
        """Release code and arena. Arrays that `read` returned are copies and stay valid."""
        super().close()
        self._code = None

    def __enter__(self) -> "NativeProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def allocate(size: int) -> Array:
    """Return `size` bytes of zeros that start on a page, given back when nobody refers to them; large ones start on a
    huge page, where the system gives such: a product of two large matrices looks up some thousand pages. Raises
    ResourceError when there is no memory."""
    huge = size >= HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE")
    try:
        block = mmap.mmap(-1, size + HUGE_PAGE_BYTES * huge, **_PRIVATE)
        if huge:
            with contextlib.suppress(OSError):  # a kernel without huge pages
                block.madvise(mmap.MADV_HUGEPAGE)
    except OSError as error:
        raise ResourceError(f"no memory for a program of {size} bytes: {error}") from None
    memory: Array = np.frombuffer(block, np.uint8)
    start = -memory.ctypes.data % HUGE_PAGE_BYTES if huge else 0
    return memory[start : start + size]


def _cached_slots(slots: Mapping[str, Slot]) -> dict[str, CachedSlot]:
    return {name: CachedSlot(slot.offset, slot.shape, slot.dtype.value) for name, slot in slots.items()}
