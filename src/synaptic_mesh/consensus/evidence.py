"""Proof that a validator signed two blocks for one slot: two signed headers, checkable by anybody who knows the
committee.

The headers are enough: their digests differ, and an honest validator signs one block a round, whatever it carries. The
two stand in ascending order of their digests, so that one pair of blocks has one proof. A proof of an older epoch, or
of another network, is none here: the signatures cover both.
"""

from typing import NamedTuple

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError, invariant
from synaptic_mesh.base.ids import NetworkId, PeerId, short
from synaptic_mesh.consensus.admission import header_bytes_max
from synaptic_mesh.consensus.block import (
    BLOCK_DOMAIN,
    Header,
    Signature,
    VerifiedBlock,
    header_digest,
    signed_message,
)
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES, CheckSignature, committee_check


class SignedHeader(Record):
    """The canonical bytes of a header, and its author's signature."""

    header: bytes
    signature: Signature


class EvidenceRecord(Record):
    """Two headers of one slot, that of the lower digest first."""

    first: SignedHeader
    second: SignedHeader


class Equivocation(NamedTuple):
    """What a proof shows."""

    author: int
    round: int
    peer: PeerId


def evidence_of(one: VerifiedBlock, other: VerifiedBlock) -> bytes:
    """Return the proof that two blocks of a slot make, as bytes for a transaction."""
    is_proof = (one.round, one.author) == (other.round, other.author) and one.digest != other.digest
    invariant(is_proof, f"{one} and {other} prove nothing")
    first, second = sorted((one, other), key=lambda block: block.digest)
    return encode(
        EvidenceRecord(
            SignedHeader(encode(first.header), first.signature), SignedHeader(encode(second.header), second.signature)
        )
    )


def check_evidence_untrusted(
    data: bytes, committee: Committee, network: NetworkId | bytes, check_signature: CheckSignature | None = None
) -> Equivocation:
    """Return what these bytes prove. Raises PeerError naming why they prove nothing. A pure function of its arguments;
    check_signature: None is the committee's own scheme.
    """
    size_max = header_bytes_max(committee)
    record = decode_untrusted(EvidenceRecord, data, evidence_bytes_max(committee))
    check = check_signature or committee_check(committee)
    first, second = (decode_untrusted(Header, part.header, size_max) for part in (record.first, record.second))
    if header_digest(record.first.header) >= header_digest(record.second.header):
        raise PeerError("evidence: the two headers are one, or not in the order of their digests")
    if (first.author, first.round) != (second.author, second.round):
        raise PeerError(f"evidence: slots ({first.round}, {first.author}) and ({second.round}, {second.author}) differ")
    if first.author >= committee.size or first.round < 1:
        raise PeerError(f"evidence: nobody signs as author {first.author} in round {first.round}")
    peer = committee.peers[first.author]
    for header, part in ((first, record.first), (second, record.second)):
        if header.network != network or header.epoch != committee.epoch:
            raise PeerError(f"evidence: a header of network {short(header.network)} epoch {header.epoch}")
        message = signed_message(network, header.epoch, header_digest(part.header))
        if not check(peer, BLOCK_DOMAIN, message, part.signature):
            raise PeerError(f"evidence: a signature of author {header.author} in round {header.round} is wrong")
    return Equivocation(first.author, first.round, peer)


def evidence_bytes_max(committee: Committee) -> int:
    """Bytes of the largest proof: two of the largest headers with their signatures."""
    return 2 * (header_bytes_max(committee) + HYBRID_SIGNATURE_BYTES + 16)
