"""The exact engine next to numpy, on one thread: a matrix product and a training step.

    python -m synaptic_mesh.bench.engine_suite [--json]

Measured in a child process, because the thread counts of numpy's BLAS are read when it is first imported. The bars hold
for what numpy chooses by itself. What 128-bit multiply and add can do at most on this machine stands beside the product
as `gemm_share_of_peak`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.bench.harness import DRIFT_MAX, Comparison, calibrate, compare, measure
from synaptic_mesh.bench.record import (
    SCHEMA_VERSION,
    Bar,
    BenchRecord,
    describe_machine,
    find_commit,
    from_json,
    has_cpu_flag,
    to_json,
)
from synaptic_mesh.bench.rivals import NumpyStep
from synaptic_mesh.engine.composites import cross_entropy, dense, relu
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.optimizers import SGD, Tensors, training_step
from synaptic_mesh.engine.trace import Tensor, f32, i32, trace
from synaptic_mesh.workers.explain import explain
from synaptic_mesh.workers.peak import PeakLoop
from synaptic_mesh.workers.wasm_runtime import WasmBackend, WasmProgram

GEMM = "gemm 1000x1000x1000"
STEP = "training step 784-128-10, batch 32"
GEMM_RATIO_MAX = 2.8
STEP_RATIO_MAX = 2.3
SIDE = 1000
ROWS, FEATURES, HIDDEN, CLASSES = 32, 784, 128, 10
RATE = 0.05
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CHILD_TIMEOUT_S = 600
MODULE = "synaptic_mesh.bench.engine_suite"
AVX2_CORE_TYPE = "Haswell"
_CHILD_FLAG = "--in-this-process"


def run_engine_suite(repeats: int = 15, core_type: str = "") -> BenchRecord:
    """Measure in child processes with one BLAS thread and return the record. Raises ResourceError when one fails.
    `core_type`: make OpenBLAS take the kernels of that processor (its OPENBLAS_CORETYPE); the record says so.

    Bars are judged against the kernels that numpy chooses. Where those use AVX-512, the same comparisons follow once
    more with numpy held to AVX2, under names that say so: what the figures mean on a machine without it.
    """
    record = _run_child(repeats, core_type)
    if core_type or not has_cpu_flag("avx512f"):
        return record
    held = _run_child(repeats, AVX2_CORE_TYPE)
    extra = [msgspec.structs.replace(c, name=f"{c.name} (numpy held to AVX2)") for c in held.comparisons]
    return msgspec.structs.replace(record, comparisons=[*record.comparisons, *extra], quiet=record.quiet and held.quiet)


def _run_child(repeats: int, core_type: str) -> BenchRecord:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    if core_type:
        environment["OPENBLAS_CORETYPE"] = core_type
    command = [sys.executable, "-m", MODULE, _CHILD_FLAG, "--repeats", str(repeats), "--core-type", core_type]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(f"the benchmark process took longer than {CHILD_TIMEOUT_S} s") from None
    if done.returncode:
        raise ResourceError(f"the benchmark process failed: {done.stderr.strip()[-2000:]}")
    return from_json(done.stdout)


def measure_here(repeats: int, core_type: str) -> BenchRecord:
    """Measure in this process. The BLAS threads are what they are: `run_engine_suite` sees to that."""
    before = calibrate()
    backend = WasmBackend()
    figures: dict[str, float] = {}
    comparisons = [measure_gemm(backend, repeats, figures), measure_step(backend, repeats, figures)]
    drift = abs(calibrate() - before) / before
    figures["calibration_ms"], figures["calibration_drift"] = before, drift
    ratios = {comparison.name: comparison.ratio for comparison in comparisons}
    bars = [
        Bar(name, ratios[name], most, ratios[name] <= most)
        for name, most in ((GEMM, GEMM_RATIO_MAX), (STEP, STEP_RATIO_MAX))
    ]
    settings = {"threads": "1", "openblas_core_type": core_type or "chosen by numpy", "repeats": str(repeats)}
    return BenchRecord(
        SCHEMA_VERSION,
        "engine",
        find_commit(),
        describe_machine(),
        settings,
        comparisons,
        bars,
        figures,
        drift <= DRIFT_MAX,
    )


def measure_gemm(backend: WasmBackend, repeats: int, figures: dict[str, float]) -> Comparison:
    """Compare a product of two square matrices; add its rate and its share of the 128-bit peak to `figures`."""
    graph = trace(lambda a, b: a @ b, {"a": f32(SIDE, SIDE), "b": f32(SIDE, SIDE)})
    random = np.random.default_rng(1)
    a, b = (random.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty((SIDE, SIDE), np.float32)
    peak = PeakLoop()
    with backend.compile(graph) as program:
        program.write("a", a)
        program.write("b", b)
        comparison = compare(GEMM, program.run, lambda: np.dot(a, b, out=out), repeats)
        shares = compare("share of peak", program.run, peak.run, repeats, warmup=1)
        difference = float(np.abs(program.read("output") - out).max())
    peak_rate = peak.operations / shares.rival.cpu_ms / 1e6
    rate = 2 * SIDE**3 / shares.ours.cpu_ms / 1e6
    figures |= {"gemm_gflops": rate, "peak_128_bit_gflops": peak_rate, "gemm_share_of_peak": rate / peak_rate}
    figures |= {"numpy_gemm_gflops": 2 * SIDE**3 / comparison.rival.cpu_ms / 1e6}
    figures["gemm_largest_difference_from_numpy"] = difference
    return comparison


def classifier_step() -> Graph:
    """Return the training step that is measured: dense, relu, dense, softmax cross-entropy, SGD."""

    def loss(p: Tensors, batch: Tensors) -> Tensor:
        hidden = relu(dense(batch["x"], p["w1"], p["b1"]))
        return cross_entropy(dense(hidden, p["w2"], p["b2"]), batch["y"])

    parameters = {
        "w1": f32(FEATURES, HIDDEN),
        "b1": f32(HIDDEN),
        "w2": f32(HIDDEN, CLASSES),
        "b2": f32(CLASSES),
    }
    return training_step(loss, parameters, {"x": f32(ROWS, FEATURES), "y": i32(ROWS)}, SGD(RATE))


def measure_step(backend: WasmBackend, repeats: int, figures: dict[str, float]) -> Comparison:
    """Compare the step; each call writes its batch, runs, and reads the loss, as training does."""
    graph = classifier_step()
    parameters, x, y = step_data()
    rival = NumpyStep(parameters, RATE, ROWS)
    with backend.compile(graph) as program:
        for name, array in parameters.items():
            program.write(name, array)
        comparison = compare(STEP, ours_step(program, x, y), lambda: rival(x, y), repeats * 4, calls=20)
        figures["step_loss_difference_from_numpy"] = abs(float(program.read("loss")) - rival(x, y))
        figures["step_alone_ms"] = measure(program.run, repeats * 4).cpu_ms
    report = explain(graph)
    figures |= {f"step_{name}": float(value) for name, value in report.sizes.items()}
    return comparison


def ours_step(program: WasmProgram, x: F32, y: Array) -> Callable[[], float]:
    """Return the call that corresponds to `NumpyStep.__call__`."""

    def step() -> float:
        program.write("x", x)
        program.write("y", y)
        program.run()
        return float(program.read("loss"))

    return step


def step_data() -> tuple[dict[str, F32], F32, Array]:
    """Return parameters, features and labels, always the same."""
    random = np.random.default_rng(2)
    shapes = {"w1": (FEATURES, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}
    parameters = {name: random.standard_normal(shape, np.float32) * np.float32(0.05) for name, shape in shapes.items()}
    x = random.standard_normal((ROWS, FEATURES), np.float32)
    return parameters, x, random.integers(0, CLASSES, ROWS).astype(np.int32)


def format_record(record: BenchRecord) -> str:
    """Return the record for people: CONFIG, then RESULTS."""
    machine = record.machine
    lines = ["CONFIG", f"  commit     {record.commit}", f"  processor  {machine.processor}"]
    lines += [f"  {name:<10} {value}" for name, value in (*machine.packages.items(), *record.settings.items())]
    lines += ["RESULTS" + ("" if record.quiet else " (the machine was not quiet: calibration drifted)")]
    for c in record.comparisons:
        lines.append(
            f"  {c.name}: ours {c.ours.cpu_ms:.3f} ms [{c.ours.cpu_ms_low:.3f}, {c.ours.cpu_ms_high:.3f}], "
            f"numpy {c.rival.cpu_ms:.3f} ms [{c.rival.cpu_ms_low:.3f}, {c.rival.cpu_ms_high:.3f}], "
            f"ratio {c.ratio:.2f} [{c.ratio_low:.2f}, {c.ratio_high:.2f}]"
        )
    lines += [f"  {name}: {value:.4g}" for name, value in record.figures.items()]
    for bar in record.bars:
        verdict = "passed" if bar.passed else "FAILED"
        lines.append(f"  bar {bar.name}: {bar.ratio:.2f} <= {bar.ratio_max}: {verdict}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns 0 when every bar holds, else 1."""
    parser = argparse.ArgumentParser(prog="engine_suite", description="the exact engine next to numpy, one thread")
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--core-type", default="", help="OPENBLAS_CORETYPE for numpy, for example Haswell")
    parser.add_argument(_CHILD_FLAG, dest="here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        print(to_json(measure_here(options.repeats, options.core_type)))
        return 0
    record = run_engine_suite(options.repeats, options.core_type)
    print(to_json(record) if options.json else format_record(record))
    return 0 if all(bar.passed for bar in record.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
