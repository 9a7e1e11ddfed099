"""From an action to signed bytes, and from a stranger's bytes to a transaction whose signature was checked.

Verification depends on the bytes, the network and the epoch alone, so every replica drops the same transactions of a
block before the ledger sees them.
"""

import msgspec

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import PEER_ID_BYTES, Digest, NetworkId, short
from synaptic_mesh.identity.keys import KeyPair, verify_signature
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
    """A transaction of this network and epoch that its sender signed. Made by `verify_transaction_untrusted` and by
    nothing else: whoever holds one need not check again.
    """

    transaction: Transaction
    id: Digest


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


def verify_transaction_untrusted(data: bytes, network: NetworkId, epoch: int) -> VerifiedTransaction:
    """Decode and check a signed transaction. Raises PeerError when it is malformed, too large, of another network or
    epoch, or not signed by its sender.
    """
    signed = decode_untrusted(SignedTransaction, data, TRANSACTION_BYTES_MAX + ENVELOPE_BYTES_MAX)
    transaction = decode_transaction_untrusted(signed.body)
    if transaction.network != network:
        raise PeerError(f"transaction is for network {short(transaction.network)}, this one is {short(network)}")
    if transaction.epoch != epoch:
        raise PeerError(f"transaction is for epoch {transaction.epoch}, the committee is of epoch {epoch}")
    if len(transaction.sender) != PEER_ID_BYTES or not 0 <= transaction.nonce <= NONCE_MAX:
        raise PeerError(f"transaction has a sender of {len(transaction.sender)} bytes and nonce {transaction.nonce}")
    if not verify_signature(transaction.sender, SIGNING_DOMAIN, signed.body, signed.signature):
        raise PeerError(f"transaction is not signed by its sender {short(transaction.sender)}")
    return VerifiedTransaction(transaction, transaction_id(signed.body))
