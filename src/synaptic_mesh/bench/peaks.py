"""The machine's own ceilings: loops that touch no memory, in the widest vectors that our code uses here."""

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from synaptic_mesh.bench.harness import measure
from synaptic_mesh.bench.ours import WASM_BITS, Ours
from synaptic_mesh.bench.record import Peak
from synaptic_mesh.engine.native.peak import PEAK, operations_per_iteration, peak_text
from synaptic_mesh.workers.native_runtime import NativeBackend
from synaptic_mesh.workers.peak import PeakLoop

ITERATIONS = 300_000


def measure_peak(ours: Sequence[Ours], repeats: int) -> Peak:
    """Return the ceilings: with the native backend in its vectors, else in the 128 bits of WebAssembly, which has no
    fused operation."""
    for each in ours:
        if isinstance(each.backend, NativeBackend):
            apart, fused = (_native_rate(each.backend, repeats, fused) for fused in (False, True))
            return Peak(apart, each.vector_bits, fused)
    loop = PeakLoop()
    return Peak(loop.operations / measure(loop.run, repeats).cpu_us / 1e3, WASM_BITS, None)


def _native_rate(backend: NativeBackend, repeats: int, fused: bool) -> float:
    run = _native_loop(backend, fused)
    operations = ITERATIONS * operations_per_iteration(backend.profile, fused)
    return operations / measure(run, repeats).cpu_us / 1e3


def _native_loop(backend: NativeBackend, fused: bool) -> Callable[[], object]:
    """Return the loop as a call. It reads two vectors of ones, which LLVM cannot know, and writes behind them."""
    import llvmlite.binding as llvm  # an extra; there is a native backend, so it is installed

    object_code = backend.assemble(peak_text(backend.profile, fused))
    linker = llvm.create_lljit_compiler(backend.machine())
    code = llvm.JITLibraryBuilder().add_object_img(object_code).export_symbol(PEAK).link(linker, PEAK)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(code[PEAK])
    lanes = backend.profile.lanes
    memory = np.ones(16 + lanes * (2 + backend.profile.accumulators), np.float32)
    start = -(memory.ctypes.data // 4) % 16  # floats up to the next multiple of 64 bytes
    held = (linker, code, memory)  # as long as the call can be made
    address = memory.ctypes.data + 4 * start

    def run() -> object:
        function(address, ITERATIONS)
        return held

    return run
