"""Every signature checked once: verdicts on transactions, from their arrival to their execution.

A transaction is seen several times: when its client hands it in, in the blocks of peers, in the commit that runs it.
`want` decodes what is new and puts its signature in line; `verdict` gives what came out. Checking may take place in
other processes: then `take_rows` gives what is to be checked, and `answered` brings the result. Small numbers are
checked at once, since asking another process would take longer; under load few questions are under way at a time, so
that they grow instead of becoming more.
"""

from collections import OrderedDict
from collections.abc import Iterable

from synaptic_mesh.base.errors import PeerError, invariant
from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.ledger.signing import VerifiedTransaction, open_transaction_untrusted
from synaptic_mesh.node.messages import CheckSignatures
from synaptic_mesh.workers.signatures import check_rows, signature_row

AT_ONCE_MAX = 4
"""Signatures that are checked in this process: some 160 us, less than a question to another one may take."""
KNOWN_MAX = 1 << 17
KNOWN_BYTES_MAX = 64 << 20
"""Verdicts kept at once, and the transactions that they are about. What is forgotten is checked again when it is
executed.
"""

Verdict = VerifiedTransaction | str
"""A transaction that its sender signed, or why these bytes are none."""


class Checks:
    """Verdicts of one network and epoch. `processes` check what `take_rows` gives; with none of them nothing waits."""

    def __init__(self, network: NetworkId, epoch: int, processes: int = 0) -> None:
        self._network = network
        self._epoch = epoch
        self._processes = processes
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._known_bytes = 0
        self._waiting: dict[bytes, VerifiedTransaction] = {}
        self._gathered: list[tuple[bytes, bytes]] = []  # transaction, row
        self._asked: dict[int, list[bytes]] = {}
        self._token = 0

    @property
    def oldest(self) -> int:
        """Everything wanted before this ticket has its verdict."""
        return next(iter(self._asked), self._token + 1)

    @property
    def known_count(self) -> int:
        """Verdicts that are kept."""
        return len(self._known)

    def want(self, transactions: Iterable[bytes]) -> int:
        """See to it that these get a verdict. Returns a ticket: they have it once `oldest` is above."""
        known, waiting = self._known, self._waiting
        for data in transactions:
            if data in known or data in waiting:
                continue
            try:
                waiting[data], row = self._open_untrusted(data)
            except PeerError as error:
                self._know(data, str(error))
                continue
            self._gathered.append((data, row))
        if not self._processes or len(self._gathered) <= AT_ONCE_MAX:
            gathered, self._gathered = self._gathered, []
            self._settle([data for data, _ in gathered], check_rows(b"".join([row for _, row in gathered])))
            return self._token
        return self._token + 1

    def take_rows(self) -> CheckSignatures | None:
        """What is to be checked elsewhere now, if anything is: one question for each process, and one behind it."""
        if not self._gathered or len(self._asked) >= 2 * self._processes:
            return None
        gathered, self._gathered = self._gathered, []
        self._token += 1
        self._asked[self._token] = [data for data, _ in gathered]
        return CheckSignatures(self._token, b"".join([row for _, row in gathered]))

    def answered(self, token: int, answer: bytes) -> None:
        """The rows of this token have been checked."""
        transactions = self._asked.pop(token, None)
        if transactions is None:
            return
        invariant(len(answer) == len(transactions), f"{len(answer)} answers to {len(transactions)} signatures")
        self._settle(transactions, answer)

    def verdict(self, data: bytes) -> Verdict:
        """Return the verdict on a transaction; one that was forgotten is checked here and now."""
        verdict = self._known.get(data)
        if verdict is not None:
            return verdict
        try:
            verified, row = self._open_untrusted(data)
        except PeerError as error:
            return str(error)
        return verified if check_rows(row) == b"\1" else UNSIGNED

    def forget(self, transactions: Iterable[bytes]) -> None:
        """These were executed or refused: nobody will ask again."""
        for data in transactions:
            if self._known.pop(data, None) is not None:
                self._known_bytes -= len(data)

    def _open_untrusted(self, data: bytes) -> tuple[VerifiedTransaction, bytes]:
        opened = open_transaction_untrusted(data, self._network, self._epoch)
        claim = opened.claim
        row = signature_row(claim.public_key, claim.signature, claim.message)
        return VerifiedTransaction(opened.transaction, opened.id), row

    def _settle(self, transactions: list[bytes], answer: bytes) -> None:
        for data, is_valid in zip(transactions, answer, strict=True):
            verified = self._waiting.pop(data)
            self._know(data, verified if is_valid else UNSIGNED)

    def _know(self, data: bytes, verdict: Verdict) -> None:
        self._known[data] = verdict
        self._known_bytes += len(data)
        while len(self._known) > KNOWN_MAX or self._known_bytes > KNOWN_BYTES_MAX:
            oldest, _ = self._known.popitem(last=False)
            self._known_bytes -= len(oldest)


UNSIGNED = "transaction is not signed by its sender"
