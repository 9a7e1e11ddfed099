"""Opens a node from its directory: files, log, blobs, links and machines, put together and ready to run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import Digest, PeerId, short
from synaptic_mesh.collab.strategy import Strategy
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import leaf_peer_untrusted, tls_key
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import Genesis, genesis_committee, network_id
from synaptic_mesh.ledger.manifest import Manifest
from synaptic_mesh.node.backends import open_backend, open_foreign_backend
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.directory import NodeFiles, read_node
from synaptic_mesh.node.run import Computer, Node, Observe
from synaptic_mesh.node.run_directory import GetBlob
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.storage.incarnation import next_incarnation
from synaptic_mesh.storage.log import WriteAheadLog
from synaptic_mesh.transport.mesh import MeshNetwork
from synaptic_mesh.transport.network import Network
from synaptic_mesh.workers.compute import ComputeShell
from synaptic_mesh.workers.signatures import SignatureChecker


class OpenNode(msgspec.Struct, frozen=True):
    """A node that is ready to run, and what its operator needs of it."""

    node: Node
    key: KeyPair
    genesis: Genesis
    job: Manifest | None
    get_blob: GetBlob


def open_node(directory: Path, observe: Observe, strategy: Strategy | None = None) -> OpenNode:
    """Open the node in `directory`, linked to its peers over mutual TLS. `strategy` replaces honest submission.

    Raises LocalError or ResourceError naming the file or resource.
    """
    from synaptic_mesh.transport.zenoh_links import ZenohLinks
    from synaptic_mesh.transport.zenoh_settings import ZenohSettings

    files = read_node(directory)
    check_identity(directory, files)
    incarnation = next_incarnation(directory / "incarnation")
    peers = files.settings.peers
    members = tuple(PeerId(bytes.fromhex(peer.peer)) for peer in peers)
    settings = ZenohSettings(
        listen=(files.settings.listen,),
        connect=tuple(peer.endpoint for peer in peers if peer.endpoint),
        credentials=files.credentials,
        members=(*members, files.key.peer_id),
        clients=tuple(PeerId(bytes.fromhex(peer.peer)) for peer in peers if not peer.endpoint),
        first=genesis_committee(files.genesis).peers,
    )
    links = ZenohLinks(settings, network_id(files.genesis), files.key.peer_id)
    welcome = frozenset(members)
    network = MeshNetwork(links, files.key, network_id(files.genesis), incarnation, lambda peer: peer in welcome)
    return assemble(directory, files, network, incarnation, observe, strategy)


def check_identity(directory: Path, files: NodeFiles) -> None:
    """Raise LocalError unless key and credentials belong together: a damaged key would be another, unknown peer."""
    try:
        named = leaf_peer_untrusted(files.credentials.certificate)
    except PeerError as error:
        raise LocalError(f"{directory / 'credentials'}: {error}") from None
    if named != files.key.peer_id or tls_key(files.key)[1] != files.credentials.private_key:
        raise LocalError(
            f"{directory / 'key'} is the key of peer {short(files.key.peer_id)}, but the credentials beside it are "
            f"for peer {short(named)}: put back the file that was changed"
        )


def assemble(
    directory: Path,
    files: NodeFiles,
    network: Network,
    incarnation: int,
    observe: Observe,
    strategy: Strategy | None = None,
) -> OpenNode:
    """Put a node together over a given network."""
    blobs = BlobStore(directory / "blobs")
    get_blob = partial(stored_blob, blobs)
    assembly = build_assembly(
        files.key,
        files.genesis,
        files.settings.pacing,
        works=files.settings.works,
        incarnation=incarnation,
        checking_processes=files.settings.signature_processes,
    )

    def new_computer() -> Computer:
        settings, cache = files.settings, directory / "cache"
        if not settings.listen and not settings.peers:  # a mesh of one: all graphs are one's own
            backend = open_backend(settings.backend, cache)
        else:
            backend = open_foreign_backend(settings.backend, cache, node.say, settings.native_after_ms)
        return ComputeShell(backend, get_blob, blobs.put, semantics_id(), strategy)

    log = WriteAheadLog(directory / "log")
    published = sponsored_blobs(files.job)
    count = files.settings.signature_processes
    node = Node(
        assembly,
        network,
        log,
        blobs,
        new_computer,
        observe,
        published,
        is_first_start=incarnation == 1,
        checker=SignatureChecker(count) if count else None,
    )
    return OpenNode(node, files.key, files.genesis, files.job, get_blob)


def blob_getter(directory: Path) -> GetBlob:
    """Return a source of the blobs stored below `directory`."""
    return partial(stored_blob, BlobStore(directory))


def stored_blob(blobs: BlobStore, digest: bytes) -> bytes:
    """Return a blob of the store. Raises ResourceError when it is not there or damaged."""
    data = blobs.get(Digest(digest))
    if data is None:
        raise ResourceError(f"blob {short(digest)} is not in the store: it will be fetched again")
    return data


def sponsored_blobs(job: Manifest | None) -> Sequence[bytes]:
    """Return the digests that a sponsor gives to everybody: all that its job names."""
    if job is None:
        return ()
    shards = [shard.blob for shard in (*job.data.shards, job.data.test)]
    return [blob.digest for blob in (job.step_graph, job.predict_graph, job.optimizer_init, job.initial_state, *shards)]
