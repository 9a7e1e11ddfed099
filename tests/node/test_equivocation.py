"""Assemblies with hybrid signatures, of which one validator signs two blocks for a slot and is punished."""

from collections.abc import Sequence

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.consensus.block import VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.messages import Blocks, encode_message
from synaptic_mesh.identity.hybrid import HYBRID_SIGNATURE_BYTES, HybridKey
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import (
    ConsensusOptions,
    Genesis,
    GenesisAccount,
    GenesisValidator,
    genesis_of,
    network_id,
)
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.messages import TOPIC_CONSENSUS, AppendLog, Effect, Logged, PeerUp, Received, SendMessage
from synaptic_mesh.node.settings import PacingSettings

KEYS = sorted((KeyPair(derive_bytes(7, "validator", i)) for i in range(4)), key=lambda key: key.peer_id)
GENESIS = genesis_of(
    bytes(32),
    "hybrid",
    [GenesisValidator(key.peer_id, 100_000, post_quantum_key=HybridKey(key).public) for key in KEYS],
    [GenesisAccount(key.peer_id, 1_000_000_000) for key in KEYS],
    consensus=ConsensusOptions(hybrid_signatures=True),
)
NETWORK = network_id(GENESIS)
LIAR = 3


class Mesh:
    """Honest assemblies; messages and disks take one step of 5 ms."""

    def __init__(self, keys: Sequence[KeyPair] = KEYS[:3], genesis: Genesis = GENESIS) -> None:
        self.now_ms = 0
        self.nodes: dict[PeerId, Assembly] = {}
        self.waiting: list[tuple[PeerId, Received | Logged | PeerUp]] = []
        for key in keys:
            self.nodes[key.peer_id] = build_assembly(key, genesis, PacingSettings(), works=False, incarnation=1)
        for peer, node in self.nodes.items():
            self.carry_out(peer, node.start([], 0))
            self.waiting += [(peer, PeerUp(other)) for other in self.nodes if other != peer]

    def carry_out(self, peer: PeerId, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, AppendLog):
                self.waiting.append((peer, Logged(effect.token)))
            elif isinstance(effect, SendMessage):
                receivers = [effect.peer] if effect.peer is not None else [p for p in self.nodes if p != peer]
                message = Received(peer, effect.topic, effect.payload)
                self.waiting += [(receiver, message) for receiver in receivers if receiver in self.nodes]

    def run(self, until_ms: int) -> None:
        while self.now_ms < until_ms:
            self.now_ms += 5
            events, self.waiting = self.waiting, []
            for peer, event in events:
                self.carry_out(peer, self.nodes[peer].handle(event, self.now_ms))
            for peer, node in self.nodes.items():
                due = node.deadline_ms()
                if due is not None and due <= self.now_ms:
                    self.carry_out(peer, node.handle_deadline(self.now_ms))


def twin(payload: bytes) -> VerifiedBlock:
    return seal_block(
        HybridKey(KEYS[LIAR]).sign,
        network=NETWORK,
        epoch=0,
        round_=1,
        author=LIAR,
        incarnation=0,
        timestamp_ms=0,
        ancestors=tuple(genesis_ref(NETWORK, 0, author) for author in (LIAR, 0, 1, 2)),
        transactions=(payload,),
    )


def test_an_equivocator_is_punished_once_on_every_node() -> None:
    mesh = Mesh()
    liar = KEYS[LIAR].peer_id
    before = [node.ledger.account(liar).stake for node in mesh.nodes.values()]
    for payload in (b"one", b"other"):
        data = encode_message(Blocks((twin(payload).encoded,)))
        mesh.waiting.append((KEYS[0].peer_id, Received(liar, TOPIC_CONSENSUS, data)))
    mesh.run(3_000)
    first = next(iter(mesh.nodes.values()))
    signatures = {len(vertex.block.signature) for vertex in first._core.dag.vertices(2)}
    assert signatures == {HYBRID_SIGNATURE_BYTES}
    after = [node.ledger.account(liar).stake for node in mesh.nodes.values()]
    assert all(node.ledger.is_convicted(liar) for node in mesh.nodes.values())
    assert not any(node.ledger.is_convicted(key.peer_id) for node in mesh.nodes.values() for key in KEYS[:LIAR])
    assert len(set(after)) == 1
    assert after[0] < before[0]
    mesh.run(6_000)
    assert [node.ledger.account(liar).stake for node in mesh.nodes.values()] == after


def test_genesis_chooses_waves_of_two() -> None:
    keys = [KeyPair(derive_bytes(7, "validator", i)) for i in range(6)]
    genesis = genesis_of(
        bytes(32),
        "two",
        [GenesisValidator(key.peer_id, 1) for key in keys],
        consensus=ConsensusOptions(wave_rounds=2),
    )
    mesh = Mesh(keys, genesis)
    mesh.run(6_000)
    cores = [node._core for node in mesh.nodes.values()]
    assert {(core.rules.wave_rounds, core.rules.parent_stake) for core in cores} == {(2, 5)}
    assert min(node.ledger.commit_index for node in mesh.nodes.values()) > 1
