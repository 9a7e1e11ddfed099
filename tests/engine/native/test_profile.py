"""Which code a machine gets."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.native.profile import AVX2, AVX512, NEON, SSE2, small_profile, supported_profiles

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


def test_only_the_widest_has_another_width_for_small_graphs() -> None:
    small = small_profile(AVX512)
    assert small is not None
    assert (small.lanes, small.cpu, small_profile(small)) == (8, AVX512.cpu, None)
    assert [small_profile(profile) for profile in (AVX2, SSE2, NEON)] == [None] * 3
