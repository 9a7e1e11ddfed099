"""Gets this account's actions onto the ledger: gives each a nonce, signs it, sends it, and sends it again until it
has run.

A transaction is sent again with the same bytes, so the nonce makes it run once. If another transaction of this
account took the nonce (one sent before a restart, say), the action is signed anew with the next. Only actions that
the ledger refuses to apply twice (everything about jobs) may be given to an outbox; transfers are signed where they
are made.
"""

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.ids import Digest, NetworkId
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.signing import sign_transaction
from synaptic_mesh.ledger.transactions import ActionUnion, Transaction, encode_transaction, transaction_id

PENDING_MAX = 1_024
"""Actions waiting at once; the participant asks for a handful per outer step."""

RESEND_MS = 1_500
"""Several times the usual commit latency: a second copy only costs a duplicate that the pool drops."""


class Pending:
    """One action on its way."""

    __slots__ = ("action", "data", "nonce", "sent_ms", "transaction_id")

    def __init__(self, action: ActionUnion, nonce: int, data: bytes, transaction: Digest, now_ms: int) -> None:
        self.action = action
        self.nonce = nonce
        self.data = data
        self.transaction_id = transaction
        self.sent_ms = now_ms


class Outbox:
    """Pending actions of one account, in nonce order. `submit`, `applied` and `resend` return the bytes to send now."""

    def __init__(self, key: KeyPair, network: NetworkId, epoch: int, resend_ms: int = RESEND_MS) -> None:
        self._key = key
        self._network = network
        self._epoch = epoch
        self._resend_ms = resend_ms
        self._next_nonce = 0
        self._pending: dict[int, Pending] = {}

    @property
    def pending_count(self) -> int:
        """Actions that have not run yet."""
        return len(self._pending)

    def submit(self, action: ActionUnion, now_ms: int) -> bytes:
        """Sign `action` with the next nonce and return the transaction's bytes. Raises LocalError when too many wait,
        or it is too large, or has a number too large, to travel.
        """
        if len(self._pending) >= PENDING_MAX:
            raise LocalError(f"{PENDING_MAX} transactions of this node already wait: is the mesh making progress?")
        nonce = self._next_nonce
        transaction = Transaction(self._network, self._epoch, self._key.peer_id, nonce, action)
        data = sign_transaction(self._key, transaction)
        self._next_nonce += 1  # not before: a nonce that nothing travels with would hold up all later ones
        self._pending[nonce] = Pending(action, nonce, data, transaction_id(encode_transaction(transaction)), now_ms)
        return data

    def consumed(self, nonce: int, transaction: Digest, now_ms: int) -> list[bytes]:
        """The ledger has run a transaction of this account with `nonce`. Returns what must be sent in its stead.

        When it was not ours, every waiting action with that nonce is signed anew.
        """
        self._next_nonce = max(self._next_nonce, nonce + 1)
        pending = self._pending.pop(nonce, None)
        if pending is None or pending.transaction_id == transaction:
            return []
        return [self.submit(pending.action, now_ms)]

    def resend(self, now_ms: int) -> list[bytes]:
        """Return the transactions that have waited long enough to be sent again, lowest nonce first."""
        late = [p for _, p in sorted(self._pending.items()) if p.sent_ms + self._resend_ms <= now_ms]
        for pending in late:
            pending.sent_ms = now_ms
        return [pending.data for pending in late]

    def deadline_ms(self) -> int | None:
        """When `resend` has something to do next."""
        if not self._pending:
            return None
        return min(pending.sent_ms for pending in self._pending.values()) + self._resend_ms
