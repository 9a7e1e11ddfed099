"""Blocks: what a validator signs in a round, and the type that proves that all stateless rules hold.

On the wire a block is (header bytes, signature, payload bytes). The digest is BLAKE3 over the header bytes alone: the
header names the payload by hash, and the signature stays outside so that it cannot be malleated into a second digest.
The signature is over the digest together with network and epoch.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from synaptic_mesh.base.codec import Record, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest, NetworkId
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES

U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
U63 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=HYBRID_SIGNATURE_BYTES)]
"""64 bytes, or a hybrid one; the committee says which, and admission refuses every other length."""

BLOCK_DOMAIN = "block/v1"
Sign = Callable[[str, bytes], bytes]
"""(domain, message) -> signature: `KeyPair.sign`, or `HybridKey.sign` where the committee is hybrid."""


class BlockRef(Record):
    """Names one block. Slot = (round, author); an equivocator has several digests in one slot."""

    round: U32
    author: U32
    digest: Hash


class CommitVote(Record):
    """The author executed up to this commit: lets a late peer find the commit a quorum stands behind."""

    index: U63
    digest: Hash


class Header(Record):
    """What is hashed and signed. ancestors[0] is the author's own previous block; every author occurs at most once."""

    network: Hash
    epoch: U63
    round: U32
    author: U32
    incarnation: U63
    timestamp_ms: U63
    ancestors: tuple[BlockRef, ...]
    payload_hash: Hash
    payload_bytes: U32
    transaction_count: U32
    commit_votes: tuple[CommitVote, ...]


class WireBlock(Record):
    """A block as it is sent and stored. `payload` encodes a tuple of transactions (opaque bytes)."""

    header: bytes
    signature: Signature
    payload: bytes


class VerifiedBlock:
    """A block for which every stateless rule holds. Only `verify_block_untrusted` and `seal_block` build one."""

    __slots__ = ("author", "digest", "encoded", "header", "ref", "round", "signature", "transactions")

    def __init__(
        self, header: Header, digest: Digest, signature: bytes, transactions: tuple[bytes, ...], encoded: bytes
    ) -> None:
        self.header = header
        self.digest = digest
        self.round = header.round
        self.author = header.author
        self.ref = BlockRef(header.round, header.author, digest)
        self.signature = signature
        self.transactions = transactions
        self.encoded = encoded

    def __repr__(self) -> str:
        return f"VerifiedBlock(round={self.round}, author={self.author}, digest={self.digest[:4].hex()})"


def signed_message(network: NetworkId | bytes, epoch: int, digest: Digest) -> bytes:
    """Return what a block's signature covers: nothing signed for another network or epoch carries over."""
    return network + epoch.to_bytes(8, "little") + digest


def header_digest(header_bytes: bytes) -> Digest:
    """Return the digest that names the block with this header."""
    return hash_bytes("SM/block/v1", header_bytes)


def payload_digest(payload: bytes) -> Digest:
    """Return the hash under which a header names its payload."""
    return hash_bytes("SM/payload/v1", payload)


def genesis_ref(network: NetworkId | bytes, epoch: int, author: int) -> BlockRef:
    """Return the ref of an author's block of round 0. It has no bytes: everyone derives it."""
    epoch_bytes, author_bytes = epoch.to_bytes(8, "little"), author.to_bytes(4, "little")
    return BlockRef(0, author, hash_bytes("SM/genesis-block/v1", network, epoch_bytes, author_bytes))


EMPTY_PAYLOAD = encode(())
EMPTY_PAYLOAD_HASH = payload_digest(EMPTY_PAYLOAD)


def seal_block(
    sign: Sign,
    *,
    network: NetworkId | bytes,
    epoch: int,
    round_: int,
    author: int,
    incarnation: int,
    timestamp_ms: int,
    ancestors: tuple[BlockRef, ...],
    transactions: tuple[bytes, ...] = (),
    commit_votes: tuple[CommitVote, ...] = (),
) -> VerifiedBlock:
    """Return our own signed block. The caller answers for the rules of admission; nothing is checked here."""
    payload = encode(transactions) if transactions else EMPTY_PAYLOAD
    payload_hash = payload_digest(payload) if transactions else EMPTY_PAYLOAD_HASH
    header = Header(
        bytes(network), epoch, round_, author, incarnation, timestamp_ms, ancestors,
        payload_hash, len(payload), len(transactions), commit_votes,
    )  # fmt: skip
    header_bytes = encode(header)
    digest = header_digest(header_bytes)
    signature = sign(BLOCK_DOMAIN, signed_message(network, epoch, digest))
    return VerifiedBlock(header, digest, signature, transactions, encode(WireBlock(header_bytes, signature, payload)))
