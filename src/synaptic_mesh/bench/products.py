"""What is promised of matrix products and small steps, and what the ceiling measured in the same run says about it."""

from collections.abc import Mapping

from synaptic_mesh.bench.cases import CASES, Mode
from synaptic_mesh.bench.record import Peak, Result
from synaptic_mesh.bench.workload import Kind, Workload
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.limits import node_flops

PEAK_OR_NUMPY = "0.90 of peak or 0.95 of numpy"
"""A rival of two: what takes 1/0.90 of the time at the ceiling, or 1/0.95 of numpy's, whichever is longer."""
PEAK_SHARE_MIN = 0.90
NUMPY_SHARE_MIN = 0.95


_ARITHMETIC = frozenset(
    (Op.MATMUL, Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MAX, Op.LT, Op.EXP, Op.LOG, Op.REDUCE_SUM, Op.REDUCE_MAX)
)
"""Of the operations of a classifier's step those that no exact code can do without: each takes a lane of one of the
units that multiply and add. What moves, selects or changes a sign may cost nothing."""


def product_operations(name: str) -> int:
    """Return the products and sums of a case that is one matrix product, 0 for another case."""
    work = _in_place(name)
    if work is None or work.kind is not Kind.GEMM:
        return 0
    n, k, m = work.sizes
    return 2 * n * k * m


def least_operations(name: str) -> int:
    """Return the operations that the semantics ask for in a step of a case in place, whatever the code; 0 for a case
    that is called. An exponential or logarithm is as many as its definition has."""
    work = _in_place(name)
    if work is None:
        return 0
    graph = work.graph()
    return sum(node_flops(graph, node) for node in graph.nodes if node.op in _ARITHMETIC)


def _in_place(name: str) -> Workload | None:
    found = (case.work for case in CASES if case.name == name and case.mode is Mode.IN_PLACE)
    return next((work for work in found if isinstance(work, Workload)), None)


def rival_time(result: Result, rival: str, found: Mapping[tuple[str, str], Result]) -> float | None:
    """Return how long a step of `rival` takes, in the kind of time that `our_time` returns; None when it was not
    measured. A rival may be another of our backends."""
    if rival == PEAK_OR_NUMPY:
        if result.share_of_peak is None or "numpy" not in result.rivals:
            return None
        at_peak = result.ours_us * result.share_of_peak
        return max(at_peak / PEAK_SHARE_MIN, result.rivals["numpy"] / NUMPY_SHARE_MIN)
    other = found.get((result.name, rival))
    if other is not None:
        return our_time(other, result.threads > 1)
    return result.rivals.get(rival)


def our_time(result: Result, is_wall: bool) -> float:
    """Return the time of a step: wall time where threads are compared, else CPU time."""
    return result.wall_us[result.backend] if is_wall else result.ours_us


def ceiling(result: Result, time_us: float, ratio_max: float, peak: Peak) -> str:
    """Return why no exact code of this backend could be `ratio_max` times `time_us` on this machine, or ""."""
    operations = least_operations(result.name)
    rate = {"native": peak.mul_add, "wasm": peak.wasm_mul_add}.get(result.backend)
    if not operations or rate is None or result.threads > 1:
        return ""
    least_us = operations / rate / 1e3
    if least_us <= ratio_max * time_us:
        return ""
    return (
        f"{operations:.3g} operations at the {rate:.1f} GFLOP/s of separate products and sums measured here at "
        f"{result.vector_bits} bits take {_us(least_us)}, {least_us / time_us:.3g} times the rival's {_us(time_us)}"
    )


def _us(value: float) -> str:
    return f"{value:.3g} us" if value < 100 else f"{value:.0f} us"
