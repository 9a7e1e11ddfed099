"""The ledger benchmark's record for people."""

from synaptic_mesh.bench.ledger_record import LedgerRecord

WIDTHS = (7, 12, 12, 12, 8, 8, 9, 5, 6)


def format_ledger(record: LedgerRecord) -> str:
    """Return the record as a few lines of text."""
    lines = [
        "CONFIG",
        f"  {record.validators} validators, {record.clients} clients, {record.cores} cores, {record.machine.processor}",
        f"  commit {record.commit[:12]}, round delay {record.round_delay_ms} ms, {record.seconds:g} s a load",
        "  real processes over mutual TLS, fsync on",
        "CEILINGS OF THE SAME RUN",
        f"  one signature verified {record.verify_us:.1f} us: {record.verify_ceiling_per_s:,.0f} signatures/s",
    ]
    for each, us in record.execution_us.items():
        most = record.execution_ceiling_per_s[each]
        lines.append(f"  one transfer decoded and executed, {each} per signature, {us:.2f} us: {most:,.0f} transfers/s")
    lines.append(f"  token operation {record.token_operation_us:.1f} us, fsync p50 {record.fsync_ms_p50:.2f} ms")
    lines.append("RESULTS")
    names = ("per sig", "offered/s", "transfers/s", "signatures/s", "p50 ms", "p99 ms", "commits/s", "cpu", "MB")
    lines.append("  " + " ".join(f"{name:>{width}}" for name, width in zip(names, WIDTHS, strict=True)))
    for load in record.loads:
        cells = (
            f"{load.transfers_per_signature}",
            f"{load.offered_per_s:,.0f}",
            f"{load.committed_transfers_per_s:,.0f}",
            f"{load.signatures_per_s:,.0f}",
            f"{load.latency_ms_p50:.1f}",
            f"{load.latency_ms_p99:.1f}",
            f"{load.commits_per_s:.1f}",
            f"{load.validators_cpu_share + load.clients_cpu_share:.0%}",
            f"{load.rss_mb:.0f}",
        )
        lines.append("  " + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)))
    lines.append(f"  memory of all validators: {record.rss_mb_start:.0f} MB before, {record.rss_mb_end:.0f} MB after")
    if record.soak:
        first, last = record.soak[0], record.soak[-1]
        lines.append(f"  soak of {last.at_s:.0f} s at half load: {first.rss_mb:.0f} MB to {last.rss_mb:.0f} MB")
    if not record.state_roots_agree:
        lines.append("  VALIDATORS DISAGREE: equal commits, different state roots")
    lines.append("BARS")
    for bar in record.bars:
        word, sign = ("holds" if bar.passed else "FAILS"), ("<=" if bar.is_maximum else ">=")
        lines.append(f"  {word}  {bar.name}: {bar.value:,.3f} {sign} {bar.limit:,.3f}")
    return "\n".join(lines)
