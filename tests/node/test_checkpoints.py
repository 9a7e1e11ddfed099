"""Whole assemblies sign, gather and keep checkpoints, over links that lose messages, beside one that signs others."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import Diverged, PeerError
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.identity.hybrid import HybridKey
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate, CheckpointVote, checkpoint_rules, sign_checkpoint
from synaptic_mesh.ledger.checkpoint_effects import Dissent
from synaptic_mesh.ledger.genesis import (
    ConsensusOptions,
    Genesis,
    GenesisAccount,
    GenesisValidator,
    genesis_of,
    network_id,
)
from synaptic_mesh.ledger.light_client import verify_balance_untrusted
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.messages import (
    TOPIC_CHECKPOINT,
    AppendLog,
    CheckpointNote,
    CommitExecuted,
    Effect,
    Event,
    Logged,
    LogRecord,
    Notice,
    PeerDown,
    PeerUp,
    Received,
    SendMessage,
)
from synaptic_mesh.node.run import Node
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.storage.blobs import BlobStore
from synaptic_mesh.storage.log import WriteAheadLog
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork

KEYS = sorted((KeyPair(derive_bytes(8, "validator", i)) for i in range(4)), key=lambda key: key.peer_id)
OBSERVER = KeyPair(derive_bytes(8, "observer"))
COMMITS = 4
LIAR = 3


def genesis_with(*, is_hybrid: bool = False) -> Genesis:
    return genesis_of(
        bytes(32),
        "checkpoints",
        [
            GenesisValidator(key.peer_id, 5, post_quantum_key=HybridKey(key).public if is_hybrid else b"")
            for key in KEYS
        ],
        [GenesisAccount(OBSERVER.peer_id, 1_234)],
        consensus=ConsensusOptions(hybrid_signatures=is_hybrid, checkpoint_commits=COMMITS),
    )


Replace = Callable[[bytes], bytes]


class Mesh:
    """Assemblies; messages and disks take a step of 5 ms, and `loss` of the messages never come."""

    def __init__(self, genesis: Genesis, keys: list[KeyPair], loss: float = 0.0) -> None:
        self.genesis = genesis
        self.random = Random(1)
        self.loss = loss
        self.now_ms = 0
        self.nodes: dict[PeerId, Assembly] = {}
        self.logs: dict[PeerId, list[bytes]] = {key.peer_id: [] for key in keys}
        self.effects: dict[PeerId, list[Effect]] = {key.peer_id: [] for key in keys}
        self.lies: dict[PeerId, Replace] = {}
        self.waiting: list[tuple[PeerId, Event]] = []
        for key in keys:
            self.start(key)

    def start(self, key: KeyPair, incarnation: int = 1) -> None:
        peer = key.peer_id
        node = build_assembly(key, self.genesis, PacingSettings(), works=False, incarnation=incarnation)
        effects = node.start(self.logs[peer], self.now_ms, is_log_whole=True)
        for other in self.nodes:
            self.waiting += [(peer, PeerUp(other)), (other, PeerUp(peer))]
        self.nodes[peer] = node
        self.carry_out(peer, effects)

    def stop(self, peer: PeerId) -> None:
        del self.nodes[peer]
        self.waiting = [(receiver, event) for receiver, event in self.waiting if receiver != peer]
        self.waiting += [(other, PeerDown(peer)) for other in self.nodes]

    def carry_out(self, peer: PeerId, effects: list[Effect]) -> None:
        self.effects[peer] += effects
        for effect in effects:
            if isinstance(effect, AppendLog):
                self.logs[peer].append(effect.record)
                self.waiting.append((peer, Logged(effect.token)))
            elif isinstance(effect, SendMessage):
                payload = effect.payload
                if effect.topic == TOPIC_CHECKPOINT and peer in self.lies:
                    payload = self.lies[peer](payload)
                receivers = [effect.peer] if effect.peer is not None else [p for p in self.nodes if p != peer]
                for receiver in receivers:
                    if receiver in self.nodes and self.random.random() >= self.loss:
                        self.waiting.append((receiver, Received(peer, effect.topic, payload)))

    def run(self, until: Callable[[], bool], limit_ms: int = 60_000) -> None:
        limit_ms += self.now_ms
        while not until():
            assert self.now_ms < limit_ms, "it takes too long"
            self.now_ms += 5
            events, self.waiting = self.waiting, []
            for peer, event in events:
                self.carry_out(peer, self.nodes[peer].handle(event, self.now_ms))
            for peer, node in list(self.nodes.items()):
                due = node.deadline_ms()
                if due is not None and due <= self.now_ms:
                    self.carry_out(peer, node.handle_deadline(self.now_ms))

    def certified(self, index: int) -> bool:
        return all(node.certifier.certified_index >= index for node in self.nodes.values())

    def certificates(self, peer: PeerId) -> dict[int, CheckpointCertificate]:
        """Those in the log of a node, by commit."""
        records = [decode_untrusted(LogRecord, data, 1 << 30) for data in self.logs[peer]]
        found = [each for record in records for each in record.checkpoints if isinstance(each, CheckpointCertificate)]
        return {each.checkpoint.index: each for each in found}

    def found(self, peer: PeerId, kind: type[Any]) -> list[Any]:
        return [effect for effect in self.effects[peer] if isinstance(effect, kind)]


def wrong_roots(payload: bytes) -> bytes:
    """What the liar sends instead of its vote: another state root, properly signed."""
    try:
        vote = decode_untrusted(CheckpointVote, payload)
    except PeerError:
        return payload
    other = replace(vote.checkpoint, state_root=b"w" * 32)
    return encode(sign_checkpoint(other, vote.author, KEYS[vote.author].sign))


def test_three_certify_what_they_executed_through_loss_and_a_liar() -> None:
    genesis = genesis_with()
    mesh = Mesh(genesis, [*KEYS, OBSERVER], loss=0.15)
    liar = KEYS[LIAR].peer_id
    mesh.lies[liar] = wrong_roots
    mesh.run(lambda: mesh.certified(6 * COMMITS))
    rules = checkpoint_rules(genesis)
    roots = {e.index: e.state_root for e in mesh.found(OBSERVER.peer_id, CommitExecuted)}
    for peer in mesh.nodes:
        certificates = mesh.certificates(peer)
        assert len(certificates) >= 3
        for index, certificate in certificates.items():
            rules.check_certificate_untrusted(certificate)
            assert index % COMMITS == 0
            assert certificate.checkpoint.state_root == roots.get(index, certificate.checkpoint.state_root)
            assert certificate.checkpoint.supply == 20 + 1_234
        if peer != liar:
            assert {note.vote.author for note in mesh.found(peer, Dissent)} == {LIAR}
    assert any(index in roots for index in mesh.certificates(OBSERVER.peer_id))
    notes = mesh.found(OBSERVER.peer_id, CheckpointNote)
    assert {note.certificate.checkpoint.index for note in notes} == mesh.certificates(OBSERVER.peer_id).keys()
    assert all(note.stake == 15 for note in notes)


def test_a_hybrid_committee_certifies() -> None:
    genesis = genesis_with(is_hybrid=True)
    mesh = Mesh(genesis, KEYS)
    mesh.run(lambda: mesh.certified(2 * COMMITS))
    (newest, *_) = sorted(mesh.certificates(KEYS[0].peer_id).values(), key=lambda each: -each.checkpoint.index)
    assert {len(signature) for _, signature in newest.signatures} == {64 + 3_309}
    checkpoint_rules(genesis).check_certificate_untrusted(newest)


def test_a_replica_with_another_state_stops_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh(genesis_with(), KEYS)
    mesh.run(lambda: mesh.certified(COMMITS))
    odd = mesh.nodes[KEYS[1].peer_id]
    monkeypatch.setattr(odd.ledger, "state_root", lambda: Digest(b"odd state root".ljust(32)))
    with pytest.raises(Diverged, match=r"this replica stops at commit \d+: validators with stake (10|15) of 20 signed"):
        mesh.run(lambda: False)
    mesh.stop(KEYS[1].peer_id)
    newest = max(node.certifier.certified_index for node in mesh.nodes.values())
    mesh.run(lambda: mesh.certified(newest + 2 * COMMITS))


def test_a_restart_knows_its_votes_and_the_newest_certificate() -> None:
    mesh = Mesh(genesis_with(), KEYS)
    mesh.run(lambda: mesh.certified(3 * COMMITS))
    key = KEYS[2]
    before = mesh.nodes[key.peer_id].certifier.certified_index
    mesh.stop(key.peer_id)
    mesh.effects[key.peer_id].clear()
    mesh.start(key, incarnation=2)
    assert mesh.nodes[key.peer_id].certifier.certified_index == before
    assert not [e for e in mesh.found(key.peer_id, Notice) if "signed" in e.text]
    mesh.run(lambda: mesh.certified(before + 2 * COMMITS))
    records = [decode_untrusted(LogRecord, data, 1 << 30) for data in mesh.logs[key.peer_id]]
    votes = [each for record in records for each in record.checkpoints if isinstance(each, CheckpointVote)]
    indices = [vote.checkpoint.index for vote in votes]
    assert indices == sorted(set(indices))


def test_a_restart_that_computes_another_state_says_so_and_does_not_sign_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh(genesis_with(), KEYS[:3])
    mesh.run(lambda: mesh.certified(COMMITS))
    key = KEYS[0]
    mesh.stop(key.peer_id)
    mesh.logs[key.peer_id] = [
        data
        for data in mesh.logs[key.peer_id]
        if not any(isinstance(e, CheckpointCertificate) for e in decode_untrusted(LogRecord, data, 1 << 30).checkpoints)
    ]
    mesh.nodes.clear()
    mesh.effects[key.peer_id].clear()
    monkeypatch.setattr("synaptic_mesh.ledger.ledger.Ledger.state_root", lambda _: Digest(b"o" * 32))
    mesh.start(key, incarnation=2)
    (said,) = [e.text for e in mesh.found(key.peer_id, Notice) if "before the restart" in e.text]
    assert said.startswith(f"state root 6f6f6f6f after commit {COMMITS}, but before the restart ")
    appended = [decode_untrusted(LogRecord, e.record) for e in mesh.found(key.peer_id, AppendLog)]
    assert not [each for record in appended for each in record.checkpoints if each.checkpoint.index <= COMMITS]


def test_a_late_node_is_given_the_newest_certificate() -> None:
    mesh = Mesh(genesis_with(), KEYS)
    mesh.run(lambda: mesh.certified(COMMITS))
    mesh.logs[OBSERVER.peer_id], mesh.effects[OBSERVER.peer_id] = [], []
    mesh.start(OBSERVER)
    mesh.run(lambda: bool(mesh.certificates(OBSERVER.peer_id)), 1_000)


def test_an_account_is_proved_by_the_newest_certificate() -> None:
    genesis = genesis_with()
    mesh = Mesh(genesis, KEYS)
    first = mesh.nodes[KEYS[0].peer_id]
    mesh.run(lambda: 0 < first.certifier.certified_index == first.ledger.commit_index)
    certificate, proof = encode(first.certifier.certified), encode(first.ledger.prove(OBSERVER.peer_id))
    assert verify_balance_untrusted(genesis, certificate, OBSERVER.peer_id, proof).balance == 1_234


def test_a_running_node_that_is_alone_ends_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genesis, hub = genesis_with(), MemoryHub()

    async def play() -> str:
        nodes = []
        for number, key in enumerate(KEYS):
            pacing = PacingSettings(round_delay_ms_min=10, idle_block_ms=10)
            assembly = build_assembly(key, genesis, pacing, works=False, incarnation=1)
            network = MeshNetwork(hub.attach(key.peer_id), key, network_id(genesis), 1)
            log = WriteAheadLog(tmp_path / str(number) / "log", durable=False)
            blobs = BlobStore(tmp_path / str(number) / "blobs", durable=False)
            nodes.append(Node(assembly, network, log, blobs, cast(Any, None), lambda _: None, is_first_start=True))
        monkeypatch.setattr(nodes[1].assembly.ledger, "state_root", lambda: Digest(b"odd".ljust(32)))
        running = [asyncio.create_task(node.run()) for node in nodes]
        async with asyncio.timeout(90):
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            assert done == {running[1]}
            error = running[1].exception()
            for node in nodes:
                node.stop()
            await asyncio.gather(running[0], *running[2:])
        assert isinstance(error, Diverged)
        return str(error)

    assert re.fullmatch(
        r"this replica stops at commit \d+: validators with stake 1[05] of 20 signed another state \(state_root; root "
        r"[0-9a-f]{8}, here 6f646420\): compare program versions, test this machine's memory, and start again from an "
        "empty log",
        asyncio.run(play()),
    )
