"""X.509 certificates for the links between nodes: a shield against strangers, not the proof of who speaks.

Every validator is an issuer: it holds an issuer certificate (CA:TRUE, path length 0) whose place in the trust bundle is
ledger state. Any issuer may sign a leaf for any peer, so a network needs no particular one of them to be awake. A leaf
names its peer: CN = the peer id in hex, CA:FALSE, 7 days, renewed when a third of that has passed. Messages prove their
sender by the envelope.

TLS keys are Ed25519 and separate from the peer's signing key. Everything here is a function of seeds and times passed
in: equal arguments give equal bytes (RFC 8032 signatures are deterministic). RFC 5280.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import PEER_ID_BYTES, PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.identity.keys import KeyPair

LEAF_LIFETIME_MS = 7 * 24 * 3_600_000
"""How long a leaf is believed. Membership is ledger state, so a short life costs little and needs no revocation lists.
"""

LEAF_RENEWAL_MS = LEAF_LIFETIME_MS // 3
"""Age at which a leaf is replaced: two more thirds remain to find an issuer that is awake."""

ISSUER_LIFETIME_MS = 10 * 365 * 24 * 3_600_000
"""The ledger, not the date, ends an issuer."""

CLOCK_SKEW_MS = 3_600_000
"""Certificates start this much before `now_ms`, so that a peer with a slow clock accepts them."""

CERTIFICATE_BYTES_MAX = 4_096
"""Largest PEM that is parsed; ours have about 700 bytes."""


class Issuer:
    """The power of one validator to sign leaf certificates.

    The TLS key is derived from the peer's own seed, so a node keeps one secret; `certificate` is public and goes in the
    bundle.
    """

    def __init__(self, key: KeyPair, now_ms: int) -> None:
        self.peer_id = key.peer_id
        self._private = Ed25519PrivateKey.from_private_bytes(derive_bytes(key.seed, "SM/tls/issuer"))
        self._name = _name("issuer " + key.peer_id[:16].hex())
        public = self._private.public_key()
        builder = (
            _builder(self._name, self._name, public, now_ms, ISSUER_LIFETIME_MS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
        )
        self.certificate: bytes = builder.sign(self._private, None).public_bytes(serialization.Encoding.PEM)

    def issue(self, peer: PeerId, tls_public: bytes, now_ms: int) -> bytes:
        """Return the PEM of a leaf for `peer` over a raw 32-byte Ed25519 TLS key, valid from an hour ago for 7 days."""
        public = Ed25519PublicKey.from_public_bytes(tls_public)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = (
            _builder(_name(peer.hex()), self._name, public, now_ms, LEAF_LIFETIME_MS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(peer.hex()[:32] + ".mesh")]), critical=False)
        )
        return builder.sign(self._private, None).public_bytes(serialization.Encoding.PEM)


class Credentials(Record):
    """What one node presents on a link, and whom it lets in: three PEM texts. `private_key` is secret."""

    certificate: bytes
    private_key: bytes
    bundle: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"


def tls_key(key: KeyPair) -> tuple[bytes, bytes]:
    """Return (raw 32-byte public key, PKCS 8 PEM) of the TLS key that belongs to a peer."""
    private = Ed25519PrivateKey.from_private_bytes(derive_bytes(key.seed, "SM/tls/leaf"))
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return raw, pem


def make_credentials(key: KeyPair, issuer: Issuer, bundle: bytes, now_ms: int) -> Credentials:
    """Return the credentials of `key`, its leaf signed by `issuer` (its own or another validator's)."""
    public, private_pem = tls_key(key)
    return Credentials(issuer.issue(key.peer_id, public, now_ms), private_pem, bundle)


def trust_bundle(certificates: Sequence[bytes]) -> bytes:
    """Return one PEM text of several issuer certificates, in the order given.

    Raises LocalError if there is none, or one of them is not an issuer certificate.
    """
    if not certificates:
        raise LocalError("a trust bundle needs at least one issuer certificate")
    for certificate in certificates:
        try:
            check_issuer_untrusted(certificate)
        except PeerError as error:
            raise LocalError(f"trust bundle: {error}") from None
    return b"".join(certificates)


def check_issuer_untrusted(certificate: bytes) -> None:
    """Return if the PEM is one self-signed CA certificate that signs leaves and nothing below; else raise PeerError."""
    parsed = _parse_untrusted(certificate)
    try:
        constraints = parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
        parsed.verify_directly_issued_by(parsed)
    except Exception as error:  # the library's own parsers raise many kinds on hostile input
        raise PeerError(f"not an issuer certificate: {type(error).__name__}") from None
    if not constraints.ca or constraints.path_length != 0:
        raise PeerError("not an issuer certificate: it must be CA:TRUE with path length 0")


def leaf_peer_untrusted(certificate: bytes) -> PeerId:
    """Return the peer that a leaf names. Raises PeerError unless CN is 64 lower-case hex digits and the leaf is
    CA:FALSE.
    """
    parsed = _parse_untrusted(certificate)
    try:
        constraints = parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
        names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        common_name = str(names[0].value) if len(names) == 1 else ""
    except Exception as error:  # as above
        raise PeerError(f"not a leaf certificate: {type(error).__name__}") from None
    if constraints.ca:
        raise PeerError("a leaf certificate must be CA:FALSE")
    return peer_of_name_untrusted(common_name)


def peer_of_name_untrusted(common_name: str) -> PeerId:
    """Return the peer id that a certificate name spells. Raises PeerError unless it is exactly its lower-case hex."""
    try:
        peer = bytes.fromhex(common_name)
    except ValueError:
        peer = b""
    if len(peer) != PEER_ID_BYTES or peer.hex() != common_name:
        raise PeerError(f"certificate name {common_name[:80]!r} is not a peer id in hex")
    return PeerId(peer)


def _parse_untrusted(certificate: bytes) -> x509.Certificate:
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise PeerError(f"certificate of {len(certificate)} bytes is over the limit of {CERTIFICATE_BYTES_MAX}")
    if certificate.count(b"-----BEGIN") != 1:
        raise PeerError("a certificate is one PEM block")
    try:
        return x509.load_pem_x509_certificate(certificate)
    except Exception as error:  # ValueError, but InvalidVersion and others too
        raise PeerError(f"not an X.509 certificate in PEM form: {type(error).__name__}") from None


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: Ed25519PublicKey, now_ms: int, lifetime_ms: int
) -> x509.CertificateBuilder:
    start_ms = now_ms - CLOCK_SKEW_MS
    start = datetime.fromtimestamp(start_ms // 1_000, UTC)  # X.509 times have whole seconds
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    names = subject.public_bytes() + issuer.public_bytes()
    material = hash_bytes("SM/tls/serial", raw, start_ms.to_bytes(8, "big"), names)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(int.from_bytes(material[:16], "big") >> 1 | 1)  # positive, at most 20 octets (RFC 5280 4.1.2.2)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(milliseconds=lifetime_ms))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
