"""Names for the values that everything else passes around."""

from typing import NewType

PeerId = NewType("PeerId", bytes)
"""A peer: its 32-byte Ed25519 public key. Also the name of its ledger account."""

Digest = NewType("Digest", bytes)
"""A 32-byte BLAKE3 hash."""

NetworkId = NewType("NetworkId", bytes)
"""Digest of the canonical genesis file: 32 bytes. Every signature binds it."""

Round = NewType("Round", int)
"""A consensus round; 0 is genesis."""

AuthorIndex = NewType("AuthorIndex", int)
"""Position of a validator in its committee, 0..n-1 (validators sorted by peer id)."""

DIGEST_BYTES = 32
PEER_ID_BYTES = 32
SIGNATURE_BYTES = 64


def short(value: bytes) -> str:
    """First 8 hex digits: how ids are shown to people."""
    return value[:4].hex()
