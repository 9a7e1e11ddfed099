"""What `synaptic bench ledger` leaves behind: `synaptic.bench.ledger/1`, field by field in docs/benchmarks.md."""

import msgspec

from synaptic_mesh.bench.record import describe_machine

SCHEMA_VERSION = 1


class LedgerMachine(msgspec.Struct, frozen=True):
    """Where it ran."""

    processor: str
    system: str
    python: str
    packages: dict[str, str]


class LoadResult(msgspec.Struct, frozen=True):
    """One load, offered for some seconds by the client processes together. Rates are per second of wall time in the
    measured window; a transfer counts as committed when its client has heard so.
    """

    transfers_per_signature: int
    offered_per_s: float
    """Transfers offered."""
    committed_transfers_per_s: float
    signatures_per_s: float
    """Committed transactions: each carries one signature."""
    latency_ms_p50: float
    latency_ms_p99: float
    """From the moment at which a transaction was due to the moment at which its client heard that it was executed."""
    fsync: bool
    offered_signatures_per_s: float
    commits_per_s: float
    """Of one validator."""
    validators_cpu_share: float
    clients_cpu_share: float
    """CPU seconds used by all validators with their children, and by all clients, over cores times wall time."""
    refused: dict[str, int]
    """Transactions that the ledger refused, by reason."""
    late_ms: float
    """How late a client was, at worst, with offering: large values mean that the clients were the bottleneck."""
    rss_mb: float
    """Resident memory of all validators with their children afterwards."""


class MemorySample(msgspec.Struct, frozen=True):
    """Resident memory of all validators with their children, `at_s` seconds into the soak."""

    at_s: float
    rss_mb: float


class LedgerBar(msgspec.Struct, frozen=True):
    """Something that was promised: `value` is to be at least `limit` (or at most, when `is_maximum`)."""

    name: str
    value: float
    limit: float
    is_maximum: bool
    passed: bool


class LedgerRecord(msgspec.Struct, frozen=True):
    """See the module's docstring."""

    commit: str
    machine: LedgerMachine
    validators: int
    clients: int
    cores: int
    seconds: float
    round_delay_ms: int
    token_operation_us: float
    verify_us: float
    execution_us: dict[str, float]
    fsync_ms_p50: float
    verify_ceiling_per_s: float
    """Signatures a second if all cores did nothing but verify, each validator every signature."""
    execution_ceiling_per_s: dict[str, float]
    """Transfers a second, by transfers under one signature, if all cores did nothing but decode and execute."""
    rss_mb_start: float
    rss_mb_end: float
    loads: list[LoadResult]
    soak: list[MemorySample]
    state_roots_agree: bool
    bars: list[LedgerBar]

    @property
    def holds(self) -> bool:
        """True when every bar holds and no two validators disagree."""
        return self.state_roots_agree and all(bar.passed for bar in self.bars)


def ledger_machine() -> LedgerMachine:
    """Return processor, system and versions."""
    machine = describe_machine()
    return LedgerMachine(machine.processor, machine.system, machine.python, machine.packages)
