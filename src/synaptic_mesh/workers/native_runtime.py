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
from collections.abc import Callable, Sequence
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
)
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import flops
from synaptic_mesh.engine.native.profile import SMALL_FLOPS_MAX, Profile, small_profile, supported_profiles
from synaptic_mesh.workers.arena_program import ArenaProgram, refuse
from synaptic_mesh.workers.call import Call
from synaptic_mesh.workers.compiling_backend import CompilingBackend, cached_slots
from synaptic_mesh.workers.pool import HelpedRun, check_threads
from synaptic_mesh.workers.program_cache import CachedProgram, ProgramCache, program_key

try:
    import llvmlite
    import llvmlite.binding as llvm
except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
    llvm = None

LLVM_LEVEL = 2
"""Optimisation of LLVM's code generator."""
PASSES_LEVEL = 2
"""Optimisation of LLVM's passes over the text, which run for small graphs only."""
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


def target_machine(cpu: str) -> Any:
    """Return LLVM's description of a processor to generate code for."""
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=cpu, features="", opt=LLVM_LEVEL, codemodel="jitdefault", jit=True)


def parse_module(text: str, machine: Any, joined: bool) -> Any:
    """Return LLVM's module of a text. `joined`: after its passes, which put the functions of a small step into one.
    They keep to IEEE 754 as long as no instruction carries a fast-math flag, and none of ours does; only which NaN
    comes out of an operation on two is theirs to choose, as it was the code generator's (semantics, rule 3). Nothing is
    vectorised: our text says itself what a vector is."""
    module = llvm.parse_assembly(text)
    if joined:
        tuning = llvm.create_pipeline_tuning_options(speed_level=PASSES_LEVEL)
        tuning.loop_vectorization = tuning.slp_vectorization = False
        passes = llvm.create_pass_builder(machine, tuning)
        passes.getModulePassManager().run(module, passes)
    return module


HUGE_PAGE_BYTES = 2 << 20
LOCKED_FLOPS_MAX = 1 << 20
"""Operations of a step that does not let other threads of Python run meanwhile: ten or twenty microseconds."""
_LOCKED = ctypes.PYFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64)
_PRIVATE: dict[str, int] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""Huge pages are for private memory; Windows knows neither."""


class Loaded(NamedTuple):
    """A linked object and its layout. The code lives as long as `tracker` does. `machine` makes LLVM's target for it.
    `assist`: where threads share kernels, what a helper calls."""

    tracker: Any
    run: Any
    init: Any
    layout: CachedProgram
    machine: Callable[[], Any]
    assist: Any = None


class NativeBackend(CompilingBackend[Loaded, "NativeProgram"]):
    """Executes graphs as machine code. Exact only after the golden vectors gave the right bits on this machine.

    Threads may share a backend; each program belongs to one thread at a time. `profile`: one of `host_profiles()`, used
    for every graph; without it the fastest one, at the width that fits the graph.
    `threads`: how many may work on one large product; the bits do not depend on it.
    """

    name = "native"
    compiler = "LLVM"
    refusals = (RuntimeError,)

    def __init__(self, cache: ProgramCache | None = None, profile: Profile | None = None, threads: int = 1) -> None:
        self.profile = profile or host_profiles()[0]
        self._small_profile = small_profile(self.profile) if profile is None else None
        self._small: NativeBackend | None = None
        self.threads = check_threads(threads)
        require_llvm()
        super().__init__(cache)
        self.makes = f"native {self.profile.name} code"
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._linker = llvm.create_lljit_compiler(self.machine())
        self._numbers = itertools.count()

    def machine(self) -> Any:
        """Return LLVM's description of what to generate code for."""
        return target_machine(self.profile.cpu)

    def program(self, graph: Graph, code: Loaded) -> "NativeProgram":
        """Return a new arena for `code`. Raises ResourceError when there is no memory for it."""
        return NativeProgram(graph, code)

    def load(self, graph: Graph) -> Loaded:
        """See `CompilingBackend.load`; the code of a small graph comes from a backend of its own, qualified itself."""
        backend = self.serving(graph)
        return super().load(graph) if backend is self else backend.load(graph)

    def serving(self, graph: Graph) -> "NativeBackend":
        """Return the backend whose profile fits the graph: this one, or one for small graphs."""
        if self._small_profile is None or flops(graph) > SMALL_FLOPS_MAX:
            return self
        with self._lock:
            if self._small is None:
                self._small = NativeBackend(self.cache, self._small_profile)
                if self.trust is Trust.EXACT:
                    self._small.qualify_on_demand()
        return self._small

    def _generate(self, graph: Graph) -> tuple[CachedProgram, Loaded]:
        from synaptic_mesh.engine.native.compiler import compile_native  # not needed for what the cache holds

        compiled = compile_native(graph, self.profile, self.threads)
        layout = CachedProgram(
            wasm=b"",
            native=self.assemble(compiled.text, compiled.joined),
            inputs=cached_slots(compiled.inputs),
            outputs=cached_slots(compiled.outputs),
            arena_bytes=compiled.arena_bytes,
            threads=compiled.threads,
        )
        try:
            return layout, self._open(layout)
        except RuntimeError as error:
            raise ResourceError(f"LLVM could not load its own code, so use wasm here: {error}") from None

    def assemble(self, text: str, joined: bool = False) -> bytes:
        """Return the object of a module's text; `joined`: see `parse_module`."""
        machine = self.machine()
        return bytes(machine.emit_object(parse_module(text, machine, joined)))

    def assembly(self, text: str, joined: bool = False) -> str:
        """Return the assembly of a module's text, for people."""
        machine = self.machine()
        return str(machine.emit_assembly(parse_module(text, machine, joined)))

    def _open(self, layout: CachedProgram) -> Loaded:
        """Return callable code. Raises RuntimeError for an object that LLVM does not accept."""
        shared = layout.threads > 1
        builder = llvm.JITLibraryBuilder().add_object_img(layout.native)
        for name in (RUN_EXPORT, INIT_EXPORT, ASSIST_EXPORT)[: 2 + shared]:
            builder = builder.export_symbol(name)
        tracker = builder.link(self._linker, f"program{next(self._numbers)}")
        step = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64)
        run, init = step(tracker[RUN_EXPORT]), ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tracker[INIT_EXPORT])
        machine = partial(target_machine, self.profile.cpu)  # not of this backend: that would be a cycle
        assist: Any = None
        if shared:
            assist = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)(tracker[ASSIST_EXPORT])
            assist.code = tracker  # a helper may be about to call it when the program closes
        return Loaded(tracker, run, init, layout, machine, assist)

    def _key(self, graph: Digest) -> Digest:
        versions = f"llvmlite {llvmlite.__version__} LLVM {llvm.llvm_version_info}"
        how = f"{self.profile.name} O{LLVM_LEVEL} {self.threads} threads"
        return program_key(graph, f"native emitter {NATIVE_EMITTER_VERSION}", versions, how)


def open_native_backend(
    cache_directory: Path | None = None, profile: Profile | None = None, threads: int = 1, *, on_demand: bool = False
) -> NativeBackend:
    """Return a qualified backend, with a program cache if a directory is given; `on_demand`: one that is qualified for
    an operation when it first meets it. Raises LocalError without llvmlite or for an impossible number of threads,
    ResourceError when it fails the golden vectors."""
    require_llvm()
    backend = NativeBackend(ProgramCache(cache_directory) if cache_directory is not None else None, profile, threads)
    backend.qualify_on_demand() if on_demand else backend.qualify()
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
        self._gate = np.zeros(1, np.uint64)
        """Not 0: the program is open and has run, so a prepared call need not look."""
        loaded.init(self._address)
        execute: Callable[[int], int] = partial(loaded.run, self._address)
        if loaded.assist is not None:
            execute = HelpedRun(execute, partial(loaded.assist, self._address), memory, loaded.layout.threads - 1)
        super().__init__(graph, loaded.layout, memory, execute)

    def _single_step(self) -> Callable[[], int]:
        """A short step keeps the interpreter's lock: to give it away and take it back costs more than others gain."""
        address = self._short_step()
        if not address:
            return super()._single_step()
        return partial(_LOCKED(address), ctypes.c_void_p(self._address), ctypes.c_uint64(1))

    def _fast_call(self, call: Call, places: Sequence[Array], results: Sequence[Array]) -> Call:
        """Of a short step, a builtin of the interpreter."""
        from synaptic_mesh.workers.native_call import Ordinary, fast_call  # needs LLVM

        address = self._short_step()
        if not address or self._code is None:
            return call
        ordinary = Ordinary(call, refuse, places, results)
        return fast_call(address, self._address, self._gate, ordinary, self._code.machine) or call

    def _note_run(self) -> None:
        super()._note_run()
        self._gate[0] = not self._is_closed

    def _short_step(self) -> int:
        """Return where the code of a short step starts; 0 for a long one, and where threads take part."""
        if self._code is None or self._code.assist is not None or flops(self.graph) > LOCKED_FLOPS_MAX:
            return 0
        return ctypes.cast(self._code.run, ctypes.c_void_p).value or 0

    def memory_digest(self) -> Digest:
        """Return the digest of the whole arena: for tests that compare programs."""
        return blob_digest(self._memory.tobytes())

    def close(self) -> None:
        """Release code and arena. Arrays that `read` returned are copies and stay valid."""
        self._gate[0] = 0
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
