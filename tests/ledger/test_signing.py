from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.identity.keys import KeyPair, signed_digest
from synaptic_mesh.ledger.signing import (
    SignatureClaim,
    is_claim_valid,
    open_transaction_untrusted,
    sign_transaction,
    verified_of,
    verify_transaction_untrusted,
)
from synaptic_mesh.ledger.transactions import (
    SIGNING_DOMAIN,
    TRANSACTION_BYTES_MAX,
    JoinJob,
    ReportEquivocation,
    SignedTransaction,
    Stake,
    SubmitJob,
    Transaction,
    Transfer,
    TransferMany,
    encode_transaction,
    transaction_id,
)
from synaptic_mesh.ledger.transfers import pack_transfers

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


def test_signatures_can_be_checked_apart() -> None:
    payments = [replace(PAYMENT, nonce=nonce) for nonce in range(3)]
    data = [sign_transaction(ALICE, each) for each in payments]
    body = encode_transaction(payments[1])
    data[1] = encode(SignedTransaction(body, BOB.sign(SIGNING_DOMAIN, body)))
    opened = [open_transaction_untrusted(each, NETWORK, 3) for each in data]
    assert opened[0].claim == SignatureClaim(
        ALICE.peer_id,
        signed_digest(SIGNING_DOMAIN, encode_transaction(PAYMENT)),
        ALICE.sign(SIGNING_DOMAIN, encode_transaction(PAYMENT)),
    )
    valid = [is_claim_valid(each.claim) for each in opened]
    assert valid == [True, False, True]
    assert verified_of(opened, valid) == tuple(verify_transaction_untrusted(data[n], NETWORK, 3) for n in (0, 2))
    with pytest.raises(LocalError, match="2 answers for 3 signatures"):
        verified_of(opened, [True, True])


def test_signatures_of_other_sizes_need_no_check() -> None:
    body = encode_transaction(PAYMENT)
    with pytest.raises(PeerError, match="signature has 63 bytes"):
        open_transaction_untrusted(encode(SignedTransaction(body, bytes(63))), NETWORK, 3)


ACTIONS = [
    Transfer(BOB.peer_id, 5),
    TransferMany(pack_transfers([(BOB.peer_id, 5)] * 3)),
    ReportEquivocation(b"proof"),
    Stake(1),
    JoinJob(bytes(32)),
]


@given(st.sampled_from(ACTIONS), st.data())
@settings(max_examples=300, deadline=None)
def test_strangers_bytes_raise_nothing_but_a_peers_error(action: Any, data: Any) -> None:
    """Bytes that are nearly a transaction: cut, joined, replaced, in the body or around it."""
    body = encode_transaction(replace(PAYMENT, action=action))
    whole = encode(SignedTransaction(body, ALICE.sign(SIGNING_DOMAIN, body)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole)))
        length = data.draw(st.integers(0, 3))
        whole = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + length :]
    for candidate in (whole, encode(SignedTransaction(whole[3:-66], bytes(64)))):
        try:
            opened = open_transaction_untrusted(candidate, NETWORK, 3)
        except PeerError:
            continue
        assert len(opened.claim.message) == 32


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
