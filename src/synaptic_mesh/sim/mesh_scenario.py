"""A seeded run of whole nodes: validators that also work, workers without a vote, one job, crashes and restarts.

scenario = MeshScenario(seed, job, validators=4, strategies=(None, Liar()))
scenario.run(horizon_ms=600_000)
scenario.states()        # the job as every node sees it
"""

from collections.abc import Sequence
from functools import partial

from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.collab.strategy import Strategy
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.amounts import UNITS_PER_RUV
from synaptic_mesh.ledger.genesis import (
    ConsensusOptions,
    Genesis,
    GenesisAccount,
    GenesisValidator,
    genesis_committee,
    genesis_of,
    network_id,
)
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.manifest import job_id
from synaptic_mesh.ledger.transactions import SubmitJob
from synaptic_mesh.node.assembly import is_over
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.messages import Event, Submit
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.sim.disk import DiskSettings
from synaptic_mesh.sim.mesh_node import MeshDisk, MeshLog, MeshNode, SharedComputer
from synaptic_mesh.sim.network import LinkSettings
from synaptic_mesh.sim.validator import VerifyMemo
from synaptic_mesh.sim.world import Trace, World
from synaptic_mesh.training.job import PreparedJob

BALANCE = 100_000 * UNITS_PER_RUV
STAKE = 1_000 * UNITS_PER_RUV
CHECKPOINT_COMMITS = 8
"""Runs are short."""


class MeshScenario:
    """See the module's docstring. Node positions: validators by peer id, then workers. Node 0 sponsors the job.

    strategies: one for each worker without a vote; None is honest.
    """

    def __init__(
        self,
        seed: int,
        job: PreparedJob,
        backend: Backend,
        *,
        validators: int = 4,
        strategies: Sequence[Strategy | None] = (),
        link: LinkSettings = LinkSettings(),
        trace: Trace | None = None,
    ) -> None:
        keys = sorted(
            (KeyPair(derive_bytes(seed, "validator", index)) for index in range(validators)), key=lambda k: k.peer_id
        )
        keys += [KeyPair(derive_bytes(seed, "worker", index)) for index in range(len(strategies))]
        self.keys = keys
        self.log = MeshLog()
        self.genesis = make_genesis(f"sim {seed}", keys, validators)
        manifest, state = with_initial_state(job.manifest)
        self.job = job_id(manifest)
        blobs = {**job.blobs, manifest.initial_state.digest: state}
        self._strategies: list[Strategy | None] = [*[None] * validators, *strategies]
        self._disks = [MeshDisk() for _ in keys]
        self._disks[0].blobs.update(blobs)
        self._submission = Submit(SubmitJob(manifest))
        self._published = tuple(blobs)
        self._seed = seed
        self._peers = [PeerId(key.peer_id) for key in keys]
        self._computer = SharedComputer(backend, semantics_id())
        committee, network = genesis_committee(self.genesis), network_id(self.genesis)
        self._verify = VerifyMemo(Admission(committee, network).verify_untrusted)
        builders = [partial(self._build, index) for index in range(len(keys))]
        self.world = World(seed, builders, link, DiskSettings(), trace=trace)

    def start(self) -> None:
        """Start every node."""
        for index in range(len(self.keys)):
            self.world.start(index)

    def run(self, horizon_ms: int = 600_000) -> bool:
        """Run until the job is over on every running node; return False when virtual time ends first."""
        return self.world.run_until(self._is_over, horizon_ms)

    def states(self) -> list[JobState | None]:
        """Return the job as every node sees it, by position; None where the node is down or has not heard of it."""
        return [node.assembly.ledger.job(self.job) if node is not None else None for node in self.nodes()]

    def nodes(self) -> list[MeshNode | None]:
        """Return the running nodes by position."""
        return [host.node if isinstance(host.node, MeshNode) else None for host in self.world.hosts]

    def _is_over(self) -> bool:
        states = [state for node, state in zip(self.nodes(), self.states(), strict=True) if node is not None]
        return all(state is not None and is_over(state) for state in states)

    def _build(self, index: int) -> MeshNode:
        disk = self._disks[index]
        disk.incarnation += 1
        assembly = build_assembly(
            self.keys[index],
            self.genesis,
            PacingSettings(),
            works=True,
            incarnation=disk.incarnation,
            verify_block=self._verify,
        )
        events: list[Event] = [self._submission] if index == 0 else []
        return MeshNode(
            assembly,
            index,
            self._peers,
            disk,
            self._computer,
            derive_random(self._seed, "node", index, disk.incarnation),
            self.log.observe,
            self._strategies[index],
            self._published if index == 0 else (),
            events,
        )


def make_genesis(label: str, keys: Sequence[KeyPair], validators: int) -> Genesis:
    """Return a genesis in which the first `validators` keys vote and every key has balance and stake to work with."""
    return genesis_of(
        Digest(semantics_id()),
        label,
        [GenesisValidator(key.peer_id, STAKE) for key in keys[:validators]],
        [GenesisAccount(key.peer_id, BALANCE, STAKE) for key in keys],
        consensus=ConsensusOptions(checkpoint_commits=CHECKPOINT_COMMITS),
    )
