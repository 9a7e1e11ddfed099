"""Which code a machine gets."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.native.profile import AVX2, NEON, SSE2, supported_profiles

V3 = {"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def test_the_widest_comes_first() -> None:
    assert [p.name for p in supported_profiles("x86_64", V4)] == ["avx512", "avx2", "sse2"]
    assert supported_profiles("AMD64", V3) == [AVX2, SSE2]
    assert supported_profiles("x86_64", ()) == [SSE2]
    assert supported_profiles("arm64", ()) == [NEON]


def test_one_missing_feature_is_enough_to_step_down() -> None:
    assert [p.name for p in supported_profiles("x86_64", V4 - {"avx512cd"})] == ["avx2", "sse2"]
    assert [p.name for p in supported_profiles("x86_64", V4 - {"movbe"})] == ["sse2"]


def test_other_machines_are_sent_to_wasm() -> None:
    with pytest.raises(LocalError, match="riscv64"):
        supported_profiles("riscv64", ())
