"""Signatures that hold while either of two problems is hard: Ed25519 and ML-DSA-65 beside each other.

Both parts cover the same digest of domain and message (`keys.signed_digest`), so neither can be taken out and used for
something else, and both must be valid. The ML-DSA key follows from the seed of the peer's Ed25519 key: a key file stays
32 bytes, and whoever loses it loses both. ML-DSA here is the hedged variant: the same message signed twice gives two
signatures, so nothing may be named by the hash of one. FIPS 204; verified by `cryptography` (OpenSSL) and nothing else.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from synaptic_mesh.base.ids import SIGNATURE_BYTES
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.identity.committee import POST_QUANTUM_KEY_BYTES, Committee
from synaptic_mesh.identity.keys import KeyPair, signed_digest, verify_signature

POST_QUANTUM_SIGNATURE_BYTES = 3_309
HYBRID_SIGNATURE_BYTES = SIGNATURE_BYTES + POST_QUANTUM_SIGNATURE_BYTES

CheckSignature = Callable[[bytes, str, bytes, bytes], bool]
"""(peer, domain, message, signature) -> is it the peer's: `keys.verify_signature`, `committee_check`, or a simulator's
cheaper scheme.
"""


class HybridKey:
    """Both keys of one peer."""

    __slots__ = ("_pair", "_post_quantum", "public")

    public: bytes
    """The ML-DSA-65 public key, 1,952 bytes."""

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair
        self._post_quantum = MLDSA65PrivateKey.from_seed_bytes(derive_bytes(pair.seed, "SM/ml-dsa-65"))
        self.public = self._post_quantum.public_key().public_bytes_raw()

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message` in `domain`, 64 bytes, followed by the ML-DSA-65 one."""
        return self._pair.sign(domain, message) + self._post_quantum.sign(signed_digest(domain, message))

    def __repr__(self) -> str:
        return f"HybridKey({self._pair!r})"


def verify_hybrid(peer_id: bytes, public: bytes, domain: str, message: bytes, signature: bytes) -> bool:
    """Answer whether both parts are right. Any bytes may be given."""
    if len(public) != POST_QUANTUM_KEY_BYTES or len(signature) != HYBRID_SIGNATURE_BYTES:
        return False
    return verify_signature(peer_id, domain, message, signature[:SIGNATURE_BYTES]) and _verify_post_quantum(
        MLDSA65PublicKey.from_public_bytes(public), signed_digest(domain, message), signature[SIGNATURE_BYTES:]
    )


def committee_check(committee: Committee) -> CheckSignature:
    """Return how signatures of this committee's members are checked: hybrid when its entries carry the keys for it."""
    if not committee.is_hybrid:
        return verify_signature
    keys = {v.peer: MLDSA65PublicKey.from_public_bytes(v.post_quantum_key) for v in committee.validators}

    def check(peer: bytes, domain: str, message: bytes, signature: bytes) -> bool:
        key = keys.get(peer)  # type: ignore[call-overload]  # a PeerId is bytes
        if key is None or len(signature) != HYBRID_SIGNATURE_BYTES:
            return False
        return verify_signature(peer, domain, message, signature[:SIGNATURE_BYTES]) and _verify_post_quantum(
            key, signed_digest(domain, message), signature[SIGNATURE_BYTES:]
        )

    return check


def _verify_post_quantum(key: MLDSA65PublicKey, digest: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True
