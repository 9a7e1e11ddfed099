"""Signatures that cost a microsecond, for simulations only: a keyed hash that whoever checks can compute too.

The check is real: a block whose header, author, network or epoch was changed is refused, as with Ed25519. What it does
not show is that nobody else can sign, which no simulated liar tries: each signs with its own key.
"""

from collections.abc import Sequence

from blake3 import blake3

from synaptic_mesh.base.ids import SIGNATURE_BYTES, PeerId


class HashKey:
    """A secret and the id that stands for it."""

    __slots__ = ("_secret", "peer_id")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.peer_id = PeerId(blake3(b"SM/sim/peer", key=secret).digest())

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return 64 bytes that depend on secret, domain and message."""
        name = domain.encode()
        return blake3(bytes([len(name)]) + name + message, key=self._secret).digest(SIGNATURE_BYTES)


class HashScheme:
    """Knows every key of a simulated network."""

    def __init__(self, keys: Sequence[HashKey]) -> None:
        self._keys = {bytes(key.peer_id): key for key in keys}

    def check(self, peer: bytes, domain: str, message: bytes, signature: bytes) -> bool:
        """Answer whether the peer with this id signed the message in the domain."""
        key = self._keys.get(bytes(peer))
        return key is not None and key.sign(domain, message) == signature
