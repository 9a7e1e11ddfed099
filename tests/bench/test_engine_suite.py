"""The suite's parts on small work; the figures themselves are `synaptic bench engine`'s business."""

import msgspec
import numpy as np
import pytest

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.bench import engine_suite
from synaptic_mesh.bench.cases import Case, Mode
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.bench.engine_suite import (
    BARS,
    CACHED_LOAD_MS_MAX,
    FIRST_PREDICTION_MS_MAX,
    HELD,
    IMPORT_MS_MAX,
    Settings,
    judge,
    judge_alone,
    measure_case,
    measure_here,
    run_engine_suite,
)
from synaptic_mesh.bench.ours import MEASURED, Ours, open_ours
from synaptic_mesh.bench.peaks import measure_peak
from synaptic_mesh.bench.programs import MODELS, ProgramCost, measure_programs
from synaptic_mesh.bench.record import Peak, Result
from synaptic_mesh.bench.rival_numpy import Entry as Numpy
from synaptic_mesh.bench.startup import Startup
from synaptic_mesh.bench.workload import Kind, Workload
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.workers.wasm_runtime import WasmBackend

CASE = Case(Workload(Kind.TRAIN, (6, 8, 3), 4), Mode.CALL)
QUICK = Settings(quick=True)
RESULT = Result(
    name="gemm 64, per call",
    ours_us=20.0,
    rivals={"numpy": 5.0},
    backend="wasm",
    threads=1,
    exact=True,
    bits="ab",
    vector_bits=128,
    steps=1,
    repeats=15,
    intervals_us={},
    wall_us={},
    differences={},
)


PEAK = Peak(100.0, 512, 200.0, 40.0)


class Renamed(Ours):
    """The same backend under another name, its results changed by `change`."""

    def __init__(self, change: float) -> None:
        super().__init__(WasmBackend())
        self.name = "renamed"
        self.change = np.float32(change)

    def prepare(self, case: Case) -> Prepared:
        prepared = super().prepare(case)

        def results() -> dict[str, Array]:
            return {name: array + self.change for name, array in prepared.results().items()}

        return prepared._replace(results=results)


def test_a_case_is_measured_on_each_of_ours_with_the_same_rivals() -> None:
    first, second = measure_case(CASE, [Ours(WasmBackend()), Renamed(0)], [Numpy()], QUICK, {})
    assert (first.backend, second.backend) == ("wasm", "renamed")
    assert (first.bits, first.rivals, first.threads) == (second.bits, second.rivals, 1)
    assert not first.exact  # nobody let it pass the golden vectors
    assert set(first.intervals_us) == set(first.wall_us) == {"wasm", "numpy"}
    low, high = first.intervals_us["wasm"]
    assert 0 < low <= first.ours_us <= high


def test_backends_that_differ_in_a_bit_end_the_suite() -> None:
    with pytest.raises(ResourceError, match="bits differ"):
        measure_case(CASE, [Ours(WasmBackend()), Renamed(1e-5)], [Numpy()], QUICK, {})


def test_a_rival_that_computes_something_else_ends_the_suite() -> None:
    with pytest.raises(ResourceError, match="renamed computes something else"):
        measure_case(CASE, [Ours(WasmBackend())], [Renamed(0.1)], QUICK, {})


def test_a_rival_that_fails_is_left_out_with_the_reason() -> None:
    class Failing:
        name = "failing"

        def prepare(self, _: Case) -> Prepared:
            raise OSError("no compiler")

    left_out: dict[str, str] = {}
    (result,) = measure_case(CASE, [Ours(WasmBackend())], [Failing(), Numpy()], QUICK, left_out)
    assert list(result.rivals) == ["numpy"]
    assert left_out == {f"failing: {CASE.name}": "failed: OSError: no compiler"}


def test_bars_are_judged_where_their_case_was_measured() -> None:
    name, backend, rival, most = next(bar for bar in BARS if bar[2] == "numpy")
    result = msgspec.structs.replace(RESULT, name=name, backend=backend, rivals={rival: 10.0}, ours_us=10.0 * most)
    (bar,) = judge([result, msgspec.structs.replace(result, name=name + HELD, ours_us=1e9)], PEAK)
    assert (bar.name, bar.ratio, bar.passed) == (name, most, True)
    (bar,) = judge([msgspec.structs.replace(result, ours_us=10.1 * most)], PEAK)
    assert not bar.passed
    assert judge([RESULT], PEAK) == []


def test_limits_are_judged_by_themselves() -> None:
    cost = ProgramCost("m", "wasm", 20.0, CACHED_LOAD_MS_MAX + 0.1, 90.0, 1, 1)
    startup = Startup(IMPORT_MS_MAX, FIRST_PREDICTION_MS_MAX + 1, 1e9)
    found = {limit.name: limit.passed for limit in judge_alone([cost], startup)}
    assert found == {
        "m from the cache, wasm": False,
        "import of the package": True,
        "first prediction of a new model": False,
    }
    assert [limit.name for limit in judge_alone([cost], None)] == ["m from the cache, wasm"]


def test_what_does_not_open_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: int) -> WasmBackend:
        raise LocalError("no LLVM")

    monkeypatch.setitem(MEASURED, "native", refuse)
    monkeypatch.setitem(MEASURED, "wasm", WasmBackend)
    left_out: dict[str, str] = {}
    assert [ours.name for ours in open_ours("", left_out)] == ["wasm"]
    assert left_out == {"native": "no LLVM"}
    with pytest.raises(LocalError, match="no LLVM"):
        open_ours("native", {})


def test_without_a_backend_the_suite_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> WasmBackend:
        raise ResourceError("wrong bits")

    for name in MEASURED:
        monkeypatch.setitem(MEASURED, name, refuse)
    with pytest.raises(ResourceError, match="nothing to measure: wasm: wrong bits; native: wrong bits"):
        measure_here(QUICK)


def test_unknown_names_are_refused_before_anything_starts() -> None:
    with pytest.raises(LocalError, match="no case is named 'gemmm'"):
        run_engine_suite(Settings(cases=("gemmm",)))
    with pytest.raises(LocalError, match="'reference' is not measured"):
        run_engine_suite(Settings(backend="reference"))
    assert Ours(ReferenceBackend()).exact


def test_programs_and_peak_of_webassembly() -> None:
    ours = Ours(WasmBackend())
    costs = measure_programs(ours, 5)
    assert [cost.name for cost in costs] == list(MODELS)
    for cost in costs:
        assert 0 < cost.cached_load_ms < cost.compile_ms
        assert cost.spawn_us > 0
        assert cost.arena_bytes > cost.module_bytes > 0
    peak = measure_peak([ours], 5)
    assert (peak.mul_add_bits, peak.fma) == (128, None)
    assert peak.mul_add > 1


def test_peak_of_native_code() -> None:
    pytest.importorskip("llvmlite")
    from synaptic_mesh.workers.native_runtime import NativeBackend

    ours = Ours(NativeBackend())
    peak = measure_peak([Ours(WasmBackend()), ours], 5)
    assert peak.mul_add_bits == ours.vector_bits
    assert peak.fma is not None
    assert peak.fma > 0.8 * peak.mul_add > 1


@pytest.mark.process
def test_the_suite_runs_in_a_process_of_its_own() -> None:
    record = run_engine_suite(Settings(quick=True, cases=("train 16-32-4 batch 1,",), core_type="Haswell"))
    names = [result.name for result in record.results]
    assert set(names) == {"train 16-32-4 batch 1, per call", "train 16-32-4 batch 1, in place"}
    assert all(result.exact and "numpy" in result.rivals for result in record.results)
    assert record.settings["openblas_core_type"] == "Haswell"
    assert "torch.compile" in record.left_out
    assert record.void == (record.calibration.spread > 0.10)
    assert "numpy" not in {bar.rival for bar in record.bars}
    assert record.startup is None
    assert {limit.name for limit in record.limits} == {
        f"{cost.name} from the cache, {cost.backend}" for cost in record.programs
    }


@pytest.mark.process
def test_a_failing_process_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_suite, "_CHILD_FLAG", "--no-such-flag")
    with pytest.raises(ResourceError, match=r"(?s)the benchmark process failed: .*--no-such-flag"):
        run_engine_suite(QUICK)
