"""What one node needs to know, typed, checked once, kept as TOML in the node's directory.

A node's directory holds: `node.toml` (this), `key` (32-byte seed, readable by its owner only), `genesis` (canonical
bytes), `credentials` (TLS certificate, key and trust bundle), `log/` (write-ahead log), `blobs/`, `cache/`, `run/`
(the record of finished jobs).
"""

from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import LocalError, ResourceError

FILE_NAME = "node.toml"
FOREIGN_BACKENDS = ("wasm", "native", "auto", "reference")
"""Backends for graphs of others. Machine code has no sandbox, and a stranger's graph might provoke a bug in LLVM. So
"native" here means WebAssembly in the node's own process, and machine code in worker processes (decision 0030)."""
SIGNATURE_PROCESSES_MAX = 64
NATIVE_AFTER_MS_MAX = 24 * 3_600_000


class PacingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast rounds go. Presets: `lan`, `wan`, `single`."""

    round_delay_ms_min: int = 20
    """Least time between two own blocks: a batch of transactions per block instead of one each."""
    leader_timeout_ms: int = 250
    """How long a round waits for its leader (Sui's default)."""
    idle_block_ms: int = 1_000
    """Blocks per second when there is nothing to order: an idle mesh uses next to nothing."""


class PeerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a peer can be reached."""

    peer: str
    """Peer id in hex."""
    endpoint: str
    """"host:port"; empty for a client, which calls this node and is not called."""


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node. Unknown fields are refused, so a misspelt one is noticed."""

    listen: str
    """"host:port" to listen on; empty for a client."""
    peers: tuple[PeerSettings, ...] = ()
    network: str = ""
    """Id of the network in hex, written with the directory: one changed byte of `genesis` would be another network."""
    works: bool = True
    """Offer this node's stake as a worker for every job that opens."""
    backend: str = "wasm"
    """Exact engine backend: "wasm"; "native", WebAssembly at once and LLVM's code in a worker process where that pays
    (needs llvmlite and Linux); "auto", native where it can be had; or "reference" (slow)."""
    native_after_ms: int = 1_000
    """With "native" or "auto": how long a graph runs in WebAssembly before it gets a process. Starting one takes 0.5 to
    1 s of a processor."""
    signature_processes: int = 1
    """Processes that check signatures of transactions, started when many come at once. 0: the node's own does it."""
    pacing: PacingSettings = PacingSettings()


def lan() -> PacingSettings:
    """One machine or one rack: round trips well under a millisecond."""
    return PacingSettings()


def wan() -> PacingSettings:
    """Machines some 100 ms apart: fewer, fuller rounds (Sui's round delay)."""
    return PacingSettings(round_delay_ms_min=50, leader_timeout_ms=1_000)


def single() -> PacingSettings:
    """A mesh of one: nobody to wait for, the disk's fsync sets the pace."""
    return PacingSettings(round_delay_ms_min=1, leader_timeout_ms=50, idle_block_ms=250)


def load_settings(directory: Path) -> NodeSettings:
    """Read and check `node.toml`. Raises LocalError naming the field, or ResourceError when the file cannot be read."""
    path = directory / FILE_NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ResourceError(f"cannot read {path}: {error.strerror}") from None
    try:
        settings = msgspec.toml.decode(text, type=NodeSettings)
    except (msgspec.MsgspecError, ValueError) as error:
        raise LocalError(f"{path}: {error}") from None
    if settings.backend not in FOREIGN_BACKENDS:
        raise LocalError(f"{path}: backend is {settings.backend!r}; choose {', '.join(FOREIGN_BACKENDS)}")
    if not 0 <= settings.native_after_ms <= NATIVE_AFTER_MS_MAX:
        raise LocalError(f"{path}: native_after_ms is {settings.native_after_ms}; choose 0 to {NATIVE_AFTER_MS_MAX}")
    if not 0 <= settings.signature_processes <= SIGNATURE_PROCESSES_MAX:
        raise LocalError(
            f"{path}: signature_processes is {settings.signature_processes}; choose 0 to {SIGNATURE_PROCESSES_MAX}"
        )
    return settings


def save_settings(directory: Path, settings: NodeSettings) -> None:
    """Write `node.toml`."""
    (directory / FILE_NAME).write_bytes(msgspec.toml.encode(settings))
