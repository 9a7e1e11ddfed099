"""What the certifier returns."""

import msgspec

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.ledger.checkpoint import Checkpoint, CheckpointCertificate, CheckpointMessage, CheckpointVote


class StoreVote(msgspec.Struct, frozen=True):
    """Write the own vote, fsync, then call `stored`. In order."""

    vote: CheckpointVote


class StoreCertificate(msgspec.Struct, frozen=True):
    """A new certificate, the newest that is known: write it when convenient, and tell the operator."""

    certificate: CheckpointCertificate


class Broadcast(msgspec.Struct, frozen=True):
    """Send to every connected peer."""

    message: CheckpointMessage


class Send(msgspec.Struct, frozen=True):
    """Send to one peer."""

    peer: PeerId
    message: CheckpointMessage


class Dissent(msgspec.Struct, frozen=True):
    """A validator signed another state than this replica has."""

    vote: CheckpointVote
    own: Checkpoint


class DoubleVote(msgspec.Struct, frozen=True):
    """A validator signed two states for one commit: the two votes are the proof."""

    first: CheckpointVote
    second: CheckpointVote


class Contradiction(msgspec.Struct, frozen=True):
    """The first commit whose state here is another than was signed before a restart. Nothing is signed for it."""

    signed: Checkpoint
    own: Checkpoint


class Halt(msgspec.Struct, frozen=True):
    """Execute nothing more: `reason` is one sentence for the operator."""

    reason: str


Effect = StoreVote | StoreCertificate | Broadcast | Send | Dissent | DoubleVote | Contradiction | Halt
