"""The record for people: CONFIG, then RESULTS."""

from collections.abc import Sequence

from synaptic_mesh.bench.record import BenchRecord, Result


def format_record(record: BenchRecord) -> str:
    """Return the record as text: times in microseconds of a step, and in brackets how much longer or shorter a rival
    takes than our fastest backend of the line."""
    machine = record.machine
    lines = ["CONFIG", f"  commit      {record.commit}", f"  processor   {machine.processor}"]
    lines += [f"  {name:<11} {value}" for name, value in (*machine.packages.items(), *record.settings.items())]
    lines += [f"  without     {name}: {reason}" for name, reason in record.left_out.items()]
    lines.append("RESULTS" + (" (VOID: the machine was not quiet, measure again)" if record.void else ""))
    lines.append("  CPU time of a step in us, one thread; how often ours fits into a rival's stands in brackets")
    lines += _table(record.results)
    for cost in record.programs:
        lines.append(
            f"  {cost.name} on {cost.backend}: compile {cost.compile_ms:.2f} ms, from the cache "
            f"{cost.cached_load_ms:.3f} ms, one more instance {cost.spawn_us:.1f} us, {cost.module_bytes} bytes"
        )
    if record.startup is not None:
        start = record.startup
        lines.append(
            f"  cold process: import {start.import_ms:.0f} ms, first prediction of a new model "
            f"{start.first_prediction_ms:.0f} ms, {start.first_ever_ms:.0f} ms with an empty cache"
        )
    peak = record.peak_gflops
    fused = "" if peak.fma is None else f", fused {peak.fma:.1f}"
    narrow = "" if peak.wasm_mul_add is None else f"; WebAssembly at 128 bits {peak.wasm_mul_add:.1f}"
    lines.append(f"  peak of a core at {peak.mul_add_bits} bits: {peak.mul_add:.1f} GFLOP/s separate{fused}{narrow}")
    for result in record.results:
        if result.share_of_peak is not None:
            lines.append(f"  {result.name}, {result.backend}: {result.share_of_peak:.3f} of its peak, measured in turn")
    lines.append(f"  calibration spread: {record.calibration.spread:.1%}")
    for bar in record.bars:
        verdict = "passed" if bar.passed else "FAILED"
        lines.append(
            f"  bar {bar.name}, {bar.backend} to {bar.rival}: {bar.ratio:.2f} <= {bar.ratio_max:.3g}: {verdict}"
        )
        if bar.ceiling:
            lines.append(f"    out of reach here: {bar.ceiling}")
    for limit in record.limits:
        verdict = "passed" if limit.passed else "FAILED"
        lines.append(f"  limit {limit.name}: {limit.value:.2f} {limit.unit} <= {limit.limit:g} {limit.unit}: {verdict}")
    return "\n".join(lines)


def _table(results: Sequence[Result]) -> list[str]:
    """One line for each case and backend."""
    width = max((len(result.name) for result in results), default=0)
    lines = []
    for result in results:
        low, high = result.intervals_us[result.backend]
        ours = f"{result.backend} {_number(result.ours_us)} [{_number(low)}, {_number(high)}]"
        if result.threads > 1:
            ours = f"{result.backend} {_number(result.wall_us[result.backend])} of wall time"
        rivals = "  ".join(
            f"{name} {_number(value)} ({value / result.ours_us:.2f})" for name, value in result.rivals.items()
        )
        lines.append(f"  {result.name:<{width}}  {ours:<32}  {rivals}")
    return lines


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
