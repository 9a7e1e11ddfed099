"""The machine: events and the time in, effects out.

    core = Consensus(settings, committee, network, author=index, sign=keypair.sign, random=rng, incarnation=1)
    effects = core.start(now_ms, blocks=(), commits=(), executed_index=0)     # once; stored records after a restart
    effects = core.handle(event, now_ms)
    effects = core.handle_deadline(now_ms)      # at or after core.deadline_ms()

author None (and sign None) makes an observer: it follows and decides, and never proposes.
now_ms is Unix time that never goes back (the wall clock at the start plus a monotonic one): it stamps blocks, and
blocks stamped too far ahead of it are not referenced.

A block arrives, verified. It is suspended until its ancestors are here (`suspended`, `sync`), then accepted (`dag`) and
counted (`tally`). Decided leaders are ordered (`linearizer`) and the dag is pruned below the gc round. Then, if
`pacing` agrees, an own block is signed. Accepted blocks, own blocks and commits are written as one batch; at most one
batch is in flight. Only when it is on stable storage is the own block broadcast and are the commits handed out.
Therefore a restart never signs a second block for a round, never takes back a commit, and finds with every own block
its ancestors.
"""

from collections import deque
from collections.abc import Sequence
from random import Random

from synaptic_mesh.base.errors import LocalError, broken, invariant
from synaptic_mesh.base.ids import NetworkId, PeerId
from synaptic_mesh.consensus.amnesia import Amnesia
from synaptic_mesh.consensus.block import BlockRef, CommitVote, Sign, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.committer import Verdict
from synaptic_mesh.consensus.dag import Dag, Vertex
from synaptic_mesh.consensus.evidence import evidence_of
from synaptic_mesh.consensus.journal import Journal
from synaptic_mesh.consensus.leaders import LeaderSchedule
from synaptic_mesh.consensus.linearizer import Linearizer, first_previous
from synaptic_mesh.consensus.messages import (
    Advert,
    Appended,
    Blocks,
    BlocksReceived,
    BlocksRequest,
    Broadcast,
    Commit,
    Committed,
    Dropped,
    Effect,
    Event,
    Evidence,
    MessageReceived,
    OwnRoundAnswer,
    OwnRoundAnswered,
    OwnRoundRequest,
    PeerConnected,
    PeerDisconnected,
    RoundsRequest,
    Send,
    Skipped,
    StoredRead,
    TransactionsRefused,
    TransactionsSubmitted,
)
from synaptic_mesh.consensus.pacing import Pacing, choose_ancestors
from synaptic_mesh.consensus.pool import Pool
from synaptic_mesh.consensus.recovery import check_commits
from synaptic_mesh.consensus.reputation import Reputation
from synaptic_mesh.consensus.serving import Serving
from synaptic_mesh.consensus.settings import Rules, Settings, mysticeti
from synaptic_mesh.consensus.suspended import Suspended
from synaptic_mesh.consensus.sync import (
    NEVER_MS,
    PUSHED_BLOCKS_MAX,
    Fetcher,
    History,
    RoundSync,
)
from synaptic_mesh.consensus.tally import Committer
from synaptic_mesh.consensus.votes import CommitVotes
from synaptic_mesh.identity.committee import Committee

TWINS_KEPT = 2
"""Blocks of one slot that are accepted unasked: two are the evidence. More (at most n) only as ancestors of other
blocks.
"""


class Consensus:
    """One validator's (or observer's) view of one epoch. See the module's docstring for how to drive it."""

    def __init__(
        self,
        settings: Settings,
        committee: Committee,
        network: NetworkId | bytes,
        *,
        author: int | None,
        sign: Sign | None,
        random: Random,
        incarnation: int = 0,
        rules: Rules | None = None,
    ) -> None:
        if (author is None) != (sign is None):
            raise LocalError("a validator needs an author index and a signer, an observer neither")
        if author is not None and not 0 <= author < committee.size:
            raise LocalError(f"author index {author} is not in a committee of {committee.size}")
        self.settings = settings
        self.committee = committee
        self.network = bytes(network)
        self.author = author
        self.rules = rules or mysticeti(committee)
        self.dag = Dag(committee, self.rules.parent_stake)
        self.schedule = LeaderSchedule(
            committee, self.rules.leader_count, self.rules.wave_rounds, self.rules.is_pipelined
        )
        self.committer = Committer(self.dag, self.rules, self.schedule)
        previous = first_previous(network, committee.epoch)
        self.linearizer = Linearizer(self.dag, self.rules, self.schedule, Reputation(committee), previous)
        self.pacing = Pacing(settings, self.rules, self.dag, self.schedule)
        self.pool = Pool(settings.pool_transactions_max, settings.pool_bytes_max)
        self.suspended = Suspended(
            committee.size, settings.suspended_per_author_max, settings.suspended_bytes_per_author_max
        )
        self.history = History(settings.history_blocks_max, settings.history_bytes_max)
        self.fetcher = Fetcher(settings, committee.peers, random)
        self.rounds = RoundSync(settings, random)
        self.journal = Journal()
        self.amnesia = Amnesia(committee, author, random)
        self.votes = CommitVotes(committee)
        self.serving = Serving(settings, self.dag, self.history, self.journal)
        self.seen_round = [0] * committee.size  # highest round of any verified block, by author
        self.own_last = genesis_ref(network, committee.epoch, author or 0)
        self.included = [0] * committee.size  # newest round of each author among our own blocks' ancestors
        self._sign = sign
        self._incarnation = incarnation
        self._genesis = tuple(genesis_ref(network, committee.epoch, a) for a in range(committee.size))
        self._own_timestamp_ms = 0
        self._open_payloads = 0  # accepted blocks with transactions that are not ordered yet
        self._accused = 0  # authors of whom evidence has been handed out, as a mask
        self._peers: set[PeerId] = set()
        self._sorted_peers: list[PeerId] = []
        self._pushed: dict[PeerId, tuple[tuple[int, int], int]] = {}  # peer -> (its clock, our newest round), when
        self._advert_due_ms = NEVER_MS
        self._deadline_ms: int | None = None
        self._effects: list[Effect] = []
        self._now_ms = 0
        self._is_started = False

    # --- the three entries ----------------------------------------------------------------------------------

    def start(
        self,
        now_ms: int,
        *,
        blocks: Sequence[VerifiedBlock] = (),
        commits: Sequence[Commit] = (),
        executed_index: int = 0,
        is_store_trusted: bool = True,
        stored_round: int | None = None,
    ) -> list[Effect]:
        """Begin, from stored blocks (ancestors first) and commits. Afterwards the state is the one
        before the crash, and the effects hand out the commits above executed_index once more. Without an own block in
        the store, or with a store restored from a copy (is_store_trusted False), peers are asked for our newest block
        before we propose. stored_round: the oldest round that the store has in full, if `ReadStored` is carried out;
        None: late peers are served from memory alone.

        Raises InvariantBroken when the stored blocks do not lead to the stored commits.
        """
        invariant(not self._is_started, "start is called once")
        self._is_started = True
        self._begin(now_ms)
        self.serving.stored_round = stored_round
        self._recover(blocks, commits, executed_index)
        if self.author is not None and (not is_store_trusted or self.own_last.round == 0):
            self.amnesia.begin(now_ms)
            self.serving.in_doubt = self.own_last.digest if self.amnesia.is_active else b""
        self._advert_due_ms = now_ms + self.settings.advert_ms
        return self._settle()

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Advance by one event."""
        invariant(self._is_started, "start comes first")
        self._begin(now_ms)
        if isinstance(event, BlocksReceived):
            self._receive(event.peer, event.blocks, event.place)
        elif isinstance(event, StoredRead):
            self._effects += self.serving.read(event, self._now_ms)
        elif isinstance(event, Appended):
            self._effects.extend(self.journal.appended(event.token))
        elif isinstance(event, MessageReceived):
            self._answer(event.peer, event.message)
        elif isinstance(event, TransactionsSubmitted):
            self._submit(event.transactions)
        elif isinstance(event, PeerConnected):
            self._connect(event.peer)
        elif isinstance(event, PeerDisconnected):
            self._peers.discard(event.peer)
            self._sorted_peers = sorted(self._peers)
            self._pushed.pop(event.peer, None)
            self.rounds.forget(event.peer)
        else:
            self._own_round(event)
        return self._settle()

    def handle_deadline(self, now_ms: int) -> list[Effect]:
        """Do what has become due."""
        self._begin(now_ms)
        return self._settle()

    def deadline_ms(self) -> int | None:
        """When something becomes due if no event comes before."""
        return self._deadline_ms

    @property
    def commit_index(self) -> int:
        """Index of the newest commit, perhaps not handed out yet."""
        return self.linearizer.index

    @property
    def quorum_commit_index(self) -> int:
        """Highest commit that authors with quorum stake have reached, as far as their accepted blocks say."""
        return self.votes.quorum_index

    def _begin(self, now_ms: int) -> None:
        self._now_ms = max(now_ms, self._now_ms)
        self._effects = []

    def _settle(self) -> list[Effect]:
        """Whatever an event brought: decide, propose, write, ask, repeat, in this order."""
        self._decide()
        self.pacing.note_clock(self._now_ms)
        wait_ms = self._propose()
        append = self.journal.flush()
        if append is not None:
            self._effects.append(append)
        self._ask()
        repeat_ms = self._repeat()
        rounds_ms = NEVER_MS if self.journal.is_full else self.rounds.next_ms
        dues = (wait_ms, self.fetcher.next_ms, rounds_ms, repeat_ms, self._advert_due_ms)
        self._deadline_ms = min(*dues, self.amnesia.next_ms)
        effects, self._effects = self._effects, []
        return effects

    def _recover(self, blocks: Sequence[VerifiedBlock], commits: Sequence[Commit], executed_index: int) -> None:
        for block in blocks:
            if block.round <= self.dag.gc_round or self.dag.get(block.digest) is not None:
                continue
            missing = self.dag.missing(block)
            invariant(missing == [], f"stored {block} comes before its ancestors {missing}")
            if block.author == self.author:
                self._find_own(block)
                self.pool.restore(block.round, block.transactions)
            elif twins := self.dag.slot(block.round, block.author):
                self._accuse(twins[0].block, block)
            self._accept(block)
            self._decide()
        again, unwritten = check_commits(self.journal.restart(), commits, executed_index)
        for committed in unwritten:
            self.journal.add_commit(committed)
        accusations = [effect for effect in self._effects if isinstance(effect, Evidence)]
        self._effects = [*again, *accusations]  # a crash may have come between finding and reporting them

    # --- blocks come in -------------------------------------------------------------------------------------

    def _receive(self, peer: PeerId, blocks: tuple[VerifiedBlock, ...], place: int = 0) -> None:
        self.rounds.answered(peer, blocks, place)
        for block in blocks:
            if block.round > self.seen_round[block.author]:
                self.seen_round[block.author] = block.round
            reason = self._admit(peer, block)
            if not reason or (place and reason == "stale"):
                continue
            self._effects.append(Dropped(peer, reason, 1))
            if place and reason in ("ahead", "suspended", "unwritten"):
                self.rounds.begin_anew(peer)
                break

    def _admit(self, peer: PeerId, block: VerifiedBlock) -> str:
        """Accept or suspend a block; return why it was dropped instead, or an empty string."""
        dag, digest = self.dag, block.digest
        if dag.get(digest) is not None or digest in self.suspended:
            return ""
        if block.author == self.author:
            self._find_own(block)
        if block.round <= dag.gc_round:
            return "stale"
        if self.journal.is_full:
            self._note_ahead(peer, max(block.round, dag.clock_round + self.settings.sync_gap + 1))
            return "unwritten"
        if block.round > dag.clock_round + self.settings.sync_gap:
            self._note_ahead(peer, block.round)
            if block.round > dag.clock_round + self.settings.round_window:
                return "ahead"
        if not self._is_twin_wanted(block):
            return "twin"
        missing = dag.missing(block)
        if missing is None:
            return "false_ref"
        if not missing:
            self._accept(block)
            return ""
        evicted = self.suspended.add(block, missing)
        self.fetcher.want([ref for ref in missing if ref in self.suspended.wanted], peer, self._now_ms)
        if evicted is not None and evicted.ref in self.suspended.wanted:
            self.fetcher.want([evicted.ref], peer, self._now_ms)
        return "" if evicted is None else "suspended"

    def _note_ahead(self, peer: PeerId, round_: int) -> None:
        if peer in self._peers:
            self.rounds.note(peer, round_)

    def _is_twin_wanted(self, block: VerifiedBlock) -> bool:
        """Report equivocation; say whether the block may stay."""
        twins = [vertex.block for vertex in self.dag.slot(block.round, block.author)]
        if len(self.suspended):
            twins += self.suspended.slot(block.round, block.author)
        if not twins:
            return True
        self._accuse(twins[0], block)
        is_demanded = block.ref in self.suspended.wanted
        return len(twins) < TWINS_KEPT or (is_demanded and len(twins) < self.committee.size)

    def _accuse(self, one: VerifiedBlock, other: VerifiedBlock) -> None:
        if not self._accused >> one.author & 1 and one.author != self.author:
            self._accused |= 1 << one.author
            self._effects.append(Evidence(one.author, one.round, evidence_of(one, other)))

    def _accept(self, block: VerifiedBlock) -> None:
        """Accept a block, and every block that waited only for it."""
        ready = deque([block])
        while ready:
            block = ready.popleft()
            vertex = self.dag.insert(block)
            if block.header.transaction_count:
                self._open_payloads += 1
            self.committer.note(vertex)
            self.journal.add_block(block)
            self.serving.note(block)
            if block.header.commit_votes:
                self.votes.note(block.header)
            if len(self.suspended):
                freed = self.suspended.accepted(block.ref)
                ready.extend(child for child in freed if self.dag.missing(child) is not None)

    # --- decided leaders go out -----------------------------------------------------------------------------

    def _decide(self) -> None:
        while (decision := self.committer.next_decision()) is not None:
            self.committer.advance()
            if decision.verdict is Verdict.SKIP or decision.leader is None:
                self._effects.append(Skipped(decision.round, decision.author, decision.direct))
                continue
            turn = (self.schedule.demoted, self.schedule.benched, self.schedule.favoured)
            commit, vertices = self.linearizer.commit(decision.leader)
            self.votes.note_own(commit.index, self.linearizer.digest)
            blocks = tuple([vertex.block for vertex in vertices])
            self.journal.add_commit(Committed(commit, self.linearizer.digest, blocks, decision.direct))
            self._order(vertices)
            self._collect_garbage(commit.gc_round)
            if (commit.demoted, commit.benched, commit.favoured) != turn:
                self.committer.reset()
            self.pacing.note_commit(self._now_ms)
        self.pacing.cursor_round = self.committer.round

    def _order(self, vertices: list[Vertex]) -> None:
        for vertex in vertices:
            if vertex.block.header.transaction_count:
                self._open_payloads -= 1
                if vertex.author == self.author:
                    self.pool.release(vertex.round)

    def _collect_garbage(self, gc_round: int) -> None:
        if gc_round <= self.dag.gc_round:
            return
        removed = self.dag.prune(gc_round)
        for vertex in removed:
            if vertex.commit_index == 0 and vertex.block.header.transaction_count:
                self._open_payloads -= 1
        self.history.add(removed)
        self.pool.expire(gc_round)
        for block in self.suspended.expire(gc_round):
            if block.round > gc_round and self.dag.get(block.digest) is None and self.dag.missing(block) == []:
                self._accept(block)

    # --- own blocks -----------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return self._open_payloads > 0 or len(self.pool) > 0

    def _propose(self) -> int:
        """Propose if it is time. Returns when it will be, as far as that is known now."""
        if self.author is None or self.amnesia.is_active or self.journal.has_own or self._is_far_behind():
            return NEVER_MS
        own = self.own_last
        if own.round > self.dag.gc_round and self.dag.get(own.digest) is None:
            return NEVER_MS  # our newest block, known from peers, is still being fetched
        round_ = self.pacing.next_round()
        due_ms = self.pacing.proposal_ms(round_, self._is_busy())
        if due_ms is None:
            return NEVER_MS
        if due_ms > self._now_ms:
            return due_ms
        drift_ms = self.settings.drift_ms_max
        ancestors, later_ms = choose_ancestors(
            self.dag, self.rules, round_, own, self.included, self._genesis, self._now_ms + drift_ms
        )
        if ancestors is None:
            return later_ms - drift_ms if later_ms else NEVER_MS
        self._seal(round_, ancestors)
        self._decide()
        self.pacing.note_clock(self._now_ms)
        return NEVER_MS  # the next one waits for this one's Appended

    def _is_far_behind(self) -> bool:
        """Blocks proposed now would be below the others' gc round: catch up first."""
        limit = self.dag.clock_round + self.rules.gc_depth // 2
        if max(self.seen_round) <= limit:
            return False
        ahead = [author for author, round_ in enumerate(self.seen_round) if round_ > limit]
        return self.committee.is_valid(self.committee.stake(ahead))

    def _seal(self, round_: int, ancestors: tuple[BlockRef, ...]) -> None:
        author, sign = self.author, self._sign
        if author is None or sign is None:
            broken("an observer proposes")
        invariant(round_ > self.pacing.last_proposed, f"round {round_} proposed twice")
        invariant(not self.dag.slot(round_, author), f"own slot of round {round_} is taken")
        settings = self.settings
        self._own_timestamp_ms = max(self._now_ms, self._own_timestamp_ms)
        transactions = self.pool.take(round_, settings.block_transactions_max, settings.block_payload_bytes_max)
        index = self.linearizer.index
        block = seal_block(
            sign,
            network=self.network,
            epoch=self.committee.epoch,
            round_=round_,
            author=author,
            incarnation=self._incarnation,
            timestamp_ms=self._own_timestamp_ms,
            ancestors=ancestors,
            transactions=transactions,
            commit_votes=(CommitVote(index, self.linearizer.digest),) if index else (),
        )
        self._adopt_own(block)
        self.pacing.note_proposal(round_, self._now_ms)
        self._accept(block)
        self.journal.add_own(block)

    def _adopt_own(self, block: VerifiedBlock) -> None:
        self.own_last = block.ref
        for ref in block.header.ancestors:
            if ref.round > self.included[ref.author]:
                self.included[ref.author] = ref.round

    def _find_own(self, block: VerifiedBlock) -> None:
        """A block with our signature that we do not hold: from before a loss of the store, or the key is stolen."""
        if taken := self.dag.slot(block.round, block.author):
            if block.header.incarnation >= self._incarnation:
                broken(f"two blocks carry our signature in round {block.round}: who else holds the key?")
            self._yield_slot(taken[0].block, block)
        elif block.round > self.pacing.last_proposed:
            self.pacing.last_proposed = block.round
            self._own_timestamp_ms = max(self._own_timestamp_ms, block.header.timestamp_ms)
            self._adopt_own(block)

    def _yield_slot(self, ours: VerifiedBlock, earlier: VerifiedBlock) -> None:
        """An earlier life had signed and sent this round, and nobody who was asked had known. While nothing of ours
        stands on the second block it is not shown to anybody, and our next block stands on the first one.
        """
        is_older = earlier.header.incarnation < ours.header.incarnation
        if self.own_last != ours.ref or not is_older:
            return
        self.journal.withdraw(ours.digest)
        self.pool.give_back(ours.round)
        self.serving.withhold(ours.digest)
        self.included = [0] * self.committee.size
        self._adopt_own(earlier)

    # --- peers ----------------------------------------------------------------------------------------------

    def _connect(self, peer: PeerId) -> None:
        self._peers.add(peer)
        self._sorted_peers = sorted(self._peers)
        self._effects.append(Send(peer, self._advert()))
        if self.amnesia.is_active:
            self._effects.append(Send(peer, self.amnesia.request()))

    def _advert(self) -> Advert:
        return Advert(self.dag.clock_round, self.serving.oldest_round(), self.linearizer.index)

    def _answer(self, peer: PeerId, message: BlocksRequest | RoundsRequest | Advert | OwnRoundRequest) -> None:
        serving, now_ms = self.serving, self._now_ms
        if not isinstance(message, Advert) and serving.credit.left(peer, now_ms) <= 0:
            self._effects.append(Dropped(peer, "asks_too_much", 1))
        elif isinstance(message, BlocksRequest):
            self._effects += serving.named(peer, message.refs, now_ms)
        elif isinstance(message, RoundsRequest):
            self._answer_rounds(peer, message)
        elif isinstance(message, Advert):
            self._note_advert(peer, message)
        else:
            index = self.committee.index_of(peer)
            newest = None if index is None else serving.newest_of(index)
            encoded = newest.encoded if newest else b""
            serving.credit.spend(peer, len(encoded), now_ms)
            self._effects.append(Send(peer, OwnRoundAnswer(message.nonce, encoded)))

    def _answer_rounds(self, peer: PeerId, request: RoundsRequest) -> None:
        if request.first_round < self.serving.oldest_round():
            self.serving.credit.spend(peer, 0, self._now_ms)
            self._effects.append(Send(peer, self._advert()))  # says from where on we could serve
            return
        self._effects += self.serving.rounds(peer, request, self._now_ms)

    def _note_advert(self, peer: PeerId, advert: Advert) -> None:
        clock_round = self.dag.clock_round
        if advert.history_round > max(1, clock_round - 1):
            if peer in self._peers:
                self.rounds.note_too_young(peer, advert.history_round)
                stranded = self.rounds.stranded(self.committee, max(1, clock_round - 1))
                self._effects += [stranded] if stranded else []
            return
        self.rounds.note_servable(peer)
        if advert.clock_round > clock_round:
            # Even one round of lag is worth asking for: nothing else may come.
            self._note_ahead(peer, max(advert.clock_round - 1, clock_round + self.settings.sync_gap + 1))
        if self._is_push_due(peer, advert.clock_round):
            first = max(advert.clock_round - 1, self.pacing.last_proposed - PUSHED_BLOCKS_MAX + 1, 1)
            rounds = range(first, self.pacing.last_proposed + 1)
            own = [vertex.block for r in rounds for vertex in self.dag.slot(r, self.author or 0)]
            self._effects += self.serving.pushed(peer, own, self._now_ms)

    def _is_push_due(self, peer: PeerId, clock_round: int) -> bool:
        """Does this peer lack blocks of ours? The same ones are pushed again only after a while: adverts come late."""
        if self.author is None or clock_round > self.pacing.last_proposed or peer not in self._peers:
            return False
        if self.serving.credit.left(peer, self._now_ms) <= 0:
            return False
        what, pushed = (clock_round, self.pacing.last_proposed), self._pushed.get(peer)
        if pushed is not None and pushed[0] == what and self._now_ms < pushed[1] + self.settings.backoff_ms_max:
            return False
        self._pushed[peer] = (what, self._now_ms)
        return True

    def _submit(self, transactions: tuple[bytes, ...]) -> None:
        if self.author is None:
            reason = "this node observes and cannot propose: submit to a validator"
            self._effects.append(TransactionsRefused(transactions, reason))
            return
        refused, reason = self.pool.submit(transactions)
        if refused:
            self._effects.append(TransactionsRefused(tuple(refused), reason))

    def _own_round(self, event: OwnRoundAnswered) -> None:
        if event.block is not None and event.block.author != self.author:
            self._effects.append(Dropped(event.peer, "answer", 1))
            return
        if self.amnesia.answered(event.peer, event.nonce) and event.block is not None:
            self._receive(event.peer, (event.block,))
        if not self.amnesia.is_active:
            self.serving.in_doubt = b""

    # --- asking and repeating -------------------------------------------------------------------------------

    def _ask(self) -> None:
        now_ms, clock_round = self._now_ms, self.dag.clock_round
        if not self.journal.is_full:
            stuck_round = self.fetcher.stuck_round() if now_ms >= self.rounds.next_ms else None
            request = self.rounds.due(clock_round, self.dag.gc_round, stuck_round, self._sorted_peers, now_ms)
            self._effects += [Send(*request)] if request is not None else []
        if now_ms >= self.fetcher.next_ms:
            round_max = clock_round + self.settings.sync_gap
            requests = self.fetcher.due(self.suspended.wanted, self._sorted_peers, round_max, now_ms)
            for peer in sorted(requests):
                self._effects.append(Send(peer, BlocksRequest(tuple(requests[peer]))))

    def _repeat_due_ms(self) -> int:
        return self.pacing.repeat_ms(self._is_busy()) if self.own_last.round and self.author is not None else NEVER_MS

    def _repeat(self) -> int:
        """Against loss: our newest block once more when nothing moves, and now and then how far we are. Returns when
        the block is due next.
        """
        now_ms, due_ms = self._now_ms, self._repeat_due_ms()
        if now_ms >= due_ms:
            self.pacing.note_repeat(now_ms)
            due_ms = self._repeat_due_ms()
            own = self.dag.get(self.own_last.digest)
            if own is not None and self.serving.is_shown(own.digest):
                self._effects.append(Broadcast(Blocks((own.block.encoded,))))
                self._advert_due_ms = now_ms
        if now_ms >= self._advert_due_ms:
            self._advert_due_ms = now_ms + self.settings.advert_ms
            self._effects.append(Broadcast(self._advert()))
        if now_ms >= self.amnesia.next_ms:
            self.amnesia.note_asked(now_ms)
            self._effects.append(Broadcast(self.amnesia.request()))
        return due_ms
