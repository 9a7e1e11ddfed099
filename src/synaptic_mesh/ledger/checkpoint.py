"""Checkpoints: what the state is after one commit, as a quorum of validators signed it.

1. After every K-th commit (`ConsensusOptions.checkpoint_commits`) each replica has a `Checkpoint`: the commit and its
   digest, the state root, the supply. It is a function of the order, so honest replicas have the same.
2. A validator's signature over it, in the committee's own scheme (Ed25519, or hybrid with ML-DSA-65), is a
   `CheckpointVote`.
3. Votes of q stake for one checkpoint are a `CheckpointCertificate`. Two quorums share an honest validator, and that
   one signs once for an index: so while at most f stake lies, no index has two certificates.

Whoever has the genesis file can check a certificate and needs nobody's word (`light_client.py`). How votes are gathered
is `certifier.py`.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from synaptic_mesh.base.codec import Record, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import SIGNATURE_BYTES, Digest, NetworkId, short
from synaptic_mesh.identity.committee import COMMITTEE_SIZE_MAX, Committee
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES, CheckSignature, committee_check
from synaptic_mesh.ledger.account_proof import Hash
from synaptic_mesh.ledger.genesis import Genesis, genesis_committee, network_id

CHECKPOINT_DOMAIN = "checkpoint/v1"
"""No signature of a block, transaction or envelope is one of a checkpoint."""
CERTIFICATE_BYTES_MAX = COMMITTEE_SIZE_MAX * (HYBRID_SIGNATURE_BYTES + 16) + 1_024

U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
U63 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=HYBRID_SIGNATURE_BYTES)]
Sign = Callable[[str, bytes], bytes]
"""(domain, message) -> signature: `KeyPair.sign`, or `HybridKey.sign` where the committee is hybrid."""


class Checkpoint(Record):
    """What is signed. `committee` is the digest of who may sign, `commit` that of commit `index` and with it of all
    before; `supply` is in the smallest unit.
    """

    network: Hash
    epoch: U63
    committee: Hash
    index: U63
    commit: Hash
    timestamp_ms: U63
    state_root: Hash
    supply: U63


class CheckpointVote(Record, tag="checkpoint_vote"):
    """One validator's signature; `author` is its place in the committee."""

    checkpoint: Checkpoint
    author: U32
    signature: Signature


class CheckpointCertificate(Record, tag="checkpoint_certificate"):
    """Signatures of q stake or more: (author, signature), ascending by author."""

    checkpoint: Checkpoint
    signatures: tuple[tuple[U32, Signature], ...]


class CheckpointQuestion(Record, tag="ask_checkpoint"):
    """Send me your newest certificate, if it is of a later commit than this."""

    above: U63


CheckpointMessage = CheckpointVote | CheckpointCertificate | CheckpointQuestion


class CheckpointRules:
    """What checkpoints of one network and epoch look like, and how their signatures are checked.

    check: None is the committee's own scheme.
    """

    def __init__(
        self, committee: Committee, network: NetworkId | bytes, commits: int, check: CheckSignature | None = None
    ) -> None:
        self.committee = committee
        self.commits = commits
        self._network = bytes(network)
        self._committee_digest = committee_digest(committee)
        self._check = check or committee_check(committee)

    def is_due(self, index: int) -> bool:
        """Answer whether there is a checkpoint after this commit."""
        return index > 0 and index % self.commits == 0

    def checkpoint(self, index: int, commit: bytes, timestamp_ms: int, state_root: bytes, supply: int) -> Checkpoint:
        """Return the checkpoint of a state."""
        epoch, members = self.committee.epoch, self._committee_digest
        return Checkpoint(self._network, epoch, members, index, commit, timestamp_ms, state_root, supply)

    def check_place_untrusted(self, checkpoint: Checkpoint) -> None:
        """Raise PeerError unless it is a checkpoint of this network, epoch and committee, at a commit that has one."""
        if checkpoint.network != self._network or checkpoint.epoch != self.committee.epoch:
            raise PeerError(f"checkpoint of network {short(checkpoint.network)} epoch {checkpoint.epoch}")
        if checkpoint.committee != self._committee_digest:
            raise PeerError(f"checkpoint of committee {short(checkpoint.committee)}, which is not this epoch's")
        if not self.is_due(checkpoint.index):
            raise PeerError(f"checkpoint of commit {checkpoint.index}, but there is one every {self.commits} commits")

    def check_signature_untrusted(self, checkpoint: Checkpoint, author: int, signature: bytes) -> None:
        """Raise PeerError unless the author is a validator and signed the checkpoint."""
        if author >= self.committee.size:
            raise PeerError(f"checkpoint signed by author {author} of a committee of {self.committee.size}")
        peer = self.committee.peers[author]
        if not self._check(peer, CHECKPOINT_DOMAIN, encode(checkpoint), signature):
            raise PeerError(f"signature of author {author} on checkpoint {checkpoint.index} is wrong", peer)

    def check_certificate_untrusted(self, certificate: CheckpointCertificate) -> None:
        """Raise PeerError unless a quorum signed: cheap rules first, so that a false one costs little."""
        self.check_place_untrusted(certificate.checkpoint)
        authors = [author for author, _ in certificate.signatures]
        if sorted(set(authors)) != authors or (authors and authors[-1] >= self.committee.size):
            raise PeerError(f"the {len(authors)} signatures of a checkpoint are not of validators in ascending order")
        stake, needed = self.committee.stake(authors), self.committee.quorum
        if stake < needed:
            index = certificate.checkpoint.index
            raise PeerError(
                f"checkpoint {index} is signed by stake {stake} of {self.committee.total_stake}, it needs {needed}"
            )
        for author, signature in certificate.signatures:
            self.check_signature_untrusted(certificate.checkpoint, author, signature)


def checkpoint_rules(genesis: Genesis) -> CheckpointRules:
    """Return the rules of a network in its first epoch."""
    return CheckpointRules(genesis_committee(genesis), network_id(genesis), genesis.consensus.checkpoint_commits)


def committee_digest(committee: Committee) -> Digest:
    """Return the digest of a committee: epoch, validators, stakes, keys."""
    return hash_bytes("SM/committee/v1", encode(committee))


def sign_checkpoint(checkpoint: Checkpoint, author: int, sign: Sign) -> CheckpointVote:
    """Return the author's vote."""
    return CheckpointVote(checkpoint, author, sign(CHECKPOINT_DOMAIN, encode(checkpoint)))
