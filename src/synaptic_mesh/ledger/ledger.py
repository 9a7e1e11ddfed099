"""The ledger: takes commits in order, holds the state that every replica agrees on.

    ledger = Ledger(genesis)
    events = ledger.apply(OrderedCommit(1, timestamp_ms, transactions))
    ledger.state_root(), ledger.job(job_id), ledger.balance(peer)

`apply` is deterministic: equal genesis and equal commits give equal events and equal roots on every machine. It
advances progress time, releases stake whose unbonding time is over, makes the transitions that are due, applies the
transactions in order (`execution.py`), makes the transitions they caused, pays the validators where it is time
(`rewards.py`), and checks the supply. A transaction whose nonce is not the sender's next one (a replay or a gap), or
whose sender has no account, is refused and consumes nothing. Any other consumes its nonce and pays its fee, and its
action then either applies wholly or changes nothing: LedgerReject is the only way to fail. Every other exception leaves
`apply` and stops the replica before it writes anything.
"""

import struct

import msgspec

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import LocalError, invariant
from synaptic_mesh.base.ids import Digest, NetworkId, short
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.ledger.account_proof import AccountProof, StateParts, state_root_of
from synaptic_mesh.ledger.account_table import PAGE_ACCOUNTS, Account
from synaptic_mesh.ledger.accounts import Bank
from synaptic_mesh.ledger.admission import check_manifest
from synaptic_mesh.ledger.amounts import format_amount
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.enrolment import check_funds
from synaptic_mesh.ledger.equivocation import Judge, no_judge
from synaptic_mesh.ledger.events import JobChanged, LedgerEvent, Unbonded
from synaptic_mesh.ledger.execution import Executor
from synaptic_mesh.ledger.fees import fee_of
from synaptic_mesh.ledger.genesis import Genesis, check_genesis, genesis_accounts, genesis_committee, network_id
from synaptic_mesh.ledger.job_table import JobTable
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.manifest import Manifest
from synaptic_mesh.ledger.phases import advance_job
from synaptic_mesh.ledger.reject import LedgerReject
from synaptic_mesh.ledger.rewards import pay_rewards
from synaptic_mesh.ledger.signing import VerifiedTransaction
from synaptic_mesh.ledger.transactions import ActionUnion, SubmitJob, Transfer, TransferMany
from synaptic_mesh.ledger.transfers import total_of


class OrderedCommit(msgspec.Struct, frozen=True):
    """One position of the order that consensus decided. `index` counts from 1 without gaps; `timestamp_ms` is the
    commit's, as agreed; `authors` are the validators whose blocks it orders, each at least once, in any order.
    """

    index: int
    timestamp_ms: int
    transactions: tuple[VerifiedTransaction, ...]
    authors: tuple[bytes, ...] = ()


class Ledger:
    """See the module's docstring. Raises LocalError for a genesis that breaks a rule.

    judge: says whom evidence of equivocation convicts; every replica of a network has the same.
    one_by_one: apply transfers one after the other. It changes nothing but the speed: tests compare the two.
    """

    def __init__(self, genesis: Genesis, judge: Judge = no_judge, *, one_by_one: bool = False) -> None:
        check_genesis(genesis)
        self.network: NetworkId = network_id(genesis)
        self.committee: Committee = genesis_committee(genesis)
        self.semantics_id = genesis.semantics_id
        self.constants = genesis.constants
        self.economics = genesis.economics
        self.commit_index = 0
        self.progress_ms = 0
        self._timestamp_ms: int | None = None  # the highest seen
        self._bank = Bank(genesis_accounts(genesis))
        self._jobs = JobTable()
        self._executor = Executor(self.network, genesis.epoch, self._jobs, judge, one_by_one=one_by_one)
        self._genesis_supply = self._bank.total()
        self._convicted: set[bytes] = set()
        self._active: set[bytes] = set()  # authors of blocks since the last payment of rewards

    def apply(self, commit: OrderedCommit) -> list[LedgerEvent]:
        """Apply the next commit; return what happened, in order. The state has changed wholly when this returns; when
        it raises, the ledger must not be used any more.
        """
        invariant(
            commit.index == self.commit_index + 1, f"commit {commit.index} does not follow commit {self.commit_index}"
        )
        self._advance_time(commit)
        context = self._context([Unbonded(peer, amount) for peer, amount in self._bank.release(commit.index)])
        touched: set[bytes] = set()
        for job_id in self._jobs.due(self.progress_ms):
            self._advance(context, job_id, touched)
        self._executor.apply(context, commit.transactions, touched)
        for job_id in sorted(touched):
            self._advance(context, job_id, touched)
        self._active.update(commit.authors)
        pay_rewards(context, self._active)
        for job_id in sorted(touched):
            self._jobs.refresh(job_id, self.progress_ms)
            context.events.append(JobChanged(job_id))
        self._check_supply()
        return context.events

    # Queries.

    def account(self, peer: bytes) -> Account:
        """Return the account of a peer; one that was never opened is empty."""
        return self._bank.get(peer)

    def balance(self, peer: bytes) -> int:
        """Return a peer's balance."""
        return self._bank.get(peer).balance

    def accounts(self) -> tuple[bytes, ...]:
        """Return the ids of all accounts, ascending."""
        return self._bank.peers()

    @property
    def account_count(self) -> int:
        """Number of accounts."""
        return len(self._bank)

    def supply(self) -> int:
        """Return all money there is: what genesis created and inflation minted, less what was burned."""
        return self._genesis_supply + self._bank.minted - self._bank.burned

    @property
    def minted(self) -> int:
        """What inflation has created since genesis."""
        return self._bank.minted

    @property
    def burned(self) -> int:
        """What of the fees was destroyed since genesis."""
        return self._bank.burned

    @property
    def collected(self) -> int:
        """Fees, and what divisions left over, that the validators are paid next."""
        return self._bank.collected

    def is_convicted(self, validator: bytes) -> bool:
        """Answer whether a validator was punished for equivocation in this epoch."""
        return validator in self._convicted

    @property
    def treasury(self) -> int:
        """What slashes and fees for silence have brought in and nobody was granted."""
        return self._bank.treasury

    def job(self, job_id: bytes) -> JobState | None:
        """Return the job's snapshot, or None. It is the same object until the job changes."""
        return self._jobs.state(job_id)

    def jobs(self) -> tuple[JobState, ...]:
        """Return the snapshots of all jobs, ascending by id."""
        return tuple(state for job_id in self._jobs.ids() if (state := self._jobs.state(job_id)) is not None)

    def check_submission(self, sponsor: bytes, manifest: Manifest) -> None:
        """Raise LocalError, naming the value, if SubmitJob of this manifest would be refused now for what is in it or
        for lack of funds. For use before signing.
        """
        check_manifest(manifest, self.semantics_id, self.committee.size)
        fee = fee_of(self.economics, SubmitJob(manifest)) + self.economics.fee_open_job
        try:
            check_funds(self.balance(sponsor), manifest, fee)
        except LedgerReject as reject:
            raise LocalError(str(reject)) from None

    def objection(self, sender: bytes, action: ActionUnion) -> str:
        """Return why the action would be refused now for lack of an account or of money, or "". For use before a
        transaction is signed, or takes room in a block; nonces are the caller's business.
        """
        if sender not in self._bank:
            return f"{short(sender)} has no account: it needs a transfer first"
        account, fee, amount = self._bank.get(sender), fee_of(self.economics, action), 0
        if not account.balance and not account.stake:
            return f"{short(sender)} has neither balance nor stake: nothing pays for its transactions"
        if account.balance + account.unlocked < fee:
            return f"the fee is {format_amount(fee)} rUv, {short(sender)} has {format_amount(account.balance)} rUv"
        if isinstance(action, Transfer):
            amount = action.amount
        elif isinstance(action, TransferMany):
            amount = total_of(action.records)
        if amount and account.balance < amount + fee:
            needed = format_amount(amount + fee)
            return f"{needed} rUv needed, but {short(sender)} has a balance of {format_amount(account.balance)} rUv"
        return ""

    def state_root(self) -> Digest:
        """Return one root over accounts, jobs, treasury, progress time and commit index. Only what has changed since
        the last call is hashed again.
        """
        return self._combine(self._bank.root(), self._jobs.root())

    def prove(self, peer: bytes) -> AccountProof | None:
        """Return the proof that the state root covers the account as it is now, None for one that was never opened."""
        page = self._bank.page_of(peer)
        return None if page is None else AccountProof(*self._bank.prove(page), self._parts(self._jobs.root()))

    def page_of(self, peer: bytes) -> int | None:
        """Return the page of accounts that holds the account, for good; None for one that was never opened."""
        return self._bank.page_of(peer)

    def prove_pages(self) -> tuple[AccountProof, ...]:
        """Return the proofs of all pages, in order: whoever keeps them can prove any account as it is now. They take
        80 bytes for each account; 4,096 pages are the most there can be.
        """
        parts, pages = self._parts(self._jobs.root()), -(-len(self._bank) // PAGE_ACCOUNTS)
        return tuple([AccountProof(*self._bank.prove(page), parts) for page in range(pages)])

    def recomputed_state_root(self) -> Digest:
        """Return the same root from scratch: the definition, and a check on the incremental one."""
        return self._combine(self._bank.recomputed_root(), self._jobs.recomputed_root())

    def recounted_supply(self) -> int:
        """Return the supply by visiting every account."""
        return self._bank.recount()

    # One commit.

    def _advance_time(self, commit: OrderedCommit) -> None:
        """Progress time is commit time without its jumps: an outage of the network expires no deadline."""
        invariant(0 <= commit.timestamp_ms < 1 << 63, f"commit {commit.index} is of {commit.timestamp_ms} ms")
        self.commit_index = commit.index
        if self._timestamp_ms is not None:
            elapsed_ms = max(commit.timestamp_ms - self._timestamp_ms, 0)
            self.progress_ms += min(elapsed_ms, self.constants.progress_step_ms_max)
        self._timestamp_ms = max(commit.timestamp_ms, self._timestamp_ms or 0)

    def _context(self, events: list[LedgerEvent]) -> CommitContext:
        return CommitContext(
            self._bank,
            self.committee,
            self._convicted,
            self.constants,
            self.economics,
            self.semantics_id,
            self.commit_index,
            self.progress_ms,
            events,
        )

    def _advance(self, context: CommitContext, job_id: bytes, touched: set[bytes]) -> None:
        job = self._jobs.get(job_id)
        invariant(job is not None, f"job {short(job_id)} is touched but unknown")
        if job is not None and advance_job(context, job):
            touched.add(job_id)

    def _check_supply(self) -> None:
        bank, supply = self._bank, self.supply()
        invariant(bank.total() == supply, f"supply was {supply} and is {bank.total()} at {self.commit_index}")
        invariant(bank.held == self._jobs.held, f"{bank.held} held for jobs, which account for {self._jobs.held}")

    def _combine(self, accounts: Digest, jobs: Digest) -> Digest:
        return state_root_of(self.network, accounts, self._parts(jobs))

    def _parts(self, jobs: Digest) -> StateParts:
        timestamp_ms = -1 if self._timestamp_ms is None else self._timestamp_ms
        bank = self._bank
        money = struct.pack("<qqqqq", bank.treasury, bank.held, bank.collected, bank.minted, bank.burned)
        position = struct.pack("<qqq", self.progress_ms, timestamp_ms, self.commit_index)
        validators = hash_bytes("SM/validators/v1", encode((sorted(self._convicted), sorted(self._active))))
        return StateParts(jobs, money, position, validators)
