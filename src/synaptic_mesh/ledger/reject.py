"""The one way in which an action fails."""


class LedgerReject(Exception):
    """The action breaks a rule. It is raised before anything was changed, and its message becomes the reason in the
    transaction's event.

    Only this exception fails a transaction. Any other one (memory, recursion, a broken invariant) passes through
    `Ledger.apply` and stops the replica: marking the transaction failed here, when other replicas had the memory to
    apply it, would fork the state.
    """
