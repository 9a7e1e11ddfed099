"""What is promised of matrix products, and what the ceiling measured in the same run says about it."""

from collections.abc import Mapping

from synaptic_mesh.bench.cases import CASES, Mode
from synaptic_mesh.bench.record import Peak, Result
from synaptic_mesh.bench.workload import Kind, Workload

PEAK_OR_NUMPY = "0.90 of peak or 0.95 of numpy"
"""A rival of two: what takes 1/0.90 of the time at the ceiling, or 1/0.95 of numpy's, whichever is longer."""
PEAK_SHARE_MIN = 0.90
NUMPY_SHARE_MIN = 0.95


def product_operations(name: str) -> int:
    """Return the products and sums of a case that is one matrix product, 0 for another case."""
    for case in CASES:
        work = case.work
        if case.name == name and isinstance(work, Workload) and work.kind is Kind.GEMM and case.mode is Mode.IN_PLACE:
            n, k, m = work.sizes
            return 2 * n * k * m
    return 0


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
    operations = product_operations(result.name)
    rate = {"native": peak.mul_add, "wasm": peak.wasm_mul_add}.get(result.backend)
    if not operations or rate is None or result.threads > 1:
        return ""
    least_us = operations / rate / 1e3
    if least_us <= ratio_max * time_us:
        return ""
    return (
        f"{operations:.3g} operations at the {rate:.1f} GFLOP/s of separate products and sums measured here at "
        f"{result.vector_bits} bits take {least_us:.1f} us, {least_us / time_us:.2f} times the rival's {time_us:.1f} us"
    )
