"""A whole node that was away for longer than anybody's memory reaches: it comes back out of the others' logs."""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import GenesisValidator, genesis_committee, genesis_of, network_id
from synaptic_mesh.node import build, messages
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.mesh_node import MeshDisk, MeshLog, MeshNode
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.validator import VerifyMemo
from synaptic_mesh.sim.world import World

KEYS = sorted((KeyPair(derive_bytes(9, "validator", i)) for i in range(4)), key=lambda key: key.peer_id)
PEERS = [PeerId(key.peer_id) for key in KEYS]
GENESIS = genesis_of(Digest(bytes(32)), "late", [GenesisValidator(peer, 1_000) for peer in PEERS], [])
PACING = PacingSettings(idle_block_ms=20)


def test_a_node_comes_back_out_of_the_logs_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = build.consensus_settings
    forgetting = {"history_blocks_max": 1, "answer_blocks_max": 40}
    monkeypatch.setattr(build, "consensus_settings", lambda pacing: replace(usual(pacing), **forgetting))
    verify = VerifyMemo(Admission(genesis_committee(GENESIS), network_id(GENESIS)).verify_untrusted)
    log, reads, lives = MeshLog(), list[messages.ReadLog](), [0] * 4

    def observe(index: int, effect: messages.Effect) -> None:
        log.observe(index, effect)
        if isinstance(effect, messages.ReadLog):
            reads.append(effect)

    def new_node(index: int) -> MeshNode:
        lives[index] += 1
        assembly = build.build_assembly(
            KEYS[index], GENESIS, PACING, works=False, incarnation=lives[index], verify_block=verify
        )
        random = derive_random(9, "node", index, lives[index])
        return MeshNode(assembly, index, PEERS, MeshDisk(), cast(Any, None), random, observe)

    world = World(9, [partial(new_node, index) for index in range(4)], LinkSettings(), DiskSettings())
    for index in range(4):
        world.start(index)
    assert world.run_until(lambda: log.highest.get(0, 0) >= 10, 60_000)
    world.crash(3)
    left_at = log.highest[3]
    assert world.run_until(lambda: log.highest[0] >= left_at + 150, 60_000)
    world.start(3)
    assert world.run_until(lambda: log.highest[3] >= log.highest[0] - 5, world.now_ms + 20_000)
    assert len(reads) > 5
    assert not log.disagreements
