"""What somebody without the state can check: nobody's word is needed, only the genesis file.

checkpoint = verify_certificate_untrusted(genesis, data).checkpoint
account = verify_account_untrusted(checkpoint.network, checkpoint.state_root, peer, proof)
"""

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.ledger.account_proof import verify_account_untrusted
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.checkpoint import CERTIFICATE_BYTES_MAX, CheckpointCertificate, checkpoint_rules
from synaptic_mesh.ledger.genesis import Genesis


def verify_certificate_untrusted(genesis: Genesis, data: bytes) -> CheckpointCertificate:
    """Return the certificate in these bytes. Raises PeerError unless validators of this genesis with stake of a quorum
    signed it. It may be old: nothing here knows what came after it.
    """
    certificate = decode_untrusted(CheckpointCertificate, data, CERTIFICATE_BYTES_MAX)
    checkpoint_rules(genesis).check_certificate_untrusted(certificate)
    return certificate


def verify_balance_untrusted(genesis: Genesis, certificate: bytes, peer: bytes, proof: bytes) -> Account:
    """Return the account as it was at the checkpoint. Raises PeerError unless a quorum signed the certificate and the
    proof leads from the account to its state root.
    """
    checkpoint = verify_certificate_untrusted(genesis, certificate).checkpoint
    return verify_account_untrusted(checkpoint.network, Digest(checkpoint.state_root), peer, proof)
