"""Every schedule of both matrix products has the bits of the definition, at every width of this machine."""

import numpy as np
import pytest

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.engine import fusion
from synaptic_mesh.engine.executors.contraction import multiply_ascending
from synaptic_mesh.engine.native import gemm, product
from synaptic_mesh.engine.native.profile import AVX2, AVX512, Profile
from synaptic_mesh.engine.trace import f32, matmul, trace
from synaptic_mesh.workers.native_runtime import NativeBackend, host_profiles

pytest.importorskip("llvmlite")
SHAPES = ((1, 1, 1), (3, 5, 7), (4, 10, 8), (5, 300, 9), (33, 257, 41), (64, 21, 64), (12, 8, 100))


def product_here(profile: Profile, a: F32, b: F32, left: bool, right: bool) -> F32:
    stored = {"a": np.ascontiguousarray(a.T if left else a), "b": np.ascontiguousarray(b.T if right else b)}
    graph = trace(
        lambda a, b: matmul(a, b, transpose_left=left, transpose_right=right),
        {name: f32(*array.shape) for name, array in stored.items()},
    )
    with NativeBackend(profile=profile).compile(graph) as program:
        return program(stored)["output"]


def check_all_shapes(profile: Profile, left: bool, right: bool) -> None:
    random = np.random.default_rng(3)
    for m, k, n in SHAPES:
        a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
        found = product_here(profile, a, b, left, right)
        assert found.tobytes() == multiply_ascending(a.T, b).tobytes(), (profile.name, m, k, n)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_the_packed_product(monkeypatch: pytest.MonkeyPatch, left: bool, right: bool) -> None:
    monkeypatch.setattr(fusion, "STRIP_RIGHT_ELEMENTS_MAX", 0)
    monkeypatch.setattr(gemm, "K_BLOCK", 100)
    monkeypatch.setattr(gemm, "ROW_BLOCK_BYTES", 16 << 10)
    for profile in host_profiles():
        check_all_shapes(profile, left, right)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_the_unpacked_product(monkeypatch: pytest.MonkeyPatch, left: bool, right: bool) -> None:
    monkeypatch.setattr(product, "BLOCK_BYTES", 4096)
    for profile in host_profiles():
        check_all_shapes(profile, left, right)


@pytest.mark.parametrize("rows", [4, 6, 12])
def test_other_tiles_have_the_same_bits(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(fusion, "STRIP_RIGHT_ELEMENTS_MAX", 0)
    check_all_shapes(host_profiles()[0]._replace(tile_rows=rows), False, False)


def test_rows_are_divided_evenly() -> None:
    assert product.divide(32, 12) == [product.Run(0, 11, 2), product.Run(22, 10, 1)]
    assert product.divide(8, 8) == [product.Run(0, 8, 1)]
    assert sum(run.height * run.tiles for run in product.divide(785, 6)) == 785


def test_right_operands_are_packed_when_that_pays() -> None:
    dense = product.Product(m=784, k=784, n=128, a_row=3136, a_k=4, b_k=512, b_column=4)
    assert dense.packs_right()
    assert not dense._replace(m=32).packs_right()
    assert not dense._replace(k=32).packs_right()
    assert dense._replace(m=1, b_k=4, b_column=512).packs_right()


def test_blocks_are_even() -> None:
    assert [gemm.k_block(k) for k in (1, 512, 1000, 1025)] == [1, 512, 500, 342]


def test_tiles_leave_registers_for_operands() -> None:
    assert (AVX512.tile_vectors, AVX2.tile_vectors) == (3, 2)
    wide = product.Product(m=1, k=784, n=1280, a_row=3136, a_k=4, b_k=5120, b_column=4)
    assert (wide.columns(AVX2), wide.rows(AVX2)) == (64, 1)
    assert wide._replace(m=784, n=10).rows(AVX2) == 6
    assert wide._replace(m=784, n=8).rows(AVX2) == product.NARROW_ROWS_MAX
