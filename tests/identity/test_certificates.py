import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.identity.certificates import (
    CLOCK_SKEW_MS,
    LEAF_LIFETIME_MS,
    Credentials,
    Issuer,
    check_issuer_untrusted,
    leaf_peer_untrusted,
    make_credentials,
    peer_of_name_untrusted,
    tls_key,
    trust_bundle,
)
from synaptic_mesh.identity.keys import KeyPair

NOW_MS = 1_760_000_000_000
ALICE, BOB = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)


def credentials_of_bob() -> Credentials:
    issuer = Issuer(ALICE, NOW_MS)
    return make_credentials(BOB, issuer, trust_bundle([issuer.certificate]), NOW_MS)


def test_a_leaf_names_its_peer_and_is_signed_by_its_issuer() -> None:
    leaf = x509.load_pem_x509_certificate(credentials_of_bob().certificate)
    issuer = x509.load_pem_x509_certificate(Issuer(ALICE, NOW_MS).certificate)
    leaf.verify_directly_issued_by(issuer)
    assert leaf_peer_untrusted(credentials_of_bob().certificate) == BOB.peer_id
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert int(leaf.not_valid_before_utc.timestamp() * 1000) == NOW_MS - CLOCK_SKEW_MS
    assert int((leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() * 1000) == LEAF_LIFETIME_MS


def test_equal_arguments_give_equal_bytes() -> None:
    assert credentials_of_bob() == credentials_of_bob()
    assert Issuer(ALICE, NOW_MS + 5_000).certificate != Issuer(ALICE, NOW_MS).certificate


def test_the_tls_key_is_not_the_signing_key() -> None:
    public, private = tls_key(BOB)
    loaded = serialization.load_pem_private_key(private, None)
    assert isinstance(loaded, Ed25519PrivateKey)
    assert loaded.public_key().public_bytes_raw() == public != BOB.peer_id
    assert "BEGIN" not in repr(credentials_of_bob())


def test_an_issuer_certificate_is_not_a_leaf_nor_the_reverse() -> None:
    issuer, leaf = Issuer(ALICE, NOW_MS).certificate, credentials_of_bob().certificate
    check_issuer_untrusted(issuer)
    with pytest.raises(PeerError):
        check_issuer_untrusted(leaf)
    with pytest.raises(PeerError):
        leaf_peer_untrusted(issuer)
    with pytest.raises(LocalError):
        trust_bundle([issuer, leaf])
    with pytest.raises(LocalError):
        trust_bundle([])
    with pytest.raises(PeerError, match="one PEM block"):
        check_issuer_untrusted(issuer + issuer)


@given(st.binary(max_size=200))
def test_garbage_raises_only_peer_errors(data: bytes) -> None:
    for parse in (check_issuer_untrusted, leaf_peer_untrusted):
        for text in (data, b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"):
            with pytest.raises(PeerError):
                parse(text)


@pytest.mark.parametrize("name", ["", "zz", "ab" * 31, "AB" * 32, " " + "ab" * 32, "ab" * 33])
def test_names_that_are_no_peer(name: str) -> None:
    with pytest.raises(PeerError):
        peer_of_name_untrusted(name)


def test_a_certificate_of_an_unknown_version_is_a_peer_error() -> None:
    """Found by fuzzing: the parser's InvalidVersion is no ValueError."""
    pem = credentials_of_bob().certificate
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem.decode()))
    at = der.index(b"\xa0\x03\x02\x01\x02")  # version [0] INTEGER 2, which means 3
    der[at + 4] = 34
    for decode in (leaf_peer_untrusted, check_issuer_untrusted):
        with pytest.raises(PeerError, match="PEM form: InvalidVersion"):
            decode(ssl.DER_cert_to_PEM_cert(bytes(der)).encode())
