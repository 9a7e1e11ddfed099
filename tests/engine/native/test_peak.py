"""The loop that measures the ceiling runs, and does the operations it is counted with."""

import ctypes

import numpy as np
import pytest

from synaptic_mesh.engine.native.peak import PEAK, ROUNDS, operations_per_iteration, peak_text
from synaptic_mesh.engine.native.profile import AVX2, AVX512
from synaptic_mesh.workers.native_runtime import NativeBackend, host_profiles

llvm = pytest.importorskip("llvmlite.binding")


def test_every_width_runs_its_loop() -> None:
    for profile in host_profiles():
        backend = NativeBackend(profile=profile)
        builder = llvm.JITLibraryBuilder().add_object_img(backend.assemble(peak_text(profile))).export_symbol(PEAK)
        tracker = builder.link(backend._linker, "peak")
        memory = np.ones(profile.lanes * (2 + profile.accumulators), np.float32)
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(tracker[PEAK])
        call(memory.ctypes.data, 3)
        results = memory[2 * profile.lanes :].reshape(profile.accumulators, profile.lanes)
        assert results[0::2].tolist() == [[1.0] * profile.lanes] * (profile.accumulators // 2)
        assert results[1::2].tolist() == [[1.0 + 3 * ROUNDS] * profile.lanes] * (profile.accumulators // 2)


def test_a_fused_operation_counts_twice() -> None:
    assert operations_per_iteration(AVX2) == 12 * 8 * 8
    assert operations_per_iteration(AVX512, fused=True) == 24 * 8 * 16 * 2
    assert "@llvm.fma" in peak_text(AVX2, fused=True)
    assert "fma" not in peak_text(AVX2)
