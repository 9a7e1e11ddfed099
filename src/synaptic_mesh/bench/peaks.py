"""The machine's own ceilings: loops that touch no memory, in the vectors that each of our backends uses here.

The clock of a core changes with what ran before and beside it, so a ceiling measured once says little. Samples are
taken before, between and after everything else, in CPU time, and a product's share of the ceiling is that of samples
taken in turn with it.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from synaptic_mesh.bench.harness import measure, median, median_interval
from synaptic_mesh.bench.ours import WASM_BITS, Ours
from synaptic_mesh.bench.record import Peak
from synaptic_mesh.engine.native.peak import PEAK, operations_per_iteration, peak_text
from synaptic_mesh.workers.native_runtime import NativeBackend
from synaptic_mesh.workers.peak import PeakLoop
from synaptic_mesh.workers.wasm_runtime import WasmBackend

ITERATIONS = 300_000
SAMPLE_CALLS = 3


class Loop(NamedTuple):
    """A call of `run` carries out so many operations."""

    run: Callable[[], object]
    operations: int


class Peaks:
    """The loops of our backends, by backend, and what `sample` found so far."""

    def __init__(self, ours: Sequence[Ours]) -> None:
        self.loops: dict[str, Loop] = {}
        self._fused: Loop | None = None
        self._bits = WASM_BITS
        for each in ours:
            if isinstance(each.backend, NativeBackend):
                self._fused = _native_loop(each.backend, True)
                self._bits = each.vector_bits
                self.loops[each.name] = _native_loop(each.backend, False)
            elif isinstance(each.backend, WasmBackend):
                loop = PeakLoop()
                self.loops[each.name] = Loop(loop.run, loop.operations)
        self._rates: dict[str, list[float]] = {}

    def sample(self) -> None:
        """Measure every loop once more."""
        fused = {} if self._fused is None else {"fma": self._fused}
        for name, loop in (self.loops | fused).items():
            rate = loop.operations / measure(loop.run, SAMPLE_CALLS).cpu_us / 1e3
            self._rates.setdefault(name, []).append(rate)

    def result(self) -> Peak:
        """Return the medians of all samples: of the native backend where there is one, else of WebAssembly, which has
        no fused operation."""
        rates = {name: median(values) for name, values in self._rates.items()}
        widest = "wasm" if self._fused is None else "native"
        low, high = median_interval(self._rates[widest])
        return Peak(rates[widest], self._bits, rates.get("fma"), rates.get("wasm"), [low, high])


def measure_peak(ours: Sequence[Ours], repeats: int) -> Peak:
    """Return the ceilings by themselves."""
    peaks = Peaks(ours)
    for _ in range(repeats):
        peaks.sample()
    return peaks.result()


def _native_loop(backend: NativeBackend, fused: bool) -> Loop:
    """Return the loop. It reads two vectors of ones, which LLVM cannot know, and writes behind them."""
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

    return Loop(run, ITERATIONS * operations_per_iteration(backend.profile, fused))
