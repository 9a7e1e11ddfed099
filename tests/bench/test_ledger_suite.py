"""The ledger benchmark: what counts as kept, what people see, and one short run of real processes."""

import msgspec
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench import ledger_suite
from synaptic_mesh.bench.ledger_ceilings import Ceilings
from synaptic_mesh.bench.ledger_network import ACCOUNTS, SENDERS_PER_LINE, sender_indices
from synaptic_mesh.bench.ledger_record import LedgerRecord, LoadResult, MemorySample
from synaptic_mesh.bench.ledger_report import format_ledger
from synaptic_mesh.bench.ledger_suite import LedgerSettings, bars_of, ledger_settings, run_ledger_suite

SETTINGS = LedgerSettings()
CEILINGS = Ceilings(verify_us=50.0, token_operation_us=10.0, execution_us={1: 6.0, 100: 0.3}, fsync_ms_p50=1.0)
CEILING = 10_000.0
SOAK = [MemorySample(10.0 * n, 500.0 + min(n, 5) * 20) for n in range(13)]


def load(transfers: int, offered: float, committed: float, p50_ms: float) -> LoadResult:
    return LoadResult(
        transfers_per_signature=transfers,
        offered_per_s=offered * transfers,
        committed_transfers_per_s=committed * transfers,
        signatures_per_s=committed,
        latency_ms_p50=p50_ms,
        latency_ms_p99=2 * p50_ms,
        fsync=True,
        offered_signatures_per_s=offered,
        commits_per_s=30.0,
        validators_cpu_share=0.8,
        clients_cpu_share=0.1,
        refused={},
        late_ms=5.0,
        rss_mb=600.0,
    )


LOADS = [
    load(1, 2_600, 2_600, 90),
    load(1, 9_000, 5_000, 1_500),
    load(100, 600, 600, 100),
    load(100, 3_000, 1_200, 700),
]


def verdicts(loads: list[LoadResult], soak: list[MemorySample]) -> dict[str, bool]:
    return {bar.name.split(",")[0]: bar.passed for bar in bars_of(SETTINGS, CEILINGS, loads, soak, CEILING)}


def test_every_promise_is_judged_by_its_own_figure() -> None:
    good = verdicts(LOADS, SOAK)
    assert len(good) == 6
    assert all(good.values())
    slow = [load(1, 9_000, 4_900, 90), *LOADS[2:]]
    assert not verdicts(slow, SOAK)["share of the verify ceiling"]
    few = [*LOADS[:2], load(100, 3_000, 999, 90)]
    assert not verdicts(few, SOAK)["transfers/s"]
    # 3 x (40 + 1) + 60 ms
    assert verdicts([load(1, 2_500, 2_500, 183), LOADS[1]], [])["latency_ms_p50 at half load"]
    assert not verdicts([load(1, 2_500, 2_500, 184), LOADS[1]], [])["latency_ms_p50 at half load"]
    growing = [MemorySample(10.0 * n, 500.0 + 5 * n) for n in range(13)]
    assert not verdicts(LOADS, growing)["growth of memory over the last quarter of the soak"]


def test_what_an_operator_chooses() -> None:
    chosen = ledger_settings(3, 10.0, 60.0, 35, is_quick=True)
    assert (chosen.validators, chosen.seconds, chosen.soak_s, chosen.shares) == (3, 3.0, 60.0, (0.5,))
    assert chosen.pacing.round_delay_ms_min == 35
    assert ledger_settings(4, 10.0, 0.0, None, is_quick=False).seconds == 10.0
    for wrong in (LedgerSettings(validators=0), LedgerSettings(seconds=0.5)):
        with pytest.raises(LocalError, match=r"validators|seconds"):
            run_ledger_suite(wrong, lambda _: None)


def test_no_two_lines_of_transactions_share_an_account() -> None:
    """Two nonces of one account on two ways would leave gaps."""
    seen = [index for client in range(2) for validator in range(16) for index in sender_indices(client, validator)]
    assert len(seen) == len(set(seen)) == 2 * 16 * SENDERS_PER_LINE
    assert max(seen) < ACCOUNTS


@pytest.mark.process
@pytest.mark.slow
def test_a_short_run_of_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_suite, "OVERLOAD", 0.02)
    lines: list[str] = []
    settings = LedgerSettings(validators=1, clients=1, seconds=1.0, transfers=(100,), shares=(), soak_s=1.0)
    record = run_ledger_suite(settings, lines.append)
    assert record.state_roots_agree
    assert [each.transfers_per_signature for each in record.loads] == [100]
    assert all(each.committed_transfers_per_s > 0 for each in record.loads)
    assert all(0 < each.latency_ms_p50 <= each.latency_ms_p99 for each in record.loads)
    assert all(not each.refused for each in record.loads)
    assert record.rss_mb_end > 20
    assert len(record.soak) == 2
    assert lines
    again = msgspec.json.decode(msgspec.json.encode(record), type=LedgerRecord)
    text = format_ledger(again)
    assert "mutual TLS, fsync on" in text
    assert text.count("\n") > 15
