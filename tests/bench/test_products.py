"""What is promised of products: which rival counts, what threads are compared by, what the ceiling forbids."""

import msgspec
import pytest

from synaptic_mesh.bench.cases import CASES, THREADED
from synaptic_mesh.bench.engine_suite import Settings, judge, measure_case
from synaptic_mesh.bench.ours import Ours
from synaptic_mesh.bench.peaks import Peaks
from synaptic_mesh.bench.products import (
    PEAK_OR_NUMPY,
    ceiling,
    least_operations,
    our_time,
    product_operations,
    rival_time,
)
from synaptic_mesh.bench.record import Bar, Peak, Result
from synaptic_mesh.bench.rival_numpy import Entry as Numpy
from synaptic_mesh.workers.wasm_runtime import WasmBackend

PEAK = Peak(100.0, 512, 200.0, 40.0)
RESULT = Result(
    name="gemm 1000, in place",
    ours_us=22_000.0,
    rivals={"numpy": 12_000.0},
    backend="native",
    threads=1,
    exact=True,
    bits="ab",
    vector_bits=512,
    steps=1,
    repeats=15,
    intervals_us={},
    wall_us={"native": 22_100.0},
    differences={},
    share_of_peak=0.91,
)
TWO = msgspec.structs.replace(RESULT, backend="native x2", threads=2, wall_us={"native x2": 11_000.0})
WASM = msgspec.structs.replace(RESULT, backend="wasm", ours_us=52_000.0, wall_us={"wasm": 52_100.0}, vector_bits=128)


def bars(*results: Result) -> dict[tuple[str, str], Bar]:
    return {(bar.backend, bar.rival): bar for bar in judge(results, PEAK)}


def test_the_slower_of_peak_and_numpy_counts() -> None:
    assert rival_time(RESULT, PEAK_OR_NUMPY, {}) == pytest.approx(0.91 * 22_000 / 0.90)
    assert bars(RESULT)["native", PEAK_OR_NUMPY].passed
    slow = msgspec.structs.replace(RESULT, share_of_peak=0.89)
    assert not bars(slow)["native", PEAK_OR_NUMPY].passed
    assert bars(msgspec.structs.replace(slow, rivals={"numpy": 21_000.0}))["native", PEAK_OR_NUMPY].passed
    assert rival_time(msgspec.structs.replace(RESULT, share_of_peak=None), PEAK_OR_NUMPY, {}) is None


def test_threads_are_compared_by_wall_time() -> None:
    assert (our_time(TWO, True), our_time(RESULT, False)) == (11_000.0, 22_000.0)
    bar = bars(RESULT, TWO)["native x2", "native"]
    assert bar.ratio == pytest.approx(11_000 / 22_100)
    assert bar.passed
    assert not bars(msgspec.structs.replace(RESULT, wall_us={"native": 20_000.0}), TWO)["native x2", "native"].passed


def test_a_bar_that_the_ceiling_forbids_fails_and_says_why() -> None:
    found = bars(RESULT, WASM)
    impossible = found["wasm", "numpy"]
    assert not impossible.passed
    assert "40.0 GFLOP/s" in impossible.ceiling
    assert "50000 us, 4.17 times" in impossible.ceiling
    possible = bars(msgspec.structs.replace(RESULT, ours_us=23_000.0), WASM)["wasm", "native"]
    assert (possible.passed, possible.ceiling) == (False, "")
    assert ceiling(RESULT, 1.0, 1.0, Peak(100.0, 128, None)) != ""
    assert ceiling(WASM, 1.0, 1.0, Peak(100.0, 512, None)) == ""


def test_operations_are_known_of_products_only() -> None:
    assert product_operations("gemm 32x784x128, in place") == 2 * 32 * 784 * 128
    assert product_operations("train 784-128-10 batch 32, per call") == 0
    assert {case.name for case in CASES} >= THREADED


def test_a_step_has_its_products_and_what_the_semantics_add() -> None:
    rows, features, hidden, classes = 32, 16, 32, 4
    products = 2 * rows * (2 * features * hidden + 3 * hidden * classes)
    relu, mask, exponentials = rows * hidden, rows * hidden, 32 * rows * classes
    least = least_operations("train 16-32-4 batch 32, in place")
    assert products + relu + mask + exponentials < least < 1.15 * products
    assert least_operations("train 16-32-4 batch 32, per call") == 0
    result = msgspec.structs.replace(RESULT, name="train 16-32-4 batch 32, in place", ours_us=1.2)
    assert ceiling(result, 7.0, 1 / 8, PEAK) != ""
    assert ceiling(result, 9.0, 1 / 8, PEAK) == ""


def test_a_product_is_measured_in_turn_with_its_ceiling() -> None:
    (case,) = (case for case in CASES if case.name == "gemm 64, in place")
    ours = [Ours(WasmBackend())]
    peaks = Peaks(ours)
    (result,) = measure_case(case, ours, [Numpy()], Settings(quick=True), {}, peaks)
    assert result.share_of_peak is not None
    assert 0 < result.share_of_peak < 2
    peaks.sample()
    assert peaks.result().wasm_mul_add == peaks.result().mul_add > 1
