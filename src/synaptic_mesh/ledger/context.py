"""What a handler or transition may touch while one commit is applied."""

import msgspec

from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.ledger.accounts import Bank
from synaptic_mesh.ledger.economics import Economics
from synaptic_mesh.ledger.events import LedgerEvent
from synaptic_mesh.ledger.genesis import Constants


class CommitContext(msgspec.Struct, frozen=True):
    """The bank to move money in, who votes and who is convicted, the rules, the time, and the list that events are
    added to.
    """

    bank: Bank
    committee: Committee
    convicted: set[bytes]
    """Validators that were punished for equivocation in this epoch."""
    constants: Constants
    economics: Economics
    semantics_id: bytes
    commit_index: int
    progress_ms: int
    events: list[LedgerEvent]
