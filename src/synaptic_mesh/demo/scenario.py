"""Sets up the main job's network on disk: keys, genesis, certificates, node directories, and the job that one validator
sponsors. Everything but ports and certificate dates follows from the seed.
"""

import socket
from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import Issuer, make_credentials, trust_bundle
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.amounts import UNITS_PER_RUV
from synaptic_mesh.ledger.genesis import Genesis, GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.manifest import Manifest, Timing, job_id
from synaptic_mesh.node.directory import NodeFiles, write_node
from synaptic_mesh.node.settings import NodeSettings, PeerSettings, lan
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.hyperparameters import digits_hyperparameters
from synaptic_mesh.training.job import JobTerms, prepare_job

VALIDATORS = 4
BALANCE = 10_000 * UNITS_PER_RUV
STAKE = 100 * UNITS_PER_RUV
LIAR = "liar"

TIMING = Timing(
    enrol_ms=30_000,
    work_ms=8_000,
    grace_ms=1_500,
    available_ms=5_000,
    audit_ms=8_000,
    root_ms=8_000,
    attempts_max=10,
    challenge_steps=2,
    challenge_ms=1_000,
)
"""For five processes on one loopback: seconds where machines far apart need minutes. A demonstration cannot wait for
the ten minutes of challenge window that jobs between strangers should keep.
"""


class Member(msgspec.Struct, frozen=True):
    """One node of the scenario."""

    name: str
    role: str
    key: KeyPair
    directory: Path


class Scenario(msgspec.Struct, frozen=True):
    """The network as written to disk."""

    members: tuple[Member, ...]
    genesis: Genesis
    manifest: Manifest
    job: Digest
    supply: int


def write_scenario(directory: Path, seed: int, outer_steps: int, now_ms: int) -> Scenario:
    """Create node directories below `directory` and return what was made. The liar is the last member."""
    names = [f"node {letter}" for letter in "ABCD"[:VALIDATORS]] + [LIAR]
    keys = [KeyPair(derive_bytes(seed, "demo", name)) for name in names]
    genesis = make_genesis(seed, keys, now_ms)
    terms = JobTerms(shards=len(keys), workers_min=len(keys) - 1, workers_max=len(keys), timing=TIMING)
    hyperparameters = msgspec.structs.replace(digits_hyperparameters(len(keys)), outer_steps=outer_steps)
    prepared = prepare_job(load_digits(), "mlp:64,64", terms, seed=seed, hyperparameters=hyperparameters)
    manifest, state = with_initial_state(prepared.manifest)
    settings = node_settings(keys, free_endpoints(len(keys)))
    bundle = trust_bundle([entry.issuer for entry in genesis.validators])
    members = []
    for index, (name, key) in enumerate(zip(names, keys, strict=True)):
        issuer = Issuer(keys[min(index, VALIDATORS - 1)], now_ms)
        credentials = make_credentials(key, issuer, bundle, now_ms)
        place = directory / name.replace(" ", "-")
        sponsored = manifest if index == 0 else None
        write_node(place, NodeFiles(settings[index], key, genesis, credentials, sponsored))
        role = "validator" if index < VALIDATORS else "worker"
        members.append(Member(name, role, key, place))
    store = BlobStore(members[0].directory / "blobs")
    for data in (*prepared.blobs.values(), state):
        store.put(data)
    supply = sum(a.balance + a.stake for a in genesis.accounts) + sum(v.stake for v in genesis.validators)
    return Scenario(tuple(members), genesis, manifest, job_id(manifest), supply)


def make_genesis(seed: int, keys: list[KeyPair], now_ms: int) -> Genesis:
    """Return a genesis with equal stakes; every validator is an issuer of link certificates."""
    return genesis_of(
        Digest(semantics_id()),
        f"demo, seed {seed}",
        [GenesisValidator(key.peer_id, STAKE, (), Issuer(key, now_ms).certificate) for key in keys[:VALIDATORS]],
        [GenesisAccount(key.peer_id, BALANCE, STAKE) for key in keys],
    )


def node_settings(keys: list[KeyPair], endpoints: list[str]) -> list[NodeSettings]:
    """Return the settings of every node: each knows the endpoints of all others."""
    everyone = tuple(PeerSettings(key.peer_id.hex(), endpoint) for key, endpoint in zip(keys, endpoints, strict=True))
    return [
        NodeSettings(endpoint, tuple(p for p in everyone if p.endpoint != endpoint), pacing=lan())
        for endpoint in endpoints
    ]


def free_endpoints(count: int) -> list[str]:
    """Return loopback endpoints whose ports are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    except OSError as error:
        raise ResourceError(f"cannot find {count} free ports on 127.0.0.1: {error.strerror}") from None
    finally:
        for each in sockets:
            each.close()
