"""What a worker process costs, and from when on it pays: `python -m synaptic_mesh.bench.worker_process`.

Training steps in WebAssembly in this process, in machine code in this process, and in a worker process, step by step
and in groups of eight, in turn. Wall time counts: what a worker computes is not in this process's CPU time. Then what
it takes to start one, in processor time of the process that was started. Standard output gets one JSON object. A
message wakes a process, so the machine must be quiet: where every core is busy, waking waits for a turn.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.bench.harness import SPREAD_MAX, Runner, calibrate, interleave, median
from synaptic_mesh.bench.record import describe_machine, find_commit
from synaptic_mesh.bench.workload import Kind, Workload
from synaptic_mesh.collab.update import TRACE_STRIDE
from synaptic_mesh.engine.backend import Program, run_feed
from synaptic_mesh.workers.native_process import NativeProcess
from synaptic_mesh.workers.native_runtime import NativeBackend
from synaptic_mesh.workers.wasm_runtime import WasmBackend

WORKS = tuple(
    Workload(Kind.TRAIN, sizes, rows) for sizes in ((16, 32, 4), (64, 64, 10), (784, 128, 10)) for rows in (1, 32)
)
SAMPLE_US = 2_000.0
STARTS = 5


def measure_steps(work: Workload, cache: Path, repeats: int) -> dict[str, float]:
    """Return wall microseconds of one training step, medians, by contestant."""
    graph = work.graph()
    process = NativeProcess(graph, cache)
    process.is_ready(wait=True)
    programs: dict[str, Program] = {
        "wasm": WasmBackend().compile(graph),
        "native": NativeBackend().compile(graph),
        "process": process.program(),
    }
    batch = work.inputs()
    group = {name: np.stack([array] * TRACE_STRIDE) for name, array in batch.items()}
    runners = {}
    for name, program in programs.items():
        for parameter, array in work.parameters().items():
            program.write(parameter, array)
        runners[name] = Runner(_step(program, batch))
        runners[f"{name} x{TRACE_STRIDE}"] = Runner(_group(program, group), TRACE_STRIDE)
    found = interleave(runners, repeats, SAMPLE_US)
    process.close()
    return {name: round(spread.wall_us, 2) for name, spread in found.items()}


def _step(program: Program, batch: dict[str, Array]) -> Callable[[], None]:
    def run() -> None:
        for name, array in batch.items():
            program.write(name, array)
        program.run()

    return run


def _group(program: Program, group: dict[str, Array]) -> Callable[[], None]:
    return lambda: run_feed(program, group)


def measure_start(work: Workload, cache: Path | None) -> float:
    """Return the processor seconds of a process from its start until it is ready."""
    before = _children_s()
    process = NativeProcess(work.graph(), cache)
    process.is_ready(wait=True)
    process.close()
    return _children_s() - before


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the record."""
    parser = argparse.ArgumentParser(prog="worker_process", description="what a worker process costs, when it pays")
    parser.add_argument("--repeats", type=int, default=60, help="rounds; all contestants take a turn in each")
    repeats: int = parser.parse_args(arguments).repeats
    before_us = calibrate()
    with tempfile.TemporaryDirectory() as directory:
        cache = Path(directory)
        steps_us = {work.label: measure_steps(work, cache, repeats) for work in WORKS}
        starts_s = {
            "golden vectors in the cache": [measure_start(WORKS[-1], cache) for _ in range(STARTS)],
            "no cache": [measure_start(WORKS[-1], None) for _ in range(STARTS)],
        }
    after_us = calibrate()
    spread = abs(after_us - before_us) / min(after_us, before_us)
    record = {
        "commit": find_commit(),
        "machine": msgspec.structs.asdict(describe_machine()),
        "repeats": repeats,
        "void": spread > SPREAD_MAX,
        "calibration_spread": round(spread, 3),
        "step_wall_us": steps_us,
        "start_cpu_s": {name: round(median(times), 3) for name, times in starts_s.items()},
    }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
