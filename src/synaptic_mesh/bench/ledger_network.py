"""The network that `synaptic bench ledger` measures, written to disk: validators, clients, and accounts."""

import os
import socket
from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import Credentials, Issuer, make_credentials, trust_bundle
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import Genesis, GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.node.directory import NodeFiles, write_node
from synaptic_mesh.node.settings import NodeSettings, PacingSettings, PeerSettings

ACCOUNTS = 4_096
"""Accounts that hold money and receive it."""
BALANCE = 1 << 48
STAKE = 1_000
SENDERS_PER_LINE = 8
"""Accounts whose transactions one client hands to one validator."""


class LedgerNetwork(msgspec.Struct, frozen=True):
    """Directories of the processes, and the genesis they share."""

    validators: tuple[Path, ...]
    clients: tuple[Path, ...]
    genesis: Genesis


def write_network(directory: Path, validators: int, clients: int, pacing: PacingSettings, now_ms: int) -> LedgerNetwork:
    """Create a directory for each process below `directory`."""
    seed = os.urandom(32)  # the keys guard nothing and end with the run
    keys = [KeyPair(derive_bytes(seed, "validator", index)) for index in range(validators)]
    issuers = [Issuer(key, now_ms) for key in keys]
    client_keys = [KeyPair(derive_bytes(seed, "client", index)) for index in range(clients)]
    genesis = genesis_of(
        Digest(semantics_id()),
        "bench ledger",
        [
            GenesisValidator(key.peer_id, STAKE, (), issuer.certificate)
            for key, issuer in zip(keys, issuers, strict=True)
        ],
        [GenesisAccount(KeyPair(account_seed(index)).peer_id, BALANCE) for index in range(ACCOUNTS)],
    )
    bundle = trust_bundle([issuer.certificate for issuer in issuers])
    nodes = [PeerSettings(key.peer_id.hex(), end) for key, end in zip(keys, free_endpoints(validators), strict=True)]
    callers = [PeerSettings(key.peer_id.hex(), "") for key in client_keys]
    places: list[Path] = []
    for index, key in enumerate([*keys, *client_keys]):
        me = key.peer_id.hex()
        listen = nodes[index].endpoint if index < validators else ""
        others = tuple(peer for peer in [*nodes, *callers] if peer.peer != me)
        settings = NodeSettings(listen, others if listen else tuple(nodes), works=False, pacing=pacing)
        credentials: Credentials = make_credentials(key, issuers[index % validators], bundle, now_ms)
        name = f"validator-{index}" if listen else f"client-{index - validators}"
        write_node(directory / name, NodeFiles(settings, key, genesis, credentials, None))
        places.append(directory / name)
    return LedgerNetwork(tuple(places[:validators]), tuple(places[validators:]), genesis)


def account_seed(index: int) -> bytes:
    """Return the key seed of account number `index`: known to everybody, so that every process can find it."""
    return derive_bytes(0, "bench/ledger/account", index)


def sender_indices(client: int, validator: int) -> range:
    """Return the accounts that this client lets send through this validator, by position among the validators."""
    line = client * 64 + validator
    return range(line * SENDERS_PER_LINE % ACCOUNTS, line * SENDERS_PER_LINE % ACCOUNTS + SENDERS_PER_LINE)


def free_endpoints(count: int) -> list[str]:
    """Return loopback endpoints whose ports are free now."""
    try:
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    except OSError as error:
        raise ResourceError(f"cannot find {count} free ports on 127.0.0.1: {error.strerror}") from None
    endpoints = [f"127.0.0.1:{each.getsockname()[1]}" for each in held]
    for each in held:
        each.close()
    return endpoints
