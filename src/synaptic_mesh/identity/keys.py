"""Ed25519 keys: who signed what, in which sense.

A signature never covers raw bytes. It covers BLAKE3 of a domain and the message, so a signature made for one purpose
means nothing in another. Callers put the network id (and where it matters the epoch) in the message, so it means
nothing in another network either.

Validity is what libsodium (through PyNaCl) says, and nothing else says it: libraries differ on edge cases, and two
validators that differ on one signature would fork. libsodium refuses S >= L (no second form of a signature), public
keys and R of small order, and public keys that are not in canonical form; the tests pin these cases. RFC 8032; Chalkias
et al. 2020, "Taming the many EdDSAs".
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import DIGEST_BYTES, PEER_ID_BYTES, SIGNATURE_BYTES, Digest, PeerId, short

SEED_BYTES = 32
"""An Ed25519 private key is its 32-byte seed."""


class KeyPair:
    """The key of one peer, made from a 32-byte seed. Where seeds come from is the shell's business (`os.urandom`, a key
    file).
    """

    __slots__ = ("_secret", "peer_id", "seed")

    peer_id: PeerId
    seed: bytes

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise LocalError(f"a key seed has {SEED_BYTES} bytes, this one has {len(seed)}: give 32 random bytes")
        public, self._secret = bindings.crypto_sign_seed_keypair(bytes(seed))
        self.peer_id = PeerId(public)
        self.seed = bytes(seed)

    def sign(self, domain: str, message: bytes | memoryview) -> bytes:
        """Return the 64-byte signature of `message` in `domain`. Ed25519 is deterministic: same key and message, same
        bytes.
        """
        signed = bindings.crypto_sign(signed_digest(domain, message), self._secret)
        return signed[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"KeyPair({short(self.peer_id)})"  # never the seed: reprs end in logs


def verify_signature(peer_id: bytes, domain: str, message: bytes | memoryview, signature: bytes) -> bool:
    """Answer whether `peer_id` signed `message` in `domain`. Any bytes may be given: wrong lengths and points are just
    False.
    """
    return verify_digest(peer_id, signed_digest(domain, message), signature)


def verify_digest(peer_id: bytes, digest: bytes, signature: bytes) -> bool:
    """The same for a `signed_digest` that is known already."""
    if len(peer_id) != PEER_ID_BYTES or len(signature) != SIGNATURE_BYTES or len(digest) != DIGEST_BYTES:
        return False
    try:
        bindings.crypto_sign_open(bytes(signature) + digest, bytes(peer_id))
    except (CryptoError, ValueError):
        return False
    return True


def signed_digest(domain: str, message: bytes | memoryview) -> Digest:
    """Return the 32 bytes that a signature covers: BLAKE3 in the domain "SM/sign/" + domain."""
    return hash_bytes("SM/sign/" + domain, message)
