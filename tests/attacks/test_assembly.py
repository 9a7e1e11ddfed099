"""Whole nodes as machines against a validator that signs whatever it likes.

Three honest assemblies run over an instant network. The fourth validator runs the same code, but its blocks carry
transactions that nobody checked, and beside them it sends broken variants of everything: messages with changed fields,
and blocks with changed headers under its own valid signature. Nothing may raise; what is wrong ends as a `Dropped`
effect or as a refused transaction, the same on every replica.
"""

from collections import deque
from random import Random
from typing import Any, cast

import msgspec
import pytest

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.collab import messages as collab
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.consensus import messages as consensus
from synaptic_mesh.consensus.block import BLOCK_DOMAIN, Header, WireBlock, header_digest, signed_message
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import (
    Genesis,
    GenesisAccount,
    GenesisValidator,
    genesis_committee,
    genesis_of,
    network_id,
)
from synaptic_mesh.ledger.manifest import BlobRef, Manifest, job_id
from synaptic_mesh.ledger.transactions import (
    SIGNING_DOMAIN,
    AttestJob,
    CommitVerdicts,
    JoinJob,
    LeaveJob,
    ReportAvailable,
    RevealVerdicts,
    RevealWitness,
    SignedTransaction,
    Stake,
    StepRef,
    SubmitJob,
    SubmitUpdate,
    Transaction,
    Transfer,
    Unstake,
    Verdict,
    VoteRoot,
)
from synaptic_mesh.node import messages as node
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.hyperparameters import Hyperparameters
from synaptic_mesh.training.job import JobTerms, prepare_job

HONEST, ROGUE, CLIENT = (0, 1, 2), 3, 4
UNIT = 10**9
BALANCE, STAKE = 100_000 * UNIT, 5_000 * UNIT
SUPPLY = 5 * (BALANCE + STAKE)
TICK_MS = 20
TICKS = 220
TURNS_PER_COMMIT = 6
TRANSACTIONS = 24
HEALING_TICKS = 60
EDGES = (0, 1, -1, 2, 7, 255, 256, (1 << 31), (1 << 32) - 1, 1 << 32, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    small = Hyperparameters(batch=8, inner_steps=2, outer_steps=2, learning_rate=0.4)
    prepared = prepare_job(
        load_digits(), "linear", JobTerms(shards=3, workers_min=2, workers_max=3), seed=1, hyperparameters=small
    )
    return with_initial_state(prepared.manifest)[0]


def make_genesis(keys: list[KeyPair]) -> Genesis:
    validators = [GenesisValidator(key.peer_id, STAKE) for key in keys[:4]]
    accounts = [GenesisAccount(key.peer_id, BALANCE, 0 if n < 4 else STAKE) for n, key in enumerate(keys)]
    return genesis_of(Digest(semantics_id()), "attack", validators, accounts)


class Mesh:
    """Four assemblies, an instant network and instant disks. Blobs cannot be fetched, computations fail."""

    def __init__(self, seed: int) -> None:
        self.keys = [KeyPair(derive_bytes(seed, "attack", number)) for number in range(5)]
        self.genesis = make_genesis(self.keys)
        self.network = network_id(self.genesis)
        self.nodes: list[Assembly] = []
        self.now_ms = 1_790_000_000_000
        self.queue: deque[tuple[int, node.Event]] = deque()
        self.commits: list[list[Digest]] = [[] for _ in range(4)]
        self.applied: list[int] = [0] * 4
        self.dropped = 0
        self.refused = 0
        self.sent_by_rogue: list[bytes] = []
        for index, key in enumerate(self.keys[:4]):
            self.nodes.append(build_assembly(key, self.genesis, PacingSettings(), works=True, incarnation=1))
            self.carry_out(index, self.nodes[index].start([], self.now_ms))
        for index in range(4):
            self.queue += [(index, node.PeerUp(key.peer_id)) for key in self.keys if key is not self.keys[index]]

    def peer(self, index: int) -> PeerId:
        return self.keys[index].peer_id

    def run(self) -> None:
        """Advance time by one tick and let everything settle."""
        self.now_ms += TICK_MS
        for index, assembly in enumerate(self.nodes):
            due = assembly.deadline_ms()
            if due is not None and due <= self.now_ms:
                self.carry_out(index, assembly.handle_deadline(self.now_ms))
        for _ in range(20_000):
            if not self.queue:
                return
            index, event = self.queue.popleft()
            self.carry_out(index, self.nodes[index].handle(event, self.now_ms))
        raise AssertionError("the mesh does not settle within one tick")

    def carry_out(self, index: int, effects: list[node.Effect]) -> None:
        for effect in effects:
            match effect:
                case node.AppendLog(token):
                    self.queue.append((index, node.Logged(token)))
                case node.SendMessage(peer, topic, payload):
                    self.send(index, peer, topic, payload)
                case collab.FetchBlob(blob, _):
                    self.queue.append((index, collab.BlobMissing(blob.digest)))
                case collab.Compute(key, _):
                    self.queue.append((index, collab.Failed(key, "no engine here")))
                case node.CommitExecuted():
                    self.commits[index].append(effect.state_root)
                    self.applied[index] += effect.transactions
                case node.Dropped():
                    self.dropped += index in HONEST
                case node.LedgerNote(event):
                    self.note(index, event)

    def note(self, index: int, event: Any) -> None:
        if index == 0 and type(event).__name__ == "TransactionApplied":
            self.refused += not event.accepted
            self.applied[0] -= not event.accepted

    def send(self, sender: int, peer: PeerId | None, topic: str, payload: bytes) -> None:
        if sender == ROGUE:
            self.sent_by_rogue = [*self.sent_by_rogue[-30:], payload]
        for index in range(4):
            if index == ROGUE and topic == node.TOPIC_CONSENSUS:
                payload = self.without_twins(payload)
            if index != sender and peer in (None, self.peer(index)):
                self.queue.append((index, node.Received(self.peer(sender), topic, payload)))

    def without_twins(self, payload: bytes) -> bytes:
        """Keep the rogue's own machine from meeting blocks that it did not make: it would stop, as it should."""
        message = msgspec.msgpack.decode(payload, type=cast(Any, consensus.Message))
        if not isinstance(message, consensus.Blocks):
            return payload
        me = genesis_committee(self.genesis).index_of(self.peer(ROGUE))
        headers = [msgspec.msgpack.decode(data, type=WireBlock).header for data in message.blocks]
        authors = [msgspec.msgpack.decode(header, type=Header).author for header in headers]
        kept = [data for data, author in zip(message.blocks, authors, strict=True) if author != me]
        return encode(consensus.Blocks(tuple(kept)))


class Rogue:
    """Signs as the fourth validator and as a client; every value it makes comes from one seed."""

    def __init__(self, mesh: Mesh, manifest: Manifest, seed: int) -> None:
        self.mesh = mesh
        self.rng = Random(seed)
        self.job = job_id(manifest)
        self.manifest = manifest
        self.nonces = {ROGUE: 0, CLIENT: 0}
        self.turn = 0

    def act(self) -> None:
        """Put unchecked transactions into the rogue's own next block, and send a few broken messages."""
        transactions: tuple[bytes, ...] = ()
        self.turn += 1
        if self.turn % TURNS_PER_COMMIT == 0:  # nonces are in order only when the last ones have been executed
            for signer in self.nonces:
                self.nonces[signer] = self.mesh.nodes[0].ledger.account(self.mesh.peer(signer)).nonce
            transactions = tuple(self.transaction() for _ in range(TRANSACTIONS))
        # Past every check of the rogue's own node: the honest ones meet these bytes inside a valid block.
        mesh = self.mesh
        mesh.nodes[ROGUE]._consensus(consensus.TransactionsSubmitted(transactions), mesh.now_ms)
        mesh.carry_out(ROGUE, mesh.nodes[ROGUE]._take())
        for _ in range(6):
            topic = self.rng.choice([node.TOPIC_CONSENSUS, node.TOPIC_TRANSACTIONS, "nonsense"])
            mesh.queue.append((self.rng.choice(HONEST), node.Received(mesh.peer(ROGUE), topic, self.message())))

    # --- transactions

    def transaction(self) -> bytes:
        rng = self.rng
        signer = rng.choice([ROGUE, CLIENT])
        key = self.mesh.keys[signer]
        nonce = self.nonces[signer]
        value = self.raw(Transaction(self.mesh.network, 0, key.peer_id, nonce, cast(Any, self.action())))
        is_whole = rng.random() < 0.8
        self.nonces[signer] += is_whole
        body = msgspec.msgpack.encode(value if is_whole else self.mutate(value))
        data = encode(SignedTransaction(body, key.sign(SIGNING_DOMAIN, body)))
        return data if is_whole or rng.random() < 0.8 else self.flip(data)

    def action(self) -> Any:
        rng = self.rng
        ref = StepRef(self.digest(), rng.choice([0, 0, 1, 2, 1 << 40]), rng.choice([0, 0, 1, 1 << 31]), self.digest())
        blob = BlobRef(self.digest(), rng.choice([0, 1, 2_600, 1 << 30, 1 << 62]))
        verdicts = tuple(Verdict(self.account(), *(self.digest() for _ in range(3))) for _ in range(rng.randrange(4)))
        choices = [
            lambda: Transfer(self.account(), rng.choice([0, 1, UNIT, 10**12, (1 << 62), (1 << 63) - 1])),
            lambda: Stake(rng.choice([0, 1, UNIT, (1 << 63) - 1])),
            lambda: Unstake(rng.choice([0, 1, UNIT, 100 * UNIT, (1 << 63) - 1])),
            lambda: SubmitJob(self.spoiled_manifest()),
            lambda: SubmitJob(self.spoiled_manifest()),
            lambda: SubmitJob(self.spoiled_manifest()),
            lambda: AttestJob(self.digest()),
            lambda: JoinJob(self.digest()),
            lambda: LeaveJob(self.digest()),
            lambda: SubmitUpdate(ref, blob, self.digest(), self.digest()),
            lambda: ReportAvailable(ref, tuple(self.account() for _ in range(rng.choice([0, 1, 3, 400])))),
            lambda: CommitVerdicts(ref, self.digest()),
            lambda: RevealVerdicts(ref, self.digest(), verdicts),
            lambda: RevealWitness(ref, self.digest(), self.digest()),
            lambda: VoteRoot(ref, self.digest(), self.digest(), blob, tuple(rng.choice(EDGES[:2]) for _ in range(3))),
        ]
        return rng.choice(choices)()

    def spoiled_manifest(self) -> Manifest:
        """A manifest with one field changed to another value of its type, still well formed."""
        names = [field.name for field in msgspec.structs.fields(Manifest)]
        for _ in range(20):
            name = self.rng.choice(names)
            value = getattr(self.manifest, name)
            raw = self.mutate(self.raw(value)) if not isinstance(value, int) else self.rng.choice(EDGES[:12])
            try:
                fields = {other: self.raw(getattr(self.manifest, other)) for other in names} | {name: raw}
                return msgspec.msgpack.decode(msgspec.msgpack.encode(list(fields.values())), type=Manifest)
            except (msgspec.MsgspecError, ValueError, OverflowError):
                continue
        return self.manifest

    def digest(self) -> bytes:
        known = [bytes(state.job) for state in self.mesh.nodes[0].ledger.jobs()] or [bytes(self.job)]
        likely = [self.rng.choice(known) for _ in range(6)]
        return self.rng.choice([*likely, bytes(32), self.rng.randbytes(32), b"", b"x" * 33])

    def account(self) -> bytes:
        return self.rng.choice([*(key.peer_id for key in self.mesh.keys), bytes(32), b"short"])

    # --- messages

    def message(self) -> bytes:
        rng = self.rng
        sent = self.mesh.sent_by_rogue
        match rng.randrange(6):
            case 0:
                return rng.randbytes(rng.choice([0, 1, 30, 3_000]))
            case 1:
                return encode(node.Transactions(tuple(self.transaction() for _ in range(rng.choice([0, 1, 5, 300])))))
            case 2 if sent:
                return self.flip(rng.choice(sent))
            case 3 if sent:
                return msgspec.msgpack.encode(self.mutate(msgspec.msgpack.decode(rng.choice(sent))))
            case 4 if sent:
                return self.signed_nonsense(rng.choice(sent))
        messages = [
            consensus.Advert(self.u32(), self.u32(), self.u63()),
            consensus.RoundsRequest(self.u32()),
            consensus.OwnRoundRequest(self.u63()),
            consensus.OwnRoundAnswer(self.u63(), b""),
            consensus.Blocks(tuple(rng.randbytes(300) for _ in range(rng.randrange(4)))),
        ]
        return encode(rng.choice(messages))

    def signed_nonsense(self, sent: bytes) -> bytes:
        """Change one header field of an own block, and sign the result: only the rules can find it wrong."""
        try:
            message = msgspec.msgpack.decode(sent, type=cast(Any, consensus.Message))
        except msgspec.MsgspecError:
            return sent
        if not isinstance(message, consensus.Blocks) or not message.blocks:
            return sent
        wire = msgspec.msgpack.decode(self.rng.choice(message.blocks), type=WireBlock)
        header = msgspec.msgpack.encode(self.mutate(msgspec.msgpack.decode(wire.header)))
        signed = signed_message(self.mesh.network, 0, header_digest(header))
        signature = self.mesh.keys[ROGUE].sign(BLOCK_DOMAIN, signed)
        return encode(consensus.Blocks((encode(WireBlock(header, signature, wire.payload)),)))

    def u32(self) -> int:
        return self.rng.choice([0, 1, 5, 60, 1_000, 1 << 20, (1 << 32) - 1])

    def u63(self) -> int:
        return self.rng.choice([0, 1, 5, 60, 1 << 40, (1 << 63) - 1])

    # --- changes

    def raw(self, value: Any) -> Any:
        return msgspec.msgpack.decode(encode(value))

    def flip(self, data: bytes) -> bytes:
        changed = bytearray(data or b"x")
        changed[self.rng.randrange(len(changed))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def mutate(self, value: Any) -> Any:
        """Return `value` (lists, integers, bytes, texts) with one thing in it changed."""
        rng = self.rng
        if isinstance(value, list) and value and rng.random() < 0.9:
            at = rng.randrange(len(value))
            match rng.randrange(12):
                case 0:
                    return value[:at] + value[at + 1 :]
                case 1:
                    return [*value, value[at]]
                case 2:
                    return value * rng.choice([2, 40])
            return [*value[:at], self.mutate(value[at]), *value[at + 1 :]]
        if isinstance(value, int) and rng.random() < 0.9:
            return rng.choice([*EDGES, value + 1, max(value - 1, 0)])
        if isinstance(value, bytes) and rng.random() < 0.9:
            return rng.choice([value[:-1], value + b"x", self.flip(value), bytes(len(value)), b""])
        if isinstance(value, str) and rng.random() < 0.9:
            return rng.choice(["", value * 50, "mlp:16384,16384", "\ud7ff", value[:-1]])
        return rng.choice([None, [], 0, b"", "x", {}, True, 1.5])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_nothing_a_validator_signs_breaks_the_others(manifest: Manifest, seed: int) -> None:
    mesh = Mesh(seed)
    rogue = Rogue(mesh, manifest, seed)
    mesh.queue.append((0, node.Submit(SubmitJob(manifest))))
    for index in HONEST:  # nobody can fetch its data here, but it shall open, and run into every deadline
        mesh.queue.append((index, node.Submit(AttestJob(job_id(manifest)))))
        mesh.queue.append((index, node.Submit(JoinJob(job_id(manifest)))))
    for _ in range(TICKS):
        rogue.act()
        mesh.run()
    attacked = min(len(mesh.commits[index]) for index in HONEST)
    for _ in range(HEALING_TICKS):
        mesh.queue.append((0, node.Submit(LeaveJob(bytes(32)))))  # something to order: an idle mesh makes few blocks
        mesh.run()
    healed = min(len(mesh.commits[index]) for index in HONEST)
    assert attacked > 20
    assert healed > attacked + 10
    first = mesh.commits[0][:healed]
    assert all(mesh.commits[index][:healed] == first for index in HONEST)
    for index in HONEST:
        assert mesh.nodes[index].ledger.recounted_supply() == SUPPLY
    # The attack has reached what it aims at.
    assert mesh.dropped > 200
    assert mesh.refused > 100
    assert mesh.applied[0] > 20
