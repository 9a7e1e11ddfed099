"""From files and parts to an assembly: the one place that knows every constructor."""

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_bytes, derive_random
from synaptic_mesh.collab.participant import Participant
from synaptic_mesh.consensus.admission import Admission
from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.evidence import check_evidence_untrusted
from synaptic_mesh.consensus.messages import Verify
from synaptic_mesh.consensus.settings import Rules, Settings, mysticeti, two_delay
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.identity.hybrid import HybridKey
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.certifier import Certifier
from synaptic_mesh.ledger.checkpoint import checkpoint_rules
from synaptic_mesh.ledger.genesis import Genesis, genesis_committee, network_id
from synaptic_mesh.ledger.ledger import Ledger
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.checks import Checks
from synaptic_mesh.node.outbox import Outbox
from synaptic_mesh.node.settings import PacingSettings


def build_assembly(
    key: KeyPair,
    genesis: Genesis,
    pacing: PacingSettings,
    *,
    works: bool,
    incarnation: int,
    verify_block: Verify | None = None,
    checking_processes: int = 0,
) -> Assembly:
    """Return the machine of one node: a validator when genesis lists its key, an observer otherwise.

    incarnation: grows at every start. verify_block: a memo of admission that several simulated nodes share.
    checking_processes: how many answer the shell's CheckSignatures; with 0 signatures are checked where needed.
    """
    committee = genesis_committee(genesis)
    network = network_id(genesis)
    author = committee.index_of(key.peer_id)
    rules = consensus_rules(genesis, committee)
    sign = None if author is None else HybridKey(key).sign if committee.is_hybrid else key.sign
    core = Consensus(
        consensus_settings(pacing),
        committee,
        network,
        author=author,
        sign=sign,
        random=derive_random(key.seed, "consensus", incarnation),
        incarnation=incarnation,
        rules=rules,
    )
    return Assembly(
        key,
        network,
        committee,
        core,
        Ledger(genesis, judge=lambda evidence: check_evidence_untrusted(evidence, committee, network).peer),
        Certifier(checkpoint_rules(genesis), author, sign),
        Outbox(key, network, committee.epoch),
        Checks(network, committee.epoch, checking_processes),
        verify_block or Admission(committee, network, parent_stake=rules.parent_stake).verify_untrusted,
        lambda: new_participant(key, validator=author is not None, worker=works),
    )


def new_participant(key: KeyPair, *, validator: bool, worker: bool) -> Participant:
    """Return the participant of one job. Its secret follows from the key, so a restart makes the same nonces."""
    secret = derive_bytes(key.seed, "SM/participant")
    return Participant(PeerId(key.peer_id), secret, validator=validator, worker=worker)


def consensus_rules(genesis: Genesis, committee: Committee) -> Rules:
    """Return the commit rule that genesis chooses."""
    return two_delay(committee) if genesis.consensus.wave_rounds == 2 else mysticeti(committee)


def consensus_settings(pacing: PacingSettings) -> Settings:
    """Return consensus settings for a node's pacing."""
    return Settings(
        min_round_delay_ms=pacing.round_delay_ms_min,
        leader_timeout_ms=pacing.leader_timeout_ms,
        idle_round_ms=pacing.idle_block_ms,
    )
