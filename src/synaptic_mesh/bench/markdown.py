"""A record of the engine suite as the table that a page shows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synaptic_mesh.bench.record import BenchRecord, Result

OURS = ("native", "wasm")
RIVALS = ("numpy", "torch", "onnxruntime", "jax")
DASH = "-"


class Line(NamedTuple):
    """One case: who took how long."""

    name: str
    times_us: Mapping[str, float]


def performance_table(record: BenchRecord, link: str) -> str:
    """Return Markdown: a line for each case on one thread, medians of CPU microseconds per step, then where they come
    from. `link`: the record, as the page reaches it."""
    columns = [name for name in (*OURS, *RIVALS) if any(name in line.times_us for line in _lines(record.results))]
    head = ["microseconds of a step, one thread", *columns]
    rows = [[line.name, *(_time(line.times_us.get(name)) for name in columns)] for line in _lines(record.results)]
    packages = ", ".join(f"{name} {record.machine.packages[name]}" for name in _named(record, columns))
    peak = record.peak_gflops
    return "\n".join(
        [
            _row(head),
            _row(["---", *("--:" for _ in columns)]),
            *map(_row, rows),
            "",
            f"Medians of CPU time, everyone in turn in one process, at commit {record.commit[:12]} on "
            f"{record.machine.processor} with {packages}: [the record]({link}), made by `make performance`. Ours are "
            f"exact; the others may fuse and reorder. One core does {peak.mul_add:.0f} GFLOP/s of separate products "
            f"and sums at {peak.mul_add_bits} bits" + ("." if peak.fma is None else f", {peak.fma:.0f} fused."),
        ]
    )


def promises_table(record: BenchRecord) -> str:
    """Return Markdown: a line for each thing that the suite promises, with what was measured and what was asked; then
    those that this machine forbids, with the reason."""
    rows, reasons = [], []
    for bar in record.bars:
        what = f"{bar.name}: {bar.backend} next to {bar.rival}"
        rows.append([what, f"{1 / bar.ratio:.2f}x", f"{1 / bar.ratio_max:.2f}x", _holds(bar.passed)])
        if bar.ceiling:
            reasons.append(f"- {what}, {1 / bar.ratio_max:.2f}x: {bar.ceiling}.")
    for limit in record.limits:
        figures = (f"{value:.3g} {limit.unit}" for value in (limit.value, limit.limit))
        rows.append([limit.name, *figures, _holds(limit.passed)])
    head = [_row(["promise", "measured", "asked", ""]), _row(["---", "--:", "--:", "---"])]
    why = ["", "Out of reach of any exact code on this processor:", "", *reasons] if reasons else []
    return "\n".join([*head, *map(_row, rows), *why])


def _holds(passed: bool) -> str:
    return "holds" if passed else "does not hold"


def _lines(results: Sequence[Result]) -> list[Line]:
    """Our backends' results of one case side by side. A rival's time is that of the first of them: all ran in turn."""
    lines: dict[str, dict[str, float]] = {}
    for result in results:
        if result.threads == 1 and "(" not in result.name:  # not the cases with numpy held to narrower kernels
            times = lines.setdefault(result.name, {})
            times[result.backend] = result.ours_us
            for name, time_us in result.rivals.items():
                times.setdefault(name, time_us)
    return [Line(name, times) for name, times in lines.items()]


def _named(record: BenchRecord, columns: Sequence[str]) -> list[str]:
    """The packages behind the columns that are shown."""
    behind = {"native": "llvmlite", "wasm": "wasmtime"}
    return [name for name in (behind.get(column, column) for column in columns) if name in record.machine.packages]


def _time(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
