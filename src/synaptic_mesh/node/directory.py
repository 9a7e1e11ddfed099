"""A node's directory: how it is laid out, written once by whoever sets up a network, and read at every start."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import DIGEST_BYTES
from synaptic_mesh.identity.certificates import Credentials
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import GENESIS_BYTES_MAX, Genesis, load_genesis_untrusted, network_id, save_genesis
from synaptic_mesh.ledger.manifest import Manifest
from synaptic_mesh.ledger.transactions import TRANSACTION_BYTES_MAX
from synaptic_mesh.node.settings import NodeSettings, load_settings, save_settings

SECRET_MODE = 0o600
T = TypeVar("T")


class NodeFiles(msgspec.Struct, frozen=True):
    """What a node starts from. `job` is a job that it sponsors: submitted once the mesh runs."""

    settings: NodeSettings
    key: KeyPair
    genesis: Genesis
    credentials: Credentials
    job: Manifest | None


def write_node(directory: Path, files: NodeFiles) -> None:
    """Create the directory and everything a node starts from. Raises ResourceError when the disk refuses."""
    try:
        directory.mkdir(parents=True, exist_ok=False)
        write_secret(directory / "key", files.key.seed)
        write_secret(directory / "credentials", encode(files.credentials))
        (directory / "genesis").write_bytes(save_genesis(files.genesis))
        if files.job is not None:
            body = encode(files.job)
            (directory / "job").write_bytes(blob_digest(body) + body)
        network = network_id(files.genesis).hex()
        save_settings(directory, msgspec.structs.replace(files.settings, network=network))
    except OSError as error:
        raise ResourceError(f"cannot write the node directory {directory}: {error.strerror}") from None


def read_node(directory: Path) -> NodeFiles:
    """Read what `write_node` wrote. Raises LocalError or ResourceError naming the file that is missing or damaged."""
    job = directory / "job"
    settings, genesis = load_settings(directory), read_genesis(directory / "genesis")
    found = network_id(genesis).hex()
    if found != settings.network:
        raise LocalError(
            f"{directory / 'genesis'} is of network {found[:16]}, node.toml names {settings.network[:16] or 'none'}: "
            "put back the file that was changed"
        )
    return NodeFiles(
        settings=settings,
        key=KeyPair(read_file(directory / "key")),
        genesis=genesis,
        credentials=_decode(directory / "credentials", Credentials, 1 << 20),
        job=_read_job(job) if job.exists() else None,
    )


def _read_job(path: Path) -> Manifest:
    """Return the sponsored job. Its digest stands before it: one changed byte would be another job, and cost money."""
    data = read_file(path, DIGEST_BYTES + TRANSACTION_BYTES_MAX)
    body = data[DIGEST_BYTES:]
    if blob_digest(body) != data[:DIGEST_BYTES]:
        raise LocalError(f"{path} is damaged: its bytes do not have the digest in front of them; write it again")
    try:
        return decode_untrusted(Manifest, body, TRANSACTION_BYTES_MAX)
    except PeerError as error:
        raise LocalError(f"{path}: {error}") from None


def read_genesis(path: Path) -> Genesis:
    """Read and check a genesis file."""
    try:
        return load_genesis_untrusted(read_file(path, GENESIS_BYTES_MAX))
    except PeerError as error:
        raise LocalError(f"{path}: {error}") from None


def read_file(path: Path, bytes_max: int = 1 << 20) -> bytes:
    """Return a file's bytes. Raises ResourceError when it cannot be read, LocalError when it is too large."""
    try:
        if path.stat().st_size > bytes_max:
            raise LocalError(f"{path} has {path.stat().st_size} bytes, more than the {bytes_max} such a file may have")
        return path.read_bytes()
    except OSError as error:
        raise ResourceError(f"cannot read {path}: {error.strerror}") from None


def write_secret(path: Path, data: bytes) -> None:
    """Create a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE), "wb") as file:
        file.write(data)


def _decode(path: Path, kind: type[T], bytes_max: int) -> T:
    try:
        return decode_untrusted(kind, read_file(path, bytes_max), bytes_max)
    except PeerError as error:
        raise LocalError(f"{path}: {error}") from None
