from typing import Any

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.signing import sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import (
    SIGNING_DOMAIN,
    TRANSACTION_BYTES_MAX,
    SignedTransaction,
    SubmitJob,
    Transaction,
    Transfer,
    encode_transaction,
    transaction_id,
)

ALICE, BOB = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
NETWORK = NetworkId(bytes([9]) * 32)
PAYMENT = Transaction(NETWORK, 3, ALICE.peer_id, 0, Transfer(BOB.peer_id, 5))


def test_what_was_signed_is_what_is_verified() -> None:
    verified = verify_transaction_untrusted(sign_transaction(ALICE, PAYMENT), NETWORK, 3)
    assert verified.transaction == PAYMENT
    assert verified.id == transaction_id(encode_transaction(PAYMENT))


def test_every_flipped_bit_is_noticed() -> None:
    data = sign_transaction(ALICE, PAYMENT)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(PeerError):
            verify_transaction_untrusted(bytes(damaged), NETWORK, 3)


@pytest.mark.parametrize(
    ("network", "epoch", "message"),
    [(NetworkId(bytes(32)), 3, "for network 09090909, this one is 00000000"), (NETWORK, 4, "for epoch 3")],
)
def test_other_networks_and_epochs_are_refused(network: NetworkId, epoch: int, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        verify_transaction_untrusted(sign_transaction(ALICE, PAYMENT), network, epoch)


def test_a_signature_by_another_key_is_refused() -> None:
    body = encode_transaction(PAYMENT)
    forged = encode(SignedTransaction(body, BOB.sign(SIGNING_DOMAIN, body)))
    with pytest.raises(PeerError, match="not signed by its sender"):
        verify_transaction_untrusted(forged, NETWORK, 3)
    with pytest.raises(LocalError, match="use its own key"):
        sign_transaction(BOB, PAYMENT)


def test_a_negative_nonce_is_refused() -> None:
    with pytest.raises(PeerError, match="nonce -1"):
        verify_transaction_untrusted(sign_transaction(ALICE, replace(PAYMENT, nonce=-1)), NETWORK, 3)


def test_numbers_and_sizes_that_cannot_travel_are_refused_before_signing(make_manifest: Any) -> None:
    with pytest.raises(LocalError, match="does not fit in 64 bits"):
        sign_transaction(ALICE, replace(PAYMENT, action=Transfer(BOB.peer_id, 1 << 64)))
    manifest = make_manifest()
    large = replace(manifest, data=replace(manifest.data, prepared=bytes(TRANSACTION_BYTES_MAX)))
    with pytest.raises(LocalError, match=f"over the limit of {TRANSACTION_BYTES_MAX}"):
        sign_transaction(ALICE, replace(PAYMENT, action=SubmitJob(large)))


def test_a_job_of_many_shards_fits_in_a_transaction(make_manifest: Any) -> None:
    manifest = make_manifest()
    shards = manifest.data.shards * 512
    full = replace(manifest, data=replace(manifest.data, shards=shards))
    data = sign_transaction(ALICE, replace(PAYMENT, action=SubmitJob(full)))
    assert verify_transaction_untrusted(data, NETWORK, 3).transaction.action == SubmitJob(full)
