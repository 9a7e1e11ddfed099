"""Stateless validity: bytes from anyone become a VerifiedBlock, or a PeerError. Every honest validator judges alike.

The order is a matter of cost and safety. Nothing is indexed by an author before V2, and nothing is paid for a payload
before the signature over the header that names its hash has been checked.

V4a  canonical decoding of the frame and the header, sizes within limits
V1   network and epoch are ours
V2   the author is in the committee
V3   round >= 1 (the upper bound is local: `core`)
V5   signature over digest, network and epoch
V6   ancestors: own block first, authors distinct, rounds below, genesis known
V7   a quorum of the round before
V4b  payload length and hash
V8   number and sizes of transactions, canonical decoding of the payload
"""

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import NetworkId, short
from synaptic_mesh.consensus.block import (
    BLOCK_DOMAIN,
    Header,
    VerifiedBlock,
    WireBlock,
    genesis_ref,
    header_digest,
    payload_digest,
    signed_message,
)
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES, CheckSignature, committee_check

BLOCK_PAYLOAD_BYTES_MAX = 960 << 10
"""Encoded transactions of one block. With the largest header, of 1,000 ancestors, a block stays below the 1 MiB of a
control message in whatever message it travels: no honest node can be made to hold a block that it cannot pass on.
"""
BLOCK_TRANSACTIONS_MAX = 4_096
TRANSACTION_BYTES_MAX = 640 << 10
"""The ledger's largest transaction, a job with its description, and its signature fit."""
COMMIT_VOTES_MAX = 16
HEADER_BYTES_BASE = 1_024
"""Everything in a header but its refs: network, hashes, integers, commit votes."""
REF_BYTES_MAX = 48


def header_bytes_max(committee: Committee) -> int:
    """Bytes of the largest header of this committee: one ref for each validator."""
    return HEADER_BYTES_BASE + (COMMIT_VOTES_MAX + committee.size) * REF_BYTES_MAX


class Admission:
    """The rules for one committee: `verify_untrusted` is `verify_block_untrusted` with all but the bytes bound."""

    def __init__(
        self,
        committee: Committee,
        network: NetworkId | bytes,
        check_signature: CheckSignature | None = None,
        parent_stake: int | None = None,
    ) -> None:
        """check_signature: None is the committee's own scheme. parent_stake: `Rules.parent_stake` of the epoch's commit
        rule; None is the quorum, Mysticeti's.
        """
        self.committee = committee
        self.parent_stake = committee.quorum if parent_stake is None else parent_stake
        self._check_signature = check_signature or committee_check(committee)
        self.network = bytes(network)
        self.genesis = tuple(genesis_ref(network, committee.epoch, author) for author in range(committee.size))
        self.header_bytes_max = header_bytes_max(committee)
        self.block_bytes_max = self.header_bytes_max + BLOCK_PAYLOAD_BYTES_MAX + HYBRID_SIGNATURE_BYTES + 64

    def verify_untrusted(self, data: bytes) -> VerifiedBlock:
        """Return the block in these bytes, every stateless rule checked. Raises PeerError naming the rule."""
        wire = decode_untrusted(WireBlock, data, self.block_bytes_max)
        header = decode_untrusted(Header, wire.header, self.header_bytes_max)
        if header.network != self.network or header.epoch != self.committee.epoch:
            raise PeerError(f"V1: block of network {short(header.network)} epoch {header.epoch}")
        if header.author >= self.committee.size:
            raise PeerError(f"V2: author {header.author} is not in a committee of {self.committee.size}")
        if header.round < 1:
            raise PeerError("V3: blocks start at round 1; genesis has no bytes")
        digest = header_digest(wire.header)
        peer = self.committee.peers[header.author]
        message = signed_message(self.network, header.epoch, digest)
        if not self._check_signature(peer, BLOCK_DOMAIN, message, wire.signature):
            raise PeerError(f"V5: signature of author {header.author} in round {header.round} is wrong", peer)
        self._check_ancestors(header)
        transactions = self._payload(header, wire.payload)
        return VerifiedBlock(header, digest, wire.signature, transactions, bytes(data))

    def _check_ancestors(self, header: Header) -> None:
        refs, size, stakes = header.ancestors, self.committee.size, self.committee.stakes
        if not refs or len(refs) > size:
            raise PeerError(f"V6: {len(refs)} ancestors in a committee of {size}")
        if refs[0].author != header.author:
            raise PeerError(f"V6: the first ancestor is of author {refs[0].author}, not the author's own block")
        seen = parent_stake = 0
        for ref in refs:
            if ref.author >= size or seen >> ref.author & 1:
                raise PeerError(f"V6: ancestor author {ref.author} is unknown or occurs twice")
            if ref.round >= header.round:
                raise PeerError(f"V6: an ancestor of round {ref.round} in a block of round {header.round}")
            if ref.round == 0 and ref != self.genesis[ref.author]:
                raise PeerError(f"V6: the genesis ref of author {ref.author} is wrong")
            seen |= 1 << ref.author
            if ref.round == header.round - 1:
                parent_stake += stakes[ref.author]
        if parent_stake < self.parent_stake:
            raise PeerError(
                f"V7: parents of round {header.round - 1} have stake {parent_stake}, below {self.parent_stake}"
            )
        if len(header.commit_votes) > COMMIT_VOTES_MAX:
            raise PeerError(f"V6: {len(header.commit_votes)} commit votes")

    def _payload(self, header: Header, payload: bytes) -> tuple[bytes, ...]:
        if header.payload_bytes > BLOCK_PAYLOAD_BYTES_MAX or header.transaction_count > BLOCK_TRANSACTIONS_MAX:
            raise PeerError(f"V8: {header.transaction_count} transactions in {header.payload_bytes} bytes")
        if len(payload) != header.payload_bytes or payload_digest(payload) != header.payload_hash:
            raise PeerError("V4: the payload is not the one that the header names")
        transactions = decode_untrusted(tuple[bytes, ...], payload, BLOCK_PAYLOAD_BYTES_MAX)
        if len(transactions) != header.transaction_count:
            raise PeerError(f"V8: {len(transactions)} transactions, the header says {header.transaction_count}")
        for transaction in transactions:
            if not 0 < len(transaction) <= TRANSACTION_BYTES_MAX:
                raise PeerError(f"V8: a transaction of {len(transaction)} bytes")
        return transactions


def verify_block_untrusted(data: bytes, committee: Committee, network: NetworkId | bytes) -> VerifiedBlock:
    """Return the block in these bytes. Raises PeerError. Convenience for one block; keep an `Admission` for many."""
    return Admission(committee, network).verify_untrusted(data)
