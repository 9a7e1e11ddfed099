"""BLAKE3 with a domain in front, and Merkle trees over digests."""

from collections.abc import Iterable, Sequence

from blake3 import blake3

from synaptic_mesh.base.ids import Digest

EMPTY_ROOT = Digest(bytes(32))
"""Merkle root of no leaves."""


def hash_bytes(domain: str, *parts: bytes | memoryview) -> Digest:
    """Return BLAKE3 over len(domain) || domain || parts.

    Parts are concatenated without separators: give at most one part of variable length, or prefix lengths.
    """
    name = domain.encode()
    hasher = blake3(bytes([len(name)]) + name)
    for part in parts:
        hasher.update(part)
    return Digest(hasher.digest())


def blob_digest(data: bytes | memoryview) -> Digest:
    """Return the plain BLAKE3 of a blob: the name under which it is stored and pulled."""
    return Digest(blake3(data).digest())


def merkle_root(leaves: Sequence[bytes] | Iterable[bytes], domain: str) -> Digest:
    """Return the root of a binary Merkle tree over 32-byte leaves; an odd node moves up unchanged.

    Leaves and inner nodes are hashed in different domains (RFC 6962's reason), so a node cannot pose as a leaf.
    """
    level = [hash_bytes(domain + "/leaf", leaf) for leaf in leaves]
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = [hash_bytes(domain + "/node", level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]
