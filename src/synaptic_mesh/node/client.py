"""What programs use to move money: submit transactions, follow them until they are executed, ask for accounts.

    async with open_client(directory) as client:
        receipt = await client.transfer([(recipient, amount)])
        (state,) = await client.accounts([client.key.peer_id])

A client is linked to validators over mutual TLS like a node, and is none: it hears no blocks. One validator's word is
one validator's word. So `transfer` and `submit` ask others too, until validators with stake of v = (S + 2)//3 (more
than what may lie) say that the sender's nonce is used, which nothing but a transaction with its signature can do.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.base.ids import NetworkId, PeerId, short
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.identity.envelope import Opened
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.checkpoint import Checkpoint
from synaptic_mesh.ledger.genesis import Genesis, genesis_committee, network_id
from synaptic_mesh.ledger.light_client import verify_balance_untrusted, verify_certificate_untrusted
from synaptic_mesh.ledger.signing import sign_transaction
from synaptic_mesh.ledger.transactions import ActionUnion, Transaction, Transfer, TransferMany
from synaptic_mesh.ledger.transfers import pack_transfers
from synaptic_mesh.node.clock import NodeClock
from synaptic_mesh.node.directory import NodeFiles, read_node
from synaptic_mesh.node.messages import (
    QUESTION_ACCOUNTS_MAX,
    TOPIC_CLIENT,
    AccountsAnswer,
    AccountsQuestion,
    NodeMessage,
    Outcomes,
    ProofAnswer,
    ProofQuestion,
)
from synaptic_mesh.node.submitter import Finished, Submitter
from synaptic_mesh.storage.incarnation import next_incarnation
from synaptic_mesh.transport.mesh import MeshNetwork
from synaptic_mesh.transport.network import Network

LINK_TIMEOUT_MS = 10_000
QUESTION_TIMEOUT_S = 1.0
"""Then the question is asked again: control messages may be lost."""
QUESTIONS_MAX = 10
PROOF_PAUSE_S = 0.05
"""Between questions for proofs: nodes answer no faster."""
CONFIRM_PAUSE_S = 0.02
CONFIRM_TIMEOUT_S = 10.0

OnFinished = Callable[[PeerId, Sequence[Finished]], None]


class AccountState(msgspec.Struct, frozen=True):
    """An account as one validator sees it after commit `commit`. Amounts are integers in the smallest unit."""

    peer: PeerId
    commit: int
    balance: int
    stake: int
    locked: int
    nonce: int


class ProvedAccount(msgspec.Struct, frozen=True):
    """An account as a quorum of validators signed it, in the state after the checkpoint's commit."""

    peer: PeerId
    checkpoint: Checkpoint
    account: Account


class Receipt(msgspec.Struct, frozen=True):
    """A transaction that was executed. `reason` is empty when it was accepted, else it says why it changed nothing.
    `confirmed_by` are the validators that say its nonce is used, the one it was submitted to first.
    """

    nonce: int
    commit: int
    reason: str
    confirmed_by: tuple[PeerId, ...]


class MeshClient:
    """One account's connection to the validators of a network. Make it with `open_client`, or over any network and then
    `start` and `close` it. Use it from one event loop.
    """

    def __init__(self, key: KeyPair, genesis: Genesis, network: Network) -> None:
        self.key = key
        self.network_id: NetworkId = network_id(genesis)
        self.committee: Committee = genesis_committee(genesis)
        self._genesis = genesis
        self.on_finished: OnFinished | None = None
        self._network = network
        self._clock = NodeClock()
        self._submitters: dict[PeerId, Submitter] = {}
        self._timers: dict[PeerId, asyncio.TimerHandle] = {}
        self._armed_ms: dict[PeerId, int] = {}  # when the timer rings
        self._questions: dict[int, tuple[PeerId, asyncio.Future[AccountsAnswer | ProofAnswer]]] = {}
        self._question = 0
        self._following: dict[tuple[PeerId, int], asyncio.Future[Finished]] = {}
        self._nonce: int | None = None
        self._submitting = asyncio.Lock()

    async def start(self, timeout_ms: int = LINK_TIMEOUT_MS) -> None:
        """Link to validators. Returns when validators with stake of v are linked and answer. Raises ResourceError when
        they are not within the time.
        """
        await self._network.start(self._on_message)
        async with self._in_time(timeout_ms / 1_000, "the network's validators did not answer"):
            while not self.committee.is_valid(sum(map(self.committee.stake_of, self.validators()))):
                await self._network.wait_for_peers(self.committee.peers, 100)
            await self.accounts([self.key.peer_id])

    async def close(self) -> None:
        """Close the links. What has no outcome yet may still be executed."""
        for timer in self._timers.values():
            timer.cancel()
        await self._network.close()

    def validators(self) -> list[PeerId]:
        """Validators that are linked now, ascending."""
        return sorted(peer for peer in self._network.peers() if peer in self.committee)

    async def accounts(self, peers: Sequence[bytes], validator: PeerId | None = None) -> list[AccountState]:
        """Return what a validator says these accounts hold; accounts that were never opened are empty.

        Raises ResourceError when it does not answer, LocalError for more than 1,024 accounts.
        """
        if len(peers) > QUESTION_ACCOUNTS_MAX:
            raise LocalError(f"{len(peers)} accounts in one question, at most {QUESTION_ACCOUNTS_MAX} are allowed")
        for _ in range(QUESTIONS_MAX):
            answer = await self._ask(validator or self._some_validator(), tuple(peers))
            if answer is not None:
                states = zip(peers, answer.accounts, strict=True)
                return [AccountState(PeerId(peer), answer.commit, *state) for peer, state in states]
        raise ResourceError("no validator answers questions about accounts")

    async def proved_account(self, peer: bytes) -> ProvedAccount:
        """Return what an account held at the newest checkpoint of some validator: proved by signatures of a quorum, so
        nobody's word is taken, but how new it is depends on who was asked.

        Raises ResourceError when no validator proves it: there is no checkpoint yet, or the account was opened later.
        """
        why = "none answers"
        for turn in range(QUESTIONS_MAX):
            self._question += 1
            question = ProofQuestion(self._question, bytes(peer))
            answer = await self._wait_for(self._some_validator(turn), question.number, question)
            if not isinstance(answer, ProofAnswer):
                continue
            try:
                certificate = verify_certificate_untrusted(self._genesis, answer.certificate)
                account = verify_balance_untrusted(self._genesis, answer.certificate, peer, answer.proof)
            except PeerError as error:
                why = str(error) if answer.proof else "it was not open at the newest checkpoint"
                await asyncio.sleep(PROOF_PAUSE_S)
                continue
            return ProvedAccount(PeerId(peer), certificate.checkpoint, account)
        raise ResourceError(f"no validator proves account {short(peer)}: {why}")

    async def transfer(self, transfers: Sequence[tuple[bytes, int]]) -> Receipt:
        """Move amounts (integers in the smallest unit) to receivers: all of them or, when the balance does not cover
        their sum, none. Returns when that is executed. Raises LocalError for amounts or receivers that no ledger takes.
        """
        records = pack_transfers(transfers)
        single = len(transfers) == 1
        return await self.submit(Transfer(*transfers[0]) if single else TransferMany(records))

    async def submit(self, action: ActionUnion) -> Receipt:
        """Sign an action with this account's next nonce, submit it and return its receipt, confirmed by stake of v.

        Raises LocalError with the reason when the validator does not take it: nothing was executed then.
        """
        async with self._submitting:
            validator = self._some_validator()
            (state,) = await self.accounts([self.key.peer_id], validator)
            nonce = self._nonce = max(state.nonce, self._nonce or 0)
            transaction = Transaction(self.network_id, self.committee.epoch, self.key.peer_id, nonce, action)
            data = sign_transaction(self.key, transaction)
            self._nonce += 1
            number = self.push(validator, data)
            finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
            self._following[validator, number] = finished
            self.flush(validator)
        done = await finished
        if not done.commit:
            self._nonce = None  # it was not used: the ledger's word counts
            raise LocalError(f"the transaction was not taken: {done.reason}")
        confirmed_by = await self._confirm(validator, nonce)
        return Receipt(nonce, done.commit, done.reason, confirmed_by)

    def push(self, validator: PeerId, transaction: bytes) -> int:
        """Queue signed bytes for a validator; return their number. `flush` sends; `on_finished` hears the outcome. For
        programs that sign for themselves and submit many: a sender's nonces must go through one validator, ascending.
        """
        submitter = self._submitters.get(validator)
        if submitter is None:
            submitter = self._submitters[validator] = Submitter()
        return submitter.push(transaction)

    def flush(self, validator: PeerId) -> None:
        """Send what the window to this validator has room for."""
        submitter = self._submitters.get(validator)
        if submitter is None:
            return
        now_ms = self._clock.now_ms()
        for message in submitter.take(now_ms):
            self._network.send(validator, TOPIC_CLIENT, encode(message))
        self._arm(validator, submitter, now_ms)

    def waiting_count(self) -> int:
        """Transactions without an outcome."""
        return sum(map(len, self._submitters.values()))

    def _some_validator(self, turn: int = 0) -> PeerId:
        linked = self.validators()
        if not linked:
            raise ResourceError("no validator is linked: is the network up?")
        return linked[(int.from_bytes(self.key.peer_id[:4], "big") + turn) % len(linked)]

    async def _ask(self, validator: PeerId, peers: tuple[bytes, ...]) -> AccountsAnswer | None:
        self._question += 1
        answer = await self._wait_for(validator, self._question, AccountsQuestion(self._question, peers))
        return answer if isinstance(answer, AccountsAnswer) and len(answer.accounts) == len(peers) else None

    async def _wait_for(
        self, validator: PeerId, number: int, question: AccountsQuestion | ProofQuestion
    ) -> AccountsAnswer | ProofAnswer | None:
        future: asyncio.Future[AccountsAnswer | ProofAnswer] = asyncio.get_running_loop().create_future()
        self._questions[number] = (validator, future)
        self._network.send(validator, TOPIC_CLIENT, encode(question))
        try:
            async with asyncio.timeout(QUESTION_TIMEOUT_S):
                return await future
        except TimeoutError:
            return None
        finally:
            del self._questions[number]

    async def _confirm(self, validator: PeerId, nonce: int) -> tuple[PeerId, ...]:
        """Ask the others until stake of v says that the nonce is used."""
        confirmed = [validator]
        async with self._in_time(CONFIRM_TIMEOUT_S, f"too few validators confirm nonce {nonce}"):
            while not self.committee.is_valid(sum(map(self.committee.stake_of, confirmed))):
                for other in self.validators():
                    if other in confirmed or self.committee.is_valid(sum(map(self.committee.stake_of, confirmed))):
                        continue
                    answer = await self._ask(other, (self.key.peer_id,))
                    if answer is not None and answer.accounts[0][3] > nonce:
                        confirmed.append(other)
                await asyncio.sleep(CONFIRM_PAUSE_S)
        return tuple(confirmed)

    @contextlib.asynccontextmanager
    async def _in_time(self, timeout_s: float, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            raise ResourceError(f"{what} within {timeout_s:.0f} s ({len(self.validators())} are linked)") from None

    def _on_message(self, message: Opened) -> None:
        if message.sender not in self.committee or message.topic != TOPIC_CLIENT:
            return
        try:
            decoded = cast(NodeMessage, decode_untrusted(cast(Any, NodeMessage), message.payload))
        except PeerError:
            return
        if isinstance(decoded, Outcomes):
            self._take_outcomes(message.sender, decoded)
            return
        asked, future = self._questions.get(decoded.number, (None, None))
        if asked == message.sender and future is not None and not future.done():
            future.set_result(decoded)

    def _take_outcomes(self, validator: PeerId, outcomes: Outcomes) -> None:
        submitter = self._submitters.get(validator)
        if submitter is None:
            return
        finished = submitter.outcomes(outcomes, self._clock.now_ms())
        for each in finished:
            waiting = self._following.pop((validator, each.number), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(each)
        if finished and self.on_finished is not None:
            self.on_finished(validator, finished)
        self.flush(validator)

    def _arm(self, validator: PeerId, submitter: Submitter, now_ms: int) -> None:
        """See to it that a timer rings no later than there is something to do. One that rings early does no harm."""
        due_ms = submitter.deadline_ms()
        if due_ms is None:
            return
        timer = self._timers.get(validator)
        if timer is not None:
            if self._armed_ms[validator] <= due_ms:
                return
            timer.cancel()
        delay_s = max(due_ms - now_ms, 1) / 1_000
        self._armed_ms[validator] = due_ms
        self._timers[validator] = asyncio.get_running_loop().call_later(delay_s, self._on_deadline, validator)

    def _on_deadline(self, validator: PeerId) -> None:
        del self._timers[validator]
        self._submitters[validator].handle_deadline(self._clock.now_ms())
        self.flush(validator)


@contextlib.asynccontextmanager
async def open_client(directory: Path) -> AsyncIterator[MeshClient]:
    """Give the client whose key, genesis, credentials and validators' endpoints lie in `directory`, linked; close it
    afterwards. The directory is laid out like a node's (`directory.py`).
    """
    client = make_client(read_node(directory), next_incarnation(directory / "incarnation"))
    try:
        await client.start()
        yield client
    finally:
        await client.close()


def make_client(files: NodeFiles, incarnation: int) -> MeshClient:
    """Return a client over real links, not started yet."""
    from synaptic_mesh.transport.zenoh_links import ZenohLinks
    from synaptic_mesh.transport.zenoh_settings import ZenohSettings

    peers = files.settings.peers
    members = tuple(PeerId(bytes.fromhex(peer.peer)) for peer in peers)
    settings = ZenohSettings(
        listen=(),
        connect=tuple(peer.endpoint for peer in peers if peer.endpoint),
        credentials=files.credentials,
        members=(*members, files.key.peer_id),
        first=members,
        is_client=True,
    )
    if not settings.connect:
        raise LocalError(f"the client of {short(files.key.peer_id)} knows no endpoint of a validator")
    network = network_id(files.genesis)
    welcome = frozenset(members)
    links = ZenohLinks(settings, network, files.key.peer_id)
    return MeshClient(
        files.key,
        files.genesis,
        MeshNetwork(links, files.key, network, incarnation, lambda peer: peer in welcome),
    )
