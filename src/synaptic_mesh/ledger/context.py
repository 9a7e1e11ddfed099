"""What a handler or transition of a job may touch while one commit is applied."""

import msgspec

from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.ledger.accounts import Bank
from synaptic_mesh.ledger.events import LedgerEvent
from synaptic_mesh.ledger.genesis import Constants


class CommitContext(msgspec.Struct, frozen=True):
    """The bank to move money in, who votes, the time, and the list that events are added to."""

    bank: Bank
    committee: Committee
    constants: Constants
    semantics_id: bytes
    progress_ms: int
    events: list[LedgerEvent]
