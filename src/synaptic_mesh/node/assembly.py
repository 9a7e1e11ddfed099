"""One node as a machine: consensus, ledger, participants and outbox behind one routing table.

    message  -> consensus -> Committed -> ledger -> JobChanged -> participant -> SubmitAction -> outbox -> consensus
                          -> Append, Send        -> certifier  -> Fetch, Compute, Publish

The assembly owns no rule of its own: it translates one machine's effects into another's events, in order, and hands
everything else to the shell. The simulator runs this very object.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import Diverged, LocalError, PeerError
from synaptic_mesh.base.ids import PEER_ID_BYTES, NetworkId, PeerId, short
from synaptic_mesh.collab import messages as collab
from synaptic_mesh.collab.participant import Participant
from synaptic_mesh.consensus import messages as consensus
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger import checkpoint_effects as checkpoints
from synaptic_mesh.ledger import events as ledger_events
from synaptic_mesh.ledger.certifier import ANSWER_BYTES_MAX, Certifier
from synaptic_mesh.ledger.jobs import JobState, JobStatus
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.signing import VerifiedTransaction
from synaptic_mesh.ledger.transactions import ActionUnion, ReportEquivocation, VoteRoot
from synaptic_mesh.node.checks import Checks
from synaptic_mesh.node.intake import Intake
from synaptic_mesh.node.messages import (
    QUESTION_ACCOUNTS_MAX,
    TOPIC_CHECKPOINT,
    TOPIC_CLIENT,
    TOPIC_CONSENSUS,
    TOPIC_TRANSACTIONS,
    TRANSACTIONS_PER_MESSAGE_MAX,
    AccountsAnswer,
    AccountsQuestion,
    AppendLog,
    CheckpointNote,
    ClientMessage,
    CommitExecuted,
    Dropped,
    Effect,
    Event,
    EvidenceNote,
    JobNote,
    LedgerNote,
    Logged,
    LogRead,
    LogRecord,
    Notice,
    PeerDown,
    PeerUp,
    ProofAnswer,
    ProofQuestion,
    Received,
    SendMessage,
    SignaturesChecked,
    Submit,
    Transactions,
    VoteNote,
)
from synaptic_mesh.node.outbox import Outbox
from synaptic_mesh.node.proofs import Proofs
from synaptic_mesh.node.store import StoredRounds

MESSAGE_BYTES = 640 << 10
"""Of transactions in one message; one transaction is never larger."""
COMMITS_WAITING_MAX = 64
"""Commits whose signatures are being checked. While there are more, consensus is not told that its blocks are stored,
so this validator proposes nothing: a mesh whose blocks are full of transactions with false signatures slows down to
the speed at which they are checked, and what waits stays bounded.
"""
NewParticipant = Callable[[], Participant]
Then = Callable[[int], None]
"""What goes on, at `now_ms`, once a record is on the disk."""


class Assembly:
    """See the module's docstring. `now_ms` is wall-clock time in integer milliseconds: blocks carry it."""

    def __init__(
        self,
        key: KeyPair,
        network: NetworkId,
        committee: Committee,
        core: Consensus,
        ledger: Ledger,
        certifier: Certifier,
        outbox: Outbox,
        checks: Checks,
        verify_block: consensus.Verify,
        new_participant: NewParticipant,
    ) -> None:
        self.ledger = ledger
        self._peer = key.peer_id
        self._network = network
        self._committee = committee
        self._core = core
        self.certifier = certifier
        self._stored = StoredRounds()
        self._proofs = Proofs(ledger)
        self._token = 0  # of the newest AppendLog
        self._writing: dict[int, Then] = {}  # by token
        self._outbox = outbox
        self._checks = checks
        self._intake = Intake(checks, ledger.account, ledger.objection)
        self._committed: deque[tuple[int, consensus.Committed]] = deque()  # ticket of its signatures, and the commit
        self._logged: deque[int] = deque()  # tokens that consensus is not told yet
        self._verify_block = verify_block
        self._new_participant = new_participant
        self._participants: dict[bytes, Participant] = {}
        self._connected: list[PeerId] = []
        self._turn = 0
        self._live = False
        self._effects: list[Effect] = []
        self._evidence: list[consensus.Evidence] = []  # equivocations to report; at most one for each validator

    @property
    def votes(self) -> bool:
        """Whether this node is a validator."""
        return self._peer in self._committee

    def start(self, records: Sequence[bytes], now_ms: int, *, is_log_whole: bool = True) -> list[Effect]:
        """Rebuild everything from the log (empty on the first start), then join in. Called once, before anything else.

        is_log_whole: False when records were lost, so peers must be asked what this node has proposed before.
        Raises PeerError when a record is damaged: the log's own checks should have found it first.
        """
        blocks: list[VerifiedBlock] = []
        commits: list[consensus.Commit] = []
        for data in records:
            record = decode_untrusted(LogRecord, data, bytes_max=1 << 30)
            verified = [self._verify_block(block) for block in record.blocks]
            self._stored.note([block.round for block in verified])
            blocks += verified
            commits += record.commits
            for each in record.checkpoints:
                self.certifier.restore(each)
        effects = self._core.start(
            now_ms,
            blocks=tuple(blocks),
            commits=tuple(commits),
            executed_index=0,
            is_store_trusted=is_log_whole,
            stored_round=self._stored.oldest_round,
        )
        replayed = [effect for effect in effects if isinstance(effect, consensus.Committed)]
        for effect in replayed:
            self._execute(effect, now_ms)
        self._effects = [Notice(f"replayed {len(replayed)} commits from the log")] if replayed else []
        self._live = True
        self._route_checkpoints(self.certifier.resume(now_ms))
        self._route_consensus([e for e in effects if not isinstance(e, consensus.Committed)])
        for state in self.ledger.jobs():
            self._job_changed(state.job, now_ms)
        return self._take()

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Advance by one event; return what the shell must do, in order."""
        match event:
            case Received():
                self._receive(event, now_ms)
            case LogRead():
                self._consensus(self._stored.answer(event), now_ms)
            case Logged(token):
                self._writing.pop(token)(now_ms)
            case PeerUp(peer):
                self._connected = sorted({*self._connected, peer})
                self._consensus(consensus.PeerConnected(peer), now_ms)
                self._route_checkpoints(self.certifier.connected(peer, now_ms))
            case PeerDown(peer):
                self._connected = [other for other in self._connected if other != peer]
                self._consensus(consensus.PeerDisconnected(peer), now_ms)
                self.certifier.disconnected(peer)
            case Submit(action):
                self._submit(action, now_ms)
            case SignaturesChecked(token, answer):
                self._checks.answered(token, answer)
            case _:
                for participant in list(self._participants.values()):
                    self._route_collab(participant.handle(event, now_ms), now_ms)
        return self._settle(now_ms)

    def handle_deadline(self, now_ms: int) -> list[Effect]:
        """Called at or after `deadline_ms()`."""
        self._route_consensus(self._core.handle_deadline(now_ms))
        self._route_checkpoints(self.certifier.handle_deadline(now_ms))
        late = self._outbox.resend(now_ms)
        self._turn += bool(late)
        self._send_transactions(late, now_ms)
        for participant in list(self._participants.values()):
            due = participant.deadline_ms()
            if due is not None and due <= now_ms:
                self._route_collab(participant.handle_deadline(now_ms), now_ms)
        return self._settle(now_ms)

    def deadline_ms(self) -> int | None:
        """The earliest deadline of any machine inside."""
        deadlines = [self._core.deadline_ms(), self.certifier.deadline_ms(), self._outbox.deadline_ms()]
        deadlines += [participant.deadline_ms() for participant in self._participants.values()]
        return min((at for at in deadlines if at is not None), default=None)

    def _settle(self, now_ms: int) -> list[Effect]:
        """Carry on with what has its verdicts, and gather what is to be checked and told."""
        self._execute_checked(now_ms)
        while self._logged and len(self._committed) < COMMITS_WAITING_MAX:
            self._consensus(consensus.Appended(self._logged.popleft()), now_ms)
            self._execute_checked(now_ms)
        self._report(now_ms)
        due, dropped = self._intake.take_due()
        self._effects += [Dropped(sender, reason) for sender, reason in dropped]
        if due:
            self._consensus(consensus.TransactionsSubmitted(tuple(due)), now_ms)
        rows = self._checks.take_rows()
        if rows is not None:
            self._effects.append(rows)
        self._effects += self._intake.take_messages()
        return self._take()

    def _take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    # --- messages

    def _receive(self, event: Received, now_ms: int) -> None:
        try:
            if event.topic == TOPIC_CONSENSUS:
                self._receive_consensus_untrusted(event, now_ms)
            elif event.topic == TOPIC_TRANSACTIONS:
                self._receive_transactions_untrusted(event.sender, event.payload)
            elif event.topic == TOPIC_CHECKPOINT:
                self._route_checkpoints(self.certifier.receive_untrusted(event.sender, event.payload, now_ms))
            elif event.topic == TOPIC_CLIENT:
                self._receive_client_untrusted(event, now_ms)
            else:
                raise PeerError(f"unknown topic {event.topic!r}")
        except PeerError as error:
            self._effects.append(Dropped(event.sender, str(error)))

    def _receive_consensus_untrusted(self, event: Received, now_ms: int) -> None:
        """Blocks are ordered while the signatures in them are being checked. Those of blocks that were not accepted, or
        come again after their commit, are left alone: a peer could send any number.
        """
        received = consensus.receive_untrusted(event.sender, event.payload, self._verify_block)
        self._consensus(received, now_ms)
        if isinstance(received, consensus.BlocksReceived):
            for block in received.blocks:
                vertex = self._core.dag.get(block.digest)
                if vertex is not None and vertex.commit_index == 0:
                    self._checks.want(block.transactions)

    def _receive_transactions_untrusted(self, sender: PeerId, payload: bytes) -> None:
        transactions = decode_untrusted(Transactions, payload).transactions
        if len(transactions) > TRANSACTIONS_PER_MESSAGE_MAX:
            raise PeerError(f"{len(transactions)} transactions in a message, over {TRANSACTIONS_PER_MESSAGE_MAX}")
        if not self.votes:
            raise PeerError("transactions are for validators; this node has no vote")
        self._intake.relay(sender, transactions, len(self._core.pool), self._core.pool.bytes)

    def _receive_client_untrusted(self, event: Received, now_ms: int) -> None:
        message = cast(ClientMessage, decode_untrusted(cast(Any, ClientMessage), event.payload))
        if isinstance(message, AccountsQuestion):
            self._answer_untrusted(event.sender, message)
            return
        if isinstance(message, ProofQuestion):
            self._prove_untrusted(event.sender, message, now_ms)
            return
        if not self.votes:
            raise PeerError("transactions are for validators; this node has no vote")
        self._intake.submit(event.sender, message, len(self._core.pool), self._core.pool.bytes)

    def _answer_untrusted(self, client: PeerId, question: AccountsQuestion) -> None:
        if len(question.accounts) > QUESTION_ACCOUNTS_MAX or not 0 <= question.number < 1 << 63:
            raise PeerError(f"question {question.number} about {len(question.accounts)} accounts")
        accounts = [self.ledger.account(peer) for peer in question.accounts]
        states = tuple([(a.balance, a.stake, a.locked, a.nonce) for a in accounts])
        answer = AccountsAnswer(question.number, self.ledger.commit_index, states)
        self._effects.append(SendMessage(client, TOPIC_CLIENT, encode(answer)))

    def _prove_untrusted(self, client: PeerId, question: ProofQuestion, now_ms: int) -> None:
        if len(question.account) != PEER_ID_BYTES or not 0 <= question.number < 1 << 63:
            raise PeerError(f"question {question.number} for a proof of an account of {len(question.account)} bytes")
        if self._proofs.is_too_soon(client, now_ms):
            raise PeerError("questions for proofs come faster than they are answered")
        certificate, proof = self._proofs.prove(question.account)
        if len(certificate) + len(proof) <= ANSWER_BYTES_MAX:
            answer = ProofAnswer(question.number, certificate, proof)
            self._effects.append(SendMessage(client, TOPIC_CLIENT, encode(answer)))

    def _consensus(self, event: consensus.Event, now_ms: int) -> None:
        self._route_consensus(self._core.handle(event, now_ms))

    def _route_consensus(self, effects: Sequence[consensus.Effect]) -> None:
        for effect in effects:
            match effect:
                case consensus.Append(token, blocks, commits):
                    record = LogRecord(tuple([block.encoded for block in blocks]), commits)
                    self._append(record, partial(self._consensus_logged, token), [block.round for block in blocks])
                case consensus.ReadStored():
                    self._effects.append(self._stored.question(effect))
                case consensus.Stranded(needed_round, oldest_round):
                    self._effects.append(Notice(stranded(needed_round, oldest_round)))
                case consensus.Broadcast(message):
                    self._effects.append(SendMessage(None, TOPIC_CONSENSUS, consensus.encode_message(message)))
                case consensus.Send(peer, message):
                    self._effects.append(SendMessage(peer, TOPIC_CONSENSUS, consensus.encode_message(message)))
                case consensus.Committed(_, _, blocks):
                    ticket = self._checks.want(data for block in blocks for data in block.transactions)
                    self._committed.append((ticket, effect))
                case consensus.Evidence():
                    self._effects.append(EvidenceNote(effect))
                    self._evidence.append(effect)
                case consensus.TransactionsRefused(transactions, reason):
                    self._intake.no_room(transactions, reason)
                    self._effects.append(Notice(f"transactions were refused: {reason}"))
                case consensus.Dropped(peer, reason, _):
                    self._effects.append(Dropped(peer, reason))
                case _:
                    pass

    def _append(self, record: LogRecord, then: Then, rounds: Sequence[int] = ()) -> None:
        self._token += 1
        self._stored.note(rounds)
        self._writing[self._token] = then
        self._effects.append(AppendLog(self._token, encode(record)))

    def _consensus_logged(self, token: int, _now_ms: int) -> None:
        self._logged.append(token)

    def _report(self, now_ms: int) -> None:
        """Bring equivocations before the ledger, unless somebody has already."""
        found, self._evidence = self._evidence, []
        for evidence in found:
            if not self.ledger.is_convicted(self._committee.peers[evidence.author]):
                self._submit(ReportEquivocation(evidence.proof), now_ms)

    # --- checkpoints

    def _route_checkpoints(self, effects: Sequence[checkpoints.Effect]) -> None:
        """Raises Diverged when this replica must go no further."""
        for effect in effects:
            match effect:
                case checkpoints.StoreVote(vote):
                    self._append(LogRecord(checkpoints=(vote,)), self._vote_logged)
                case checkpoints.StoreCertificate(certificate):
                    self._append(LogRecord(checkpoints=(certificate,)), lambda _: None)
                    self._proofs.certified(certificate)
                    stake = self._committee.stake(author for author, _ in certificate.signatures)
                    self._effects.append(CheckpointNote(certificate, stake))
                case checkpoints.Broadcast(message):
                    self._effects.append(SendMessage(None, TOPIC_CHECKPOINT, encode(message)))
                case checkpoints.Send(peer, message):
                    self._effects.append(SendMessage(peer, TOPIC_CHECKPOINT, encode(message)))
                case checkpoints.Contradiction(signed, own):
                    self._effects.append(
                        Notice(
                            f"state root {short(own.state_root)} after commit {own.index}, but before the restart "
                            f"{short(signed.state_root)} was signed: this machine computed one of them wrong"
                        )
                    )
                case checkpoints.Halt(reason):
                    raise Diverged(reason)
                case _:
                    self._effects.append(effect)

    def _vote_logged(self, now_ms: int) -> None:
        self._route_checkpoints(self.certifier.stored(now_ms))

    # --- ledger

    def _execute_checked(self, now_ms: int) -> None:
        """Run the commits whose signatures have been checked, in order."""
        while self._committed and self._committed[0][0] < self._checks.oldest:
            _, committed = self._committed.popleft()
            for job in self._execute(committed, now_ms):
                self._job_changed(job, now_ms)

    def _execute(self, committed: consensus.Committed, now_ms: int) -> list[bytes]:
        """Run one commit on the ledger; return the jobs that it changed."""
        transactions: list[VerifiedTransaction] = []
        votes: dict[bytes, VoteNote] = {}
        for block in committed.blocks:
            for data in block.transactions:
                verified = self._checks.verdict(data)
                if isinstance(verified, str):
                    # The same bytes fail on every replica, so leaving them out is part of the order.
                    self._effects.append(Dropped(self._committee.peers[block.header.author], verified))
                    continue
                transactions.append(verified)
                if isinstance(verified.transaction.action, VoteRoot):
                    votes[verified.id] = VoteNote(verified.transaction, data)
        commit = committed.commit
        nonce = self.ledger.account(self._peer).nonce
        authors = tuple(sorted({self._committee.peers[block.header.author] for block in committed.blocks}))
        events = self.ledger.apply(OrderedCommit(commit.index, commit.timestamp_ms, tuple(transactions), authors))
        for block in committed.blocks:
            self._checks.forget(block.transactions)
        applied = [event for event in events if isinstance(event, ledger_events.TransactionApplied)]
        for event in self._consumed(applied, nonce):
            self._send_transactions(self._outbox.consumed(event.nonce, event.id, now_ms), now_ms)
        self._intake.executed(commit.index, applied)
        changed = self._note(events, votes)
        root = self.ledger.state_root()
        self._effects.append(
            CommitExecuted(
                commit.index, commit.leader.round, commit.timestamp_ms, len(transactions), committed.direct, root
            )
        )
        rules = self.certifier.rules
        if rules.is_due(commit.index):
            supply = self.ledger.supply()
            checkpoint = rules.checkpoint(commit.index, committed.digest, commit.timestamp_ms, root, supply)
            if self._live:
                self._proofs.keep(commit.index, self.certifier.certified)
            self._route_checkpoints(self.certifier.executed(checkpoint, now_ms))
        return changed

    def _consumed(
        self, applied: Sequence[ledger_events.TransactionApplied], nonce: int
    ) -> list[ledger_events.TransactionApplied]:
        """Return the events of transactions that used up a nonce of this account, the first being `nonce`. Others came
        twice, or before their turn, and run later if at all.
        """
        found: list[ledger_events.TransactionApplied] = []
        end = self.ledger.account(self._peer).nonce
        for event in applied if end > nonce else ():
            if event.sender == self._peer and event.nonce == nonce + len(found) < end:
                found.append(event)
        return found

    def _note(self, events: Sequence[ledger_events.LedgerEvent], votes: Mapping[bytes, VoteNote]) -> list[bytes]:
        """Tell the operator what happened; return the jobs that changed. An accepted transaction is only counted: there
        may be thousands in a commit.
        """
        changed: list[bytes] = []
        for event in events:
            if isinstance(event, ledger_events.TransactionApplied) and event.accepted:
                vote = votes.get(event.id) if votes else None
                if vote is not None:
                    self._effects.append(vote)
            elif isinstance(event, ledger_events.JobChanged):
                changed.append(event.job)
            else:
                self._effects.append(LedgerNote(event))
        return changed

    # --- jobs

    def _job_changed(self, job: bytes, now_ms: int) -> None:
        state = self.ledger.job(job)
        if state is None:
            return
        self._effects.append(JobNote(state, self.ledger.progress_ms))
        if not self._live:
            return
        participant = self._participants.get(job)
        if participant is None:
            if is_over(state):
                return
            participant = self._participants[job] = self._new_participant()
        event = collab.JobChanged(state, self.ledger.progress_ms)
        self._route_collab(participant.handle(event, now_ms), now_ms)
        if is_over(state):
            del self._participants[job]

    def _route_collab(self, effects: Sequence[collab.Effect], now_ms: int) -> None:
        for effect in effects:
            match effect:
                case collab.SubmitAction(action):
                    self._submit(cast(ActionUnion, action), now_ms)
                case collab.Refusal(_, reason):
                    self._effects.append(Notice(reason))
                case _:
                    self._effects.append(effect)

    # --- transactions

    def _submit(self, action: ActionUnion, now_ms: int) -> None:
        try:
            data = self._outbox.submit(action, now_ms)
        except LocalError as error:
            self._effects.append(Notice(str(error)))
            return
        self._send_transactions([data], now_ms)

    def _send_transactions(self, transactions: Sequence[bytes], now_ms: int) -> None:
        """A validator puts its transactions into its own blocks; others hand them to validators, one of them honest."""
        if not transactions:
            return
        if self.votes:
            self._consensus(consensus.TransactionsSubmitted(tuple(transactions)), now_ms)
            return
        for part in in_messages(transactions):
            payload = encode(Transactions(part))
            for peer in self._proposers():
                self._effects.append(SendMessage(peer, TOPIC_TRANSACTIONS, payload))

    def _proposers(self) -> list[PeerId]:
        """Connected validators with stake of v: more than what may lie, and swallow a worker's transaction until its
        phase is over. They stay the same until something had to be sent again, so that nonces arrive in order.
        """
        reachable = [peer for peer in self._connected if peer in self._committee]
        first = self._turn % len(reachable) if reachable else 0
        chosen: list[PeerId] = []
        for peer in (*reachable[first:], *reachable[:first]):
            if self._committee.is_valid(sum(map(self._committee.stake_of, chosen))):
                break
            chosen.append(peer)
        return chosen


def in_messages(transactions: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Return the transactions in order, in parts that one message each can carry."""
    parts: list[tuple[bytes, ...]] = []
    part: list[bytes] = []
    for data in transactions:
        if part and (len(part) == TRANSACTIONS_PER_MESSAGE_MAX or sum(map(len, part)) + len(data) > MESSAGE_BYTES):
            parts.append(tuple(part))
            part = []
        part.append(data)
    return [*parts, tuple(part)] if part else parts


def stranded(needed_round: int, oldest_round: int) -> str:
    """Return the sentence for a node that was away for longer than anybody keeps what it missed."""
    return (
        f"this node needs round {needed_round} next, and the oldest round that its peers keep is {oldest_round}: it "
        "was away for too long to follow them, and needs the state of a checkpoint or another node's log"
    )


def is_over(state: JobState) -> bool:
    """Answer whether nobody has anything to do for the job any more."""
    return state.status in {JobStatus.FINISHED, JobStatus.ABORTED}
