"""The exact engine next to what people use, on one thread: products, forward passes and training steps.

    python -m synaptic_mesh.bench.engine_suite [--json]

Measured in a child process, because thread counts of BLAS, XLA and the like are read when they are first imported. The
bars hold for what numpy chooses by itself.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.bench.cases import GEMM_1000, STEP_784, THREADED, Case, choose_cases
from synaptic_mesh.bench.contestant import RIVALS, Contestant, Prepared, open_rivals
from synaptic_mesh.bench.harness import REPEATS_MIN, SPREAD_MAX, Runner, Spread, calibrate, interleave
from synaptic_mesh.bench.networks import Network
from synaptic_mesh.bench.ours import MEASURED, Ours, bits_of, open_ours
from synaptic_mesh.bench.peaks import Peaks
from synaptic_mesh.bench.products import PEAK_OR_NUMPY, ceiling, our_time, product_operations, rival_time
from synaptic_mesh.bench.programs import ProgramCost, measure_programs
from synaptic_mesh.bench.record import (
    SCHEMA_VERSION,
    Bar,
    BenchRecord,
    Calibration,
    Limit,
    Peak,
    Result,
    describe_machine,
    find_commit,
    from_json,
    has_cpu_flag,
    to_json,
)
from synaptic_mesh.bench.report import format_record
from synaptic_mesh.bench.startup import Startup, measure_startup
from synaptic_mesh.bench.workload import Kind, Workload
from synaptic_mesh.engine.ir import Graph

BARS = (
    *((f"gemm {size}, in place", "native", PEAK_OR_NUMPY, 1.0) for size in (256, 512, 1000, 2000)),
    *((f"gemm {size}, in place", "native", "numpy", 1 / 0.95) for size in ("64", "128", "32x784x128")),
    (GEMM_1000, "native x2", "native", 1 / 1.9),
    (GEMM_1000, "wasm", "native", 2.2),
    (GEMM_1000, "wasm x2", "wasm", 1.25 / 2),
    (GEMM_1000, "wasm", "numpy", 2.8),
    (STEP_784, "wasm", "numpy", 2.3),
    (STEP_784, "native", "jax", 1 / 1.25),
    (STEP_784, "native", "torch", 1 / 2.7),
    ("train 16-32-4 batch 1, in place", "native", "jax", 1 / 8),
    ("train 16-32-4 batch 32, in place", "native", "jax", 1 / 8),
    ("train 16-32-4 batch 32, per call", "native", "jax", 1 / 12),
    ("train 16-32-4 batch 32, per call", "native", "torch", 1 / 70),
    ("forward 784-128-10 batch 1, per call", "native", "onnxruntime", 1 / 2.5),
    *((f"forward {each.value} batch 1, per call", "native", "onnxruntime", 1.0) for each in Network),
    *(
        (f"train {each.value} batch {rows}, per call", "native", rival, 1.0)
        for each in Network
        for rows in (1, 32)
        for rival in ("torch", "jax")
    ),
)
"""(case, backend, rival, most that our time may be of theirs). "x2" is a backend with two threads."""
IMPORT_MS_MAX = 150
FIRST_PREDICTION_MS_MAX = 250
CACHED_LOAD_MS_MAX = 1
DIFFERENCE_MAX = 1e-3
"""A rival whose results are further from ours, relative to the largest value, does not do the same work."""
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
CHILD_TIMEOUT_S = 1800
MODULE = "synaptic_mesh.bench.engine_suite"
AVX2_CORE_TYPE = "Haswell"
HELD = " (numpy held to AVX2)"
PEAK_OF = "peak of "
_CHILD_FLAG = "--in-this-process"


class Settings(msgspec.Struct, frozen=True):
    """What to measure and how long. `cases`: words that names must contain, none for all; `backend`: "" for all that
    open; `core_type`: make OpenBLAS take the kernels of that processor; `only_numpy`: leave the other rivals out;
    `threads`: of our backends in the cases that have some beside one, 1 for none."""

    quick: bool = False
    cases: tuple[str, ...] = ()
    backend: str = ""
    core_type: str = ""
    only_numpy: bool = False
    threads: int = 2

    @property
    def repeats(self) -> int:
        """Rounds of each case."""
        return REPEATS_MIN if self.quick else 15

    @property
    def sample_us(self) -> float:
        """How long a sample lasts at least, about."""
        return 3_000 if self.quick else 10_000


def run_engine_suite(settings: Settings) -> BenchRecord:
    """Measure in child processes with one thread each and return the record. Raises LocalError for a case or backend
    that is not known, ResourceError when a process fails.

    Bars are judged against the kernels that numpy chooses. Where those use AVX-512, their cases follow once more with
    numpy held to AVX2, under names that say so: what the figures mean on a machine without it.
    """
    chosen = {case.name for case in choose_cases(settings.cases)}
    open_names(settings.backend)
    record = _run_child(settings)
    again = tuple(dict.fromkeys(name for name, _, rival, _ in BARS if name in chosen and rival == "numpy"))
    if settings.core_type or settings.quick or not again or not has_cpu_flag("avx512f"):
        return record
    held = _run_child(msgspec.structs.replace(settings, cases=again, core_type=AVX2_CORE_TYPE, only_numpy=True))
    extra = [msgspec.structs.replace(result, name=result.name + HELD) for result in held.results]
    return msgspec.structs.replace(record, results=[*record.results, *extra], void=record.void or held.void)


def open_names(backend: str) -> None:
    """Raise LocalError for a backend that is not measured: here, and not in a child process."""
    if backend and backend not in MEASURED:
        raise LocalError(f"backend {backend!r} is not measured; choose {' or '.join(MEASURED)}")


def _run_child(settings: Settings) -> BenchRecord:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), "XLA_FLAGS": XLA_ONE_THREAD}
    if settings.core_type:
        environment["OPENBLAS_CORETYPE"] = settings.core_type
    command = [sys.executable, "-m", MODULE, _CHILD_FLAG, msgspec.json.encode(settings).decode()]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(f"the benchmark process took longer than {CHILD_TIMEOUT_S} s") from None
    if done.returncode:
        raise ResourceError(f"the benchmark process failed: {done.stderr.strip()[-2000:]}")
    return from_json(done.stdout)


def measure_here(settings: Settings) -> BenchRecord:
    """Measure in this process. The threads of libraries are what they are: `run_engine_suite` sees to that."""
    left_out: dict[str, str] = {}
    ours = open_ours(settings.backend, left_out)
    if not ours:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ResourceError(f"no backend of ours opens here, so there is nothing to measure: {reasons}")
    rivals = open_rivals(left_out, _unwanted(settings))
    cases = choose_cases(settings.cases)
    threaded = _open_threaded(settings, cases, left_out)
    peaks = Peaks(ours)
    before = calibrate()
    results = []
    for case in cases:
        peaks.sample()
        several = threaded if case.name in THREADED else []
        results += measure_case(case, [*ours, *several], rivals, settings, left_out, peaks)
    programs = [] if settings.only_numpy else [cost for each in ours for cost in measure_programs(each, REPEATS_MIN)]
    startup = None if settings.only_numpy or settings.cases else measure_startup(REPEATS_MIN)
    peaks.sample()
    after = calibrate()
    spread = abs(after - before) / min(after, before)
    return BenchRecord(
        SCHEMA_VERSION,
        "engine",
        find_commit(),
        describe_machine(),
        {"openblas_core_type": settings.core_type or "chosen by numpy", "repeats": str(settings.repeats)},
        results,
        programs,
        startup,
        peaks.result(),
        Calibration(before, after, spread),
        spread > SPREAD_MAX,
        left_out,
        judge(results, peaks.result()),
        judge_alone(programs, startup),
    )


def _open_threaded(settings: Settings, cases: Sequence[Case], left_out: dict[str, str]) -> list[Ours]:
    """Return our backends with several threads, where a case wants them and the machine has processors for them."""
    if settings.threads < 2 or settings.only_numpy or not any(case.name in THREADED for case in cases):
        return []
    if (os.cpu_count() or 1) < settings.threads:
        left_out[f"{settings.threads} threads"] = f"this machine has {os.cpu_count()} processors"
        return []
    return open_ours(settings.backend, left_out, settings.threads)


def _unwanted(settings: Settings) -> dict[str, str]:
    """Rivals that are not asked, with the reason."""
    if settings.only_numpy:
        return dict.fromkeys((name for name in RIVALS if name != "numpy"), "only numpy was asked for")
    return {"torch.compile": "left out by --quick: compiling takes a minute"} if settings.quick else {}


def measure_case(
    case: Case,
    ours: Sequence[Ours],
    rivals: Sequence[Contestant],
    settings: Settings,
    left_out: dict[str, str],
    peaks: Peaks | None = None,
) -> list[Result]:
    """Return one result for each of our backends. All start from the same values and are checked after one run, before
    anything is timed. Raises ResourceError when our backends' bits differ from each other."""
    ready: dict[str, Prepared] = {each.name: each.prepare(case) for each in ours}
    ready |= _prepare_rivals(case, rivals, left_out)
    try:
        found = {}
        for name, prepared in ready.items():
            prepared.run()
            found[name] = prepared.results()
        expected = found[ours[0].name]
        bits = {each.name: bits_of(found.pop(each.name)) for each in ours}
        if len(set(bits.values())) > 1:
            raise ResourceError(f"{case.name}: our backends' bits differ: {bits}")
        differences = {name: difference(expected, theirs) for name, theirs in found.items()}
        for name, value in differences.items():
            if not value <= DIFFERENCE_MAX:
                raise ResourceError(f"{case.name}: {name} computes something else: it is {value:.3g} away from ours")
        runners = {name: Runner(prepared.run, case.steps) for name, prepared in ready.items()}
        loops = peaks.loops if peaks is not None and product_operations(case.name) else {}
        runners |= {PEAK_OF + name: Runner(loop.run) for name, loop in loops.items()}
        times = interleave(runners, settings.repeats, settings.sample_us)
    finally:
        for prepared in ready.values():
            prepared.close()
    operations = product_operations(case.name)
    ceilings_us = {n: operations * times[PEAK_OF + n].cpu_us / loop.operations for n, loop in loops.items()}
    return [_result(case, each, bits[each.name], times, differences, ceilings_us.get(each.name)) for each in ours]


def _prepare_rivals(case: Case, rivals: Sequence[Contestant], left_out: dict[str, str]) -> dict[str, Prepared]:
    """Return those that can do the case. A compiler of a rival may fail in any way that it likes, and only when it
    first runs: the record then says so, and the rival is left out of this case."""
    ready: dict[str, Prepared] = {}
    for rival in rivals:
        try:
            prepared = rival.prepare(case)
            if prepared is not None and rival.name == "torch.compile":
                prepared.run()
                prepared = rival.prepare(case)
        except Exception as error:
            left_out[f"{rival.name}: {case.name}"] = f"failed: {type(error).__name__}: {str(error)[:200]}"
            continue
        if prepared is not None:
            ready[rival.name] = prepared
    return ready


def difference(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> float:
    """Return the largest distance between two sets of results, relative to the largest value of each result."""
    return max(
        float(np.abs(theirs[name] - array).max() / max(float(np.abs(array).max()), 1e-30))
        for name, array in ours.items()
    )


def _result(
    case: Case,
    ours: Ours,
    bits: str,
    times: Mapping[str, Spread],
    differences: dict[str, float],
    ceiling_us: float | None,
) -> Result:
    mine = {name: times[name] for name in (ours.name, *differences)}
    return Result(
        case.name,
        times[ours.name].cpu_us,
        {name: times[name].cpu_us for name in differences},
        ours.name,
        ours.threads,
        ours.exact,
        bits,
        ours.vector_bits,
        case.steps,
        times[ours.name].repeats,
        {name: [spread.cpu_us_low, spread.cpu_us_high] for name, spread in mine.items()},
        {name: spread.wall_us for name, spread in mine.items()},
        differences,
        None if ceiling_us is None else ceiling_us / times[ours.name].cpu_us,
    )


def judge(results: Sequence[Result], peak: Peak) -> list[Bar]:
    """Return every bar whose case, backend and rival were measured. One that the measured ceiling forbids fails all the
    same, and says why."""
    found = {(result.name, result.backend): result for result in results}
    bars = []
    for name, backend, rival, most in BARS:
        result = found.get((name, backend))
        time_us = None if result is None else rival_time(result, rival, found)
        if result is not None and time_us is not None:
            ratio = our_time(result, result.threads > 1) / time_us
            bars.append(Bar(name, backend, rival, ratio, most, ratio <= most, ceiling(result, time_us, most, peak)))
    return bars


def judge_alone(programs: Sequence[ProgramCost], startup: Startup | None) -> list[Limit]:
    """Return every promise about what comes before the first step."""
    found = [
        (f"{each.name} from the cache, {each.backend}", each.cached_load_ms, CACHED_LOAD_MS_MAX) for each in programs
    ]
    if startup is not None:
        found.append(("import of the package", startup.import_ms, IMPORT_MS_MAX))
        found.append(("first prediction of a new model", startup.first_prediction_ms, FIRST_PREDICTION_MS_MAX))
    return [Limit(name, value, limit, "ms", value <= limit) for name, value, limit in found]


def classifier_step() -> Graph:
    """Return the training step of the classifier 784-128-10 at batch 32."""
    return _STEP.graph()


def step_data() -> tuple[dict[str, F32], F32, Array]:
    """Return its parameters, features and labels, always the same."""
    inputs = _STEP.inputs()
    return _STEP.parameters(), inputs["x"], inputs["y"]


_STEP = Workload(Kind.TRAIN, (784, 128, 10), 32)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns 0 when every bar holds, else 1."""
    parser = argparse.ArgumentParser(prog="engine_suite", description="the exact engine next to its rivals, one thread")
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument(_CHILD_FLAG, dest="here", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        print(to_json(measure_here(msgspec.json.decode(options.here, type=Settings))))
        return 0
    record = run_engine_suite(Settings(quick=options.quick))
    print(to_json(record) if options.json else format_record(record))
    return 0 if record.holds else 1


if __name__ == "__main__":
    sys.exit(main())
