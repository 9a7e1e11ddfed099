"""The table of a page says what the record says."""

import msgspec

from synaptic_mesh.bench.markdown import performance_table, promises_table
from synaptic_mesh.bench.record import Bar, BenchRecord, Calibration, Limit, Machine, Peak, Result

WASM = Result("gemm 64, per call", 20.0, {"numpy": 5.0}, "wasm", 1, True, "ab", 128, 1, 15, {}, {}, {})
NATIVE = msgspec.structs.replace(WASM, ours_us=4.125, backend="native", rivals={"numpy": 5.0, "jax": 1234.5})
THREADED = msgspec.structs.replace(WASM, ours_us=11.0, threads=2)
HELD = msgspec.structs.replace(WASM, name="gemm 64, per call (numpy held to AVX2)")
RECORD = BenchRecord(
    3,
    "engine",
    "0123456789abcdef",
    Machine("A processor", "a system", "3.11", {"numpy": "2.4", "jax": "0.10", "llvmlite": "0.50", "onnxruntime": "1"}),
    {},
    [WASM, NATIVE, THREADED, HELD],
    [],
    None,
    Peak(50.0, 256, 99.6),
    Calibration(1.0, 1.0, 0.0),
    False,
    {},
    [],
    [],
)


def test_a_line_holds_each_contestant_of_a_case_once() -> None:
    lines = performance_table(RECORD, "docs/record.json").splitlines()
    assert lines[:3] == [
        "| microseconds of a step, one thread | native | wasm | numpy | jax |",
        "| --- | --: | --: | --: | --: |",
        "| gemm 64, per call | 4.12 | 20.0 | 5.00 | 1,234 |",
    ]
    assert lines[3] == ""
    assert (
        "0123456789ab on A processor with llvmlite 0.50, numpy 2.4, jax 0.10: [the record](docs/record.json)"
        in lines[4]
    )
    assert "50 GFLOP/s of separate products and sums at 256 bits, 100 fused." in lines[4]


def test_who_did_not_take_part_has_no_column_or_a_dash() -> None:
    alone = msgspec.structs.replace(RECORD, results=[WASM, msgspec.structs.replace(NATIVE, name="gemm 128, per call")])
    text = performance_table(alone, "r.json")
    assert "torch" not in text
    assert "| gemm 64, per call | - | 20.0 | 5.00 | - |" in text


def test_promises_say_what_holds_and_why_one_cannot() -> None:
    bars = [
        Bar("gemm 64, in place", "native", "numpy", 1.25, 1.0, False, "the reason"),
        Bar("train, per call", "wasm", "jax", 0.5, 0.8, True, ""),
    ]
    limits = [Limit("import of the package", 20.44, 150.0, "ms", True)]
    text = promises_table(msgspec.structs.replace(RECORD, bars=bars, limits=limits))
    assert text.splitlines() == [
        "| promise | measured | asked |  |",
        "| --- | --: | --: | --- |",
        "| gemm 64, in place: native next to numpy | 0.80x | 1.00x | does not hold |",
        "| train, per call: wasm next to jax | 2.00x | 1.25x | holds |",
        "| import of the package | 20.4 ms | 150 ms | holds |",
        "",
        "Out of reach of any exact code on this processor:",
        "",
        "- gemm 64, in place: native next to numpy, 1.00x: the reason.",
    ]
    assert "Out of reach" not in promises_table(msgspec.structs.replace(RECORD, bars=bars[1:], limits=limits))
