"""What one core can do of each part of a transaction: the ceilings that the ledger benchmark is compared with."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.bench.ledger_network import ACCOUNTS, account_seed
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import Genesis, network_id
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.signing import (
    UnverifiedTransaction,
    is_claim_valid,
    open_transaction_untrusted,
    sign_transaction,
    verified_of,
)
from synaptic_mesh.ledger.transactions import Transaction, Transfer, TransferMany
from synaptic_mesh.ledger.transfers import pack_transfers
from synaptic_mesh.storage.log import WriteAheadLog

REPEATS = 5
COMMIT_TRANSACTIONS = 512
FSYNC_BYTES = 4_096
FSYNCS = 60


class Ceilings(msgspec.Struct, frozen=True):
    """Medians of repeats, in microseconds of one core's time."""

    verify_us: float
    """One Ed25519 signature of a transaction, its hash included."""
    token_operation_us: float
    """One transfer, all but its signature: decoded, its form, network, nonce and balance checked, and applied."""
    execution_us: dict[int, float]
    """By transfers under one signature: one transfer of a commit of 512 transactions, decoded, executed, the state root
    included."""
    fsync_ms_p50: float
    """One record of 4 KiB appended to the write-ahead log and synced, in the directory of the run."""


def measure_ceilings(genesis: Genesis, directory: Path, transfers: tuple[int, ...]) -> Ceilings:
    """Measure all of them. `directory` lies where the validators write."""
    return Ceilings(
        verify_us=_median(lambda: _verify_us(genesis)),
        token_operation_us=_median(lambda: _token_operation_us(genesis)),
        execution_us={each: _median(lambda each=each: _execution_us(genesis, each)) for each in transfers},  # type: ignore[misc]
        fsync_ms_p50=_fsync_ms(directory),
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def signed_transfers(network: NetworkId, epoch: int, transfers: int, count: int) -> list[bytes]:
    """Return `count` signed transactions of several accounts in order, each of so many transfers."""
    keys = [KeyPair(account_seed(index)) for index in range(64)]
    receivers = [KeyPair(account_seed(index)).peer_id for index in range(ACCOUNTS // 4)]
    signed: list[bytes] = []
    for n in range(count):
        key = keys[n % len(keys)]
        pairs = [(receivers[(n * 37 + i * 101) % len(receivers)], 1) for i in range(transfers)]
        action = Transfer(*pairs[0]) if transfers == 1 else TransferMany(pack_transfers(pairs))
        signed.append(sign_transaction(key, Transaction(network, epoch, key.peer_id, n // len(keys), action)))
    return signed


def _verify_us(genesis: Genesis) -> float:
    network = network_id(genesis)
    opened = [
        open_transaction_untrusted(data, network, genesis.epoch)
        for data in signed_transfers(network, genesis.epoch, 1, COMMIT_TRANSACTIONS)
    ]
    claims = [each.claim for each in opened]
    start = time.thread_time()
    for claim in claims:
        is_claim_valid(claim)
    return (time.thread_time() - start) * 1e6 / len(claims)


def _token_operation_us(genesis: Genesis) -> float:
    return _executed_us(Ledger(genesis, one_by_one=True), genesis, 1, with_root=False)


def _execution_us(genesis: Genesis, transfers: int) -> float:
    return _executed_us(Ledger(genesis), genesis, transfers, with_root=True)


def _executed_us(ledger: Ledger, genesis: Genesis, transfers: int, *, with_root: bool) -> float:
    signed = signed_transfers(ledger.network, genesis.epoch, transfers, COMMIT_TRANSACTIONS)
    ledger.state_root()
    start = time.thread_time()
    opened: list[UnverifiedTransaction] = [
        open_transaction_untrusted(data, ledger.network, genesis.epoch) for data in signed
    ]
    ledger.apply(OrderedCommit(1, 1, verified_of(opened, [True] * len(opened))))
    if with_root:
        ledger.state_root()
    return (time.thread_time() - start) * 1e6 / (COMMIT_TRANSACTIONS * transfers)


def _fsync_ms(directory: Path) -> float:
    log = WriteAheadLog(directory / "fsync")
    taken: list[float] = []
    for number in range(FSYNCS):
        record = number.to_bytes(8, "little") * (FSYNC_BYTES // 8)
        start = time.perf_counter()
        log.append_now([record])
        taken.append((time.perf_counter() - start) * 1e3)
    log.close_now()
    return statistics.median(taken)


def _median(measure: Callable[[], float]) -> float:
    return statistics.median([measure() for _ in range(REPEATS)])
