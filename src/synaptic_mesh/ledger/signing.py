"""From an action to signed bytes, and from a stranger's bytes to a transaction whose signature was checked.

Verification depends on the bytes, the network and the epoch alone, so every replica drops the same transactions of a
block before the ledger sees them. It can be done one by one, or the signatures apart from the decoding, where a shell
has processes for them:

    opened = [open_transaction_untrusted(data, network, epoch) for data in ...]
    valid = [... for each in opened]             # anywhere; is_claim_valid(each.claim) is the definition
    events = ledger.apply(OrderedCommit(index, timestamp_ms, verified_of(opened, valid)))
"""

from collections.abc import Sequence

import msgspec

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import PEER_ID_BYTES, SIGNATURE_BYTES, Digest, NetworkId, short
from synaptic_mesh.identity.keys import KeyPair, signed_digest, verify_digest
from synaptic_mesh.ledger.transactions import (
    SIGNING_DOMAIN,
    TRANSACTION_BYTES_MAX,
    SignedTransaction,
    Transaction,
    decode_transaction_untrusted,
    encode_transaction,
    transaction_id,
)

NONCE_MAX = (1 << 63) - 1
ENVELOPE_BYTES_MAX = 128
"""What signature and framing add to a transaction's body."""


class VerifiedTransaction(msgspec.Struct, frozen=True):
    """A transaction of this network and epoch that its sender signed. It is made after `open_transaction_untrusted` and
    a check of the claim and by nothing else: whoever holds one need not check again.
    """

    transaction: Transaction
    id: Digest


class SignatureClaim(msgspec.Struct, frozen=True, array_like=True):
    """That `public_key` (32 bytes) made `signature` (64 bytes, Ed25519) over `message`: the 32 bytes that stand for
    domain and body, so a claim is 128 bytes however large its transaction is.
    """

    public_key: bytes
    message: bytes
    signature: bytes


class UnverifiedTransaction(msgspec.Struct, frozen=True):
    """A transaction of this network and epoch, and the claim that its sender signed it."""

    transaction: Transaction
    id: Digest
    claim: SignatureClaim


def sign_transaction(keypair: KeyPair, transaction: Transaction) -> bytes:
    """Return the bytes to hand to a validator. Raises LocalError if the key is not the sender's, a number does not fit
    in 64 bits, or the transaction is too large to travel.
    """
    if transaction.sender != keypair.peer_id:
        raise LocalError(
            f"transaction of {short(transaction.sender)} cannot be signed by {short(keypair.peer_id)}: use its own key"
        )
    try:
        body = encode_transaction(transaction)
    except OverflowError:
        raise LocalError("a number in the transaction does not fit in 64 bits: use smaller amounts") from None
    if len(body) > TRANSACTION_BYTES_MAX:
        raise LocalError(
            f"transaction of {len(body)} bytes is over the limit of {TRANSACTION_BYTES_MAX}: use fewer shards"
        )
    return encode(SignedTransaction(body, keypair.sign(SIGNING_DOMAIN, body)))


def open_transaction_untrusted(data: bytes, network: NetworkId, epoch: int) -> UnverifiedTransaction:
    """Decode a signed transaction and check everything but its signature. Raises PeerError when it is malformed, too
    large, or of another network or epoch.
    """
    signed = decode_untrusted(SignedTransaction, data, TRANSACTION_BYTES_MAX + ENVELOPE_BYTES_MAX)
    transaction = decode_transaction_untrusted(signed.body)
    if transaction.network != network:
        raise PeerError(f"transaction is for network {short(transaction.network)}, this one is {short(network)}")
    if transaction.epoch != epoch:
        raise PeerError(f"transaction is for epoch {transaction.epoch}, the committee is of epoch {epoch}")
    if len(transaction.sender) != PEER_ID_BYTES or not 0 <= transaction.nonce <= NONCE_MAX:
        raise PeerError(f"transaction has a sender of {len(transaction.sender)} bytes and nonce {transaction.nonce}")
    if len(signed.signature) != SIGNATURE_BYTES:
        raise PeerError(f"signature has {len(signed.signature)} bytes, it needs {SIGNATURE_BYTES}")
    claim = SignatureClaim(transaction.sender, signed_digest(SIGNING_DOMAIN, signed.body), signed.signature)
    return UnverifiedTransaction(transaction, transaction_id(signed.body), claim)


def verified_of(opened: Sequence[UnverifiedTransaction], valid: Sequence[bool]) -> tuple[VerifiedTransaction, ...]:
    """Return the transactions whose claims were found valid, in order. Raises LocalError unless there is one answer for
    each.
    """
    if len(opened) != len(valid):
        raise LocalError(f"{len(valid)} answers for {len(opened)} signatures: give one for each")
    answered = zip(opened, valid, strict=True)
    return tuple(VerifiedTransaction(each.transaction, each.id) for each, is_valid in answered if is_valid)


def is_claim_valid(claim: SignatureClaim) -> bool:
    """Verify one claim here and now."""
    return verify_digest(claim.public_key, claim.message, claim.signature)


def verify_transaction_untrusted(data: bytes, network: NetworkId, epoch: int) -> VerifiedTransaction:
    """Decode and check a signed transaction. Raises PeerError when it is malformed, too large, of another network or
    epoch, or not signed by its sender.
    """
    opened = open_transaction_untrusted(data, network, epoch)
    if not is_claim_valid(opened.claim):
        raise PeerError(f"transaction is not signed by its sender {short(opened.transaction.sender)}")
    return VerifiedTransaction(opened.transaction, opened.id)
