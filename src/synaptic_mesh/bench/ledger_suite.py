"""Runs the ledger benchmark: real validators and clients as processes, loads up to saturation, one record.

For each number of transfers under a signature the first load offers more than this machine can do; what comes out is
its saturation, and the other loads are shares of that. All loads meet the same processes, one after the other.
"""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.bench.ledger_ceilings import Ceilings, cores, measure_ceilings
from synaptic_mesh.bench.ledger_network import write_network
from synaptic_mesh.bench.ledger_processes import Talker
from synaptic_mesh.bench.ledger_record import (
    LedgerBar,
    LedgerRecord,
    LoadResult,
    MemorySample,
    ledger_machine,
)
from synaptic_mesh.bench.record import find_commit
from synaptic_mesh.node.settings import PacingSettings

SHARES = (0.25, 0.5, 0.75, 0.9)
"""Of saturation."""
OVERLOAD = 1.3
"""Of what the ceilings allow: the first guess at more than the machine can do."""
WARM_SHARE = 0.25
SOAK_SAMPLE_S = 10.0
HALF = 0.5
QUARTERS = 4
QUICK_S = 3.0

PACING = PacingSettings(round_delay_ms_min=40)
"""Twice the delay of a node by default: all validators share one machine here, and at 20 ms their rounds alone take a
tenth of two cores."""

OnLine = Callable[[str], None]


class LedgerSettings(msgspec.Struct, frozen=True):
    """What is measured. `soak_s`: seconds at half of the saturation of single transfers, afterwards."""

    validators: int = 4
    clients: int = 2
    seconds: float = 8.0
    transfers: tuple[int, ...] = (1, 100)
    shares: tuple[float, ...] = SHARES
    soak_s: float = 0.0
    pacing: PacingSettings = PACING


def ledger_settings(
    validators: int, seconds: float, soak_s: float, round_delay_ms: int | None, *, is_quick: bool
) -> LedgerSettings:
    """Return settings as an operator chooses them. `is_quick`: short loads, saturation and half of it."""
    pacing = PACING if round_delay_ms is None else PacingSettings(round_delay_ms_min=round_delay_ms)
    settings = LedgerSettings(validators=validators, seconds=seconds, soak_s=soak_s, pacing=pacing)
    if is_quick:
        settings = msgspec.structs.replace(settings, seconds=min(seconds, QUICK_S), shares=(HALF,))
    return settings


def run_ledger_suite(settings: LedgerSettings, on_line: OnLine) -> LedgerRecord:
    """Measure. Raises ResourceError when a process dies, LocalError for settings that make no sense."""
    if not 1 <= settings.validators <= 16:
        raise LocalError(f"{settings.validators} validators: choose 1 to 16")
    if settings.seconds < 1:
        raise LocalError(f"{settings.seconds} seconds are too short for a load: take at least 1")
    with tempfile.TemporaryDirectory(prefix="synaptic-ledger-", ignore_cleanup_errors=True) as name:
        return asyncio.run(_run(settings, Path(name), on_line))


async def _run(settings: LedgerSettings, directory: Path, on_line: OnLine) -> LedgerRecord:
    network = write_network(
        directory, settings.validators, settings.clients, settings.pacing, time.time_ns() // 1_000_000
    )
    on_line("ceilings of one core")
    ceilings = await asyncio.to_thread(measure_ceilings, network.genesis, directory, settings.transfers)
    async with _processes(network.validators, network.clients) as mesh:
        start_mb = await mesh.rss_mb()
        loads: list[LoadResult] = []
        for transfers in settings.transfers:
            loads += await _loads(mesh, settings, ceilings, transfers, on_line)
        soak = await _soak(mesh, settings, loads, on_line)
        end_mb = await mesh.rss_mb()
        agree = await mesh.stop()
    return _record(settings, ceilings, loads, soak, (start_mb, end_mb), agree)


class Mesh:
    """The running processes."""

    def __init__(self, validators: list[Talker], clients: list[Talker]) -> None:
        self.validators = validators
        self.clients = clients

    async def status(self) -> list[dict[str, Any]]:
        """Return what each validator says of itself."""
        return list(await asyncio.gather(*[each.ask("status", "status") for each in self.validators]))

    async def rss_mb(self) -> float:
        """Return the resident memory of all validators."""
        return round(sum(float(line["rss_mb"]) for line in await self.status()), 1)

    async def play(self, load: dict[str, float]) -> list[dict[str, Any]]:
        """Have every client offer its share of a load; return what each says."""
        line = json.dumps(load)
        await asyncio.gather(*[each.ask(line, "ready") for each in self.clients])
        return list(await asyncio.gather(*[each.ask("go", "done") for each in self.clients]))

    async def stop(self) -> bool:
        """Stop all; return whether validators that executed equally many commits have equal state roots."""
        for client in self.clients:
            await client.stop()
        roots: dict[int, set[str]] = {}
        for line in [await self._last(each) for each in self.validators]:
            roots.setdefault(int(line["commit_index"]), set()).add(str(line["state_root"]))
        return all(len(same) == 1 for same in roots.values())

    async def _last(self, validator: Talker) -> dict[str, Any]:
        lines = (await validator.stop()).splitlines()
        if not lines:
            raise ResourceError(f"{validator.name} ended without a last word")
        last: dict[str, Any] = json.loads(lines[-1])
        return last


@contextlib.asynccontextmanager
async def _processes(validators: Sequence[Path], clients: Sequence[Path]) -> AsyncIterator[Mesh]:
    nodes = [Talker(place.name, "ledger_node", (str(place),), place / "stderr.txt") for place in validators]
    callers = [
        Talker(place.name, "ledger_client", (str(place), str(n)), place / "stderr.txt")
        for n, place in enumerate(clients)
    ]
    try:
        for each in [*nodes, *callers]:
            await each.start()
        await asyncio.gather(*[each.hear("up") for each in [*nodes, *callers]])
        yield Mesh(nodes, callers)
    finally:
        await asyncio.gather(*[each.stop() for each in [*callers, *nodes]], return_exceptions=True)


async def _loads(
    mesh: Mesh, settings: LedgerSettings, ceilings: Ceilings, transfers: int, on_line: OnLine
) -> list[LoadResult]:
    """Overload first, then shares of what it gave; returned by ascending load."""
    per_signature_us = ceilings.verify_us + ceilings.execution_us[transfers] * transfers
    most = cores() * 1e6 / (settings.validators * per_signature_us)
    full = await _load(mesh, settings, transfers, most * OVERLOAD * HALF, on_line)
    if full.committed_transfers_per_s > 0.95 * full.offered_per_s:
        full = await _load(mesh, settings, transfers, most * OVERLOAD, on_line)
    rest = [await _load(mesh, settings, transfers, full.signatures_per_s * share, on_line) for share in settings.shares]
    return [*rest, full]


async def _load(
    mesh: Mesh, settings: LedgerSettings, transfers: int, signatures_per_s: float, on_line: OnLine, seconds: float = 0
) -> LoadResult:
    seconds = seconds or settings.seconds
    load = {
        "transfers_per_signature": transfers,
        "signatures_per_s": signatures_per_s / len(mesh.clients),
        "seconds": seconds,
        "warm_s": seconds * WARM_SHARE,
    }
    before, start = await mesh.status(), time.monotonic()
    done = await mesh.play(load)
    after, wall_s = await mesh.status(), time.monotonic() - start
    latencies = np.array([value for line in done for value in line["latencies_ms"]] or [0.0])
    signatures = sum(line["committed"] / line["window_s"] for line in done)
    refused: dict[str, int] = {}
    for line in done:
        for reason, count in line["refused"].items():
            refused[reason] = refused.get(reason, 0) + count
    on_line(f"{transfers} per signature, {signatures_per_s:,.0f} signatures/s offered: {signatures:,.0f} committed")
    return LoadResult(
        transfers_per_signature=transfers,
        offered_per_s=round(signatures_per_s * transfers, 1),
        committed_transfers_per_s=round(signatures * transfers, 1),
        signatures_per_s=round(signatures, 1),
        latency_ms_p50=round(float(np.percentile(latencies, 50)), 2),
        latency_ms_p99=round(float(np.percentile(latencies, 99)), 2),
        fsync=True,
        offered_signatures_per_s=round(signatures_per_s, 1),
        commits_per_s=round((after[0]["commits"] - before[0]["commits"]) / wall_s, 1),
        validators_cpu_share=_share(before, after, wall_s),
        clients_cpu_share=round(sum(line["cpu_s"] for line in done) / (cores() * wall_s), 3),
        refused=refused,
        late_ms=max(line["late_ms"] for line in done),
        rss_mb=round(sum(float(line["rss_mb"]) for line in after), 1),
    )


def _share(before: list[dict[str, Any]], after: list[dict[str, Any]], wall_s: float) -> float:
    used = sum(float(late["cpu_s"]) - float(early["cpu_s"]) for early, late in zip(before, after, strict=True))
    return round(used / (cores() * wall_s), 3)


async def _soak(
    mesh: Mesh, settings: LedgerSettings, loads: Sequence[LoadResult], on_line: OnLine
) -> list[MemorySample]:
    """Half of the saturation of the first kind of load for a long time, in parts; memory after each."""
    if settings.soak_s <= 0:
        return []
    transfers = settings.transfers[0]
    most = max(load.signatures_per_s for load in loads if load.transfers_per_signature == transfers)
    start = time.monotonic()
    samples = [MemorySample(0.0, await mesh.rss_mb())]
    while time.monotonic() - start < settings.soak_s:
        part_s = min(SOAK_SAMPLE_S, settings.soak_s)
        await _load(mesh, settings, transfers, most * HALF, lambda _: None, part_s)
        samples.append(MemorySample(round(time.monotonic() - start, 1), await mesh.rss_mb()))
        on_line(f"soak: {samples[-1].at_s:.0f} s, {samples[-1].rss_mb:.1f} MB")
    return samples


def _record(
    settings: LedgerSettings,
    ceilings: Ceilings,
    loads: list[LoadResult],
    soak: list[MemorySample],
    rss_mb: tuple[float, float],
    agree: bool,
) -> LedgerRecord:
    verify_ceiling = cores() * 1e6 / (settings.validators * ceilings.verify_us)
    execution = {str(each): us for each, us in ceilings.execution_us.items()}
    return LedgerRecord(
        commit=find_commit(),
        machine=ledger_machine(),
        validators=settings.validators,
        clients=settings.clients,
        cores=cores(),
        seconds=settings.seconds,
        round_delay_ms=settings.pacing.round_delay_ms_min,
        token_operation_us=round(ceilings.token_operation_us, 3),
        verify_us=round(ceilings.verify_us, 3),
        execution_us={each: round(us, 4) for each, us in execution.items()},
        fsync_ms_p50=round(ceilings.fsync_ms_p50, 3),
        verify_ceiling_per_s=round(verify_ceiling, 1),
        execution_ceiling_per_s={
            each: round(cores() * 1e6 / (settings.validators * us), 1) for each, us in execution.items()
        },
        rss_mb_start=rss_mb[0],
        rss_mb_end=rss_mb[1],
        loads=loads,
        soak=soak,
        state_roots_agree=agree,
        bars=bars_of(settings, ceilings, loads, soak, verify_ceiling),
    )


def bars_of(
    settings: LedgerSettings,
    ceilings: Ceilings,
    loads: Sequence[LoadResult],
    soak: Sequence[MemorySample],
    verify_ceiling: float,
) -> list[LedgerBar]:
    """Return what is promised of four validators with their clients on two cores, and whether it holds here."""
    most = {load.transfers_per_signature: load for load in sorted(loads, key=lambda load: load.signatures_per_s)}
    bars = [
        _at_most("token_operation_us", ceilings.token_operation_us, 20.0),
        _at_most("verify_us", ceilings.verify_us, 150.0),
    ]
    if 1 in most:
        share = most[1].signatures_per_s / verify_ceiling
        bars.append(
            LedgerBar("share of the verify ceiling, signed one by one", round(share, 3), 0.5, False, share >= 0.5)
        )
    if 100 in most:
        rate = most[100].committed_transfers_per_s
        bars.append(LedgerBar("transfers/s, 100 per signature", rate, 100_000.0, False, rate >= 100_000))
    limit_ms = 3 * (settings.pacing.round_delay_ms_min + ceilings.fsync_ms_p50) + 60
    for transfers, full in sorted(most.items()):
        half = [load for load in loads if load.transfers_per_signature == transfers]
        near = min(half, key=lambda load: abs(load.offered_signatures_per_s - HALF * full.signatures_per_s))
        name = f"latency_ms_p50 at half load, {transfers} per signature"
        bars.append(_at_most(name, near.latency_ms_p50, round(limit_ms, 2)))
    if len(soak) >= QUARTERS:
        bars.append(_at_most("growth of memory over the last quarter of the soak", growth_of(soak), 0.02))
    return bars


def growth_of(soak: Sequence[MemorySample]) -> float:
    """Return by what share the mean of the last quarter is above that of the one before. Means, because the write-ahead
    log is mapped anew now and then, which shows in single samples.
    """
    quarter = len(soak) // QUARTERS
    sizes = [sample.rss_mb for sample in soak]
    before, last = sizes[-2 * quarter : -quarter], sizes[-quarter:]
    return sum(last) / sum(before) - 1


def _at_most(name: str, value: float, limit: float) -> LedgerBar:
    return LedgerBar(name, round(value, 4), limit, True, value <= limit)
