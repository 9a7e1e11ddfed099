"""The state at the newest certified checkpoint, kept so that accounts can be proved to whoever does not hold the state.

At every checkpoint all pages of accounts are copied with their paths; the copy of the one that a quorum certifies stays
until the next is certified. So at most STATES_KEPT copies are held, 80 bytes for each account.
"""

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.ledger.account_proof import AccountProof
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate
from synaptic_mesh.ledger.ledger import Ledger

STATES_KEPT = 3
"""The certified one, and two that wait for signatures."""
PROVED_ACCOUNTS_MAX = 1 << 17
"""A ledger with more accounts is not copied (10 MB, some milliseconds): its nodes prove nothing."""
ANSWER_MS = 20
"""One peer is given a proof (21 KB) so often in the long run."""
BURST_MS = 500
"""As many as fall into this time may come at once."""

PEERS_MAX = 1_024
"""Peers that are remembered for that; clients come and go unseen."""


class Proofs:
    """See the module's docstring."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[int, tuple[AccountProof, ...]] = {}  # commit -> pages
        self._certificate = b""  # of the state in _pages, encoded
        self._pages: tuple[AccountProof, ...] = ()
        self._paid_ms: dict[PeerId, int] = {}

    def keep(self, index: int, certificate: CheckpointCertificate | None) -> None:
        """The ledger is at a checkpoint; `certificate` is the newest that is known."""
        if self._ledger.account_count > PROVED_ACCOUNTS_MAX:
            return
        self._waiting[index] = self._ledger.prove_pages()
        while len(self._waiting) > STATES_KEPT - 1:
            del self._waiting[min(self._waiting)]
        if certificate is not None:
            self.certified(certificate)

    def certified(self, certificate: CheckpointCertificate) -> None:
        """A quorum signed this."""
        index = certificate.checkpoint.index
        if index in self._waiting:
            self._certificate, self._pages = encode(certificate), self._waiting[index]
            self._waiting = {each: pages for each, pages in self._waiting.items() if each > index}

    def is_too_soon(self, peer: PeerId, now_ms: int) -> bool:
        """Answer whether this peer was given too many proofs just now; if not, it is given one now."""
        paid_ms = max(self._paid_ms.get(peer, 0), now_ms)  # when its proofs so far will have taken their time
        if paid_ms > now_ms + BURST_MS:
            return True
        if len(self._paid_ms) >= PEERS_MAX:
            self._paid_ms = {each: at_ms for each, at_ms in self._paid_ms.items() if at_ms > now_ms}
        if len(self._paid_ms) >= PEERS_MAX and peer not in self._paid_ms:
            return True
        self._paid_ms[peer] = paid_ms + ANSWER_MS
        return False

    def prove(self, account: bytes) -> tuple[bytes, bytes]:
        """Return the encoded certificate, empty when there is none, and the encoded proof, empty when the account was
        not open then.
        """
        page = self._ledger.page_of(account)
        if page is None or page >= len(self._pages):
            return self._certificate, b""
        return self._certificate, encode(self._pages[page])
