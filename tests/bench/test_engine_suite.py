"""The suite's parts on small work; the figures themselves are `synaptic bench engine`'s business."""

import json
from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.bench.engine_suite import (
    GEMM,
    RATE,
    ROWS,
    STEP,
    classifier_step,
    format_record,
    ours_step,
    run_engine_suite,
    step_data,
)
from synaptic_mesh.bench.harness import Comparison, Spread
from synaptic_mesh.bench.record import (
    Bar,
    BenchRecord,
    describe_machine,
    find_commit,
    from_json,
    to_json,
    write_record,
)
from synaptic_mesh.bench.rivals import NumpyStep
from synaptic_mesh.workers.wasm_runtime import WasmBackend

SPREAD = Spread(1.0, 0.9, 1.1, 1.2, 15)
RECORD = BenchRecord(
    1,
    "engine",
    "abc",
    describe_machine(),
    {"threads": "1"},
    [Comparison("gemm", SPREAD, SPREAD, 3.0, 2.9, 3.1)],
    [Bar("gemm", 3.0, 2.8, False)],
    {"gemm_gflops": 40.5},
    True,
)


def test_ours_and_numpys_step_do_the_same_work() -> None:
    parameters, x, y = step_data()
    rival = NumpyStep(parameters, RATE, ROWS)
    with WasmBackend().compile(classifier_step()) as program:
        for name, array in parameters.items():
            program.write(name, array)
        step = ours_step(program, x, y)
        losses = [(step(), rival(x, y)) for _ in range(5)]
        assert losses[0][0] > losses[-1][0]
        for ours, theirs in losses:
            assert ours == pytest.approx(theirs, rel=1e-5)
        for name, theirs in (("w1", rival.w1), ("b1", rival.b1), ("w2", rival.w2), ("b2", rival.b2)):
            np.testing.assert_allclose(program.read(name), theirs, rtol=1e-4, atol=1e-5)


def test_a_record_is_json_with_names_and_comes_back() -> None:
    fields = json.loads(to_json(RECORD))
    assert fields["comparisons"][0]["ours"]["cpu_ms"] == 1.0
    assert from_json(to_json(RECORD)) == RECORD
    with pytest.raises(LocalError, match="no benchmark record"):
        from_json("{}")


def test_a_record_is_written_or_refused(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path / "record.json")
    assert from_json((tmp_path / "record.json").read_text()) == RECORD
    with pytest.raises(LocalError, match="cannot write"):
        write_record(RECORD, tmp_path / "missing" / "record.json")


def test_a_failed_bar_is_said() -> None:
    text = format_record(RECORD)
    assert "bar gemm: 3.00 <= 2.8: FAILED" in text
    assert text.index("CONFIG") < text.index("RESULTS")
    assert "not quiet" not in text


def test_a_checkout_names_its_commit() -> None:
    assert find_commit()


@pytest.mark.process
def test_the_suite_runs_in_a_process_of_its_own_and_judges_its_bars() -> None:
    record = run_engine_suite(repeats=5, core_type="Haswell")
    assert [comparison.name for comparison in record.comparisons] == [GEMM, STEP]
    assert [(bar.name, bar.ratio_max) for bar in record.bars] == [(GEMM, 2.8), (STEP, 2.3)]
    assert all(bar.passed == (bar.ratio <= bar.ratio_max) for bar in record.bars)
    assert record.settings["openblas_core_type"] == "Haswell"
    assert 0.3 < record.figures["gemm_share_of_peak"] < 1.3
    assert record.figures["gemm_largest_difference_from_numpy"] < 1e-2


@pytest.mark.process
def test_a_failing_process_says_why() -> None:
    with pytest.raises(ResourceError, match="1 repeats give no interval"):
        run_engine_suite(repeats=1)
