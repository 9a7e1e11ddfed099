"""What somebody with nothing but the genesis file believes."""

import pytest
from checkpoint_net import KEYS
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.ledger.checkpoint import CheckpointCertificate, checkpoint_rules, sign_checkpoint
from synaptic_mesh.ledger.genesis import ConsensusOptions, GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.light_client import verify_balance_untrusted, verify_certificate_untrusted

CLIENT = b"c" * 32
GENESIS = genesis_of(
    bytes(32),
    "light",
    [GenesisValidator(key.peer_id, 5) for key in KEYS],
    [GenesisAccount(CLIENT, 1_234)],
    consensus=ConsensusOptions(checkpoint_commits=1),
)


def certified(ledger: Ledger, authors: int = 3) -> bytes:
    rules = checkpoint_rules(GENESIS)
    state = rules.checkpoint(ledger.commit_index, b"x" * 32, 5, ledger.state_root(), ledger.supply())
    votes = [sign_checkpoint(state, author, KEYS[author].sign) for author in range(authors)]
    return encode(CheckpointCertificate(state, tuple((vote.author, vote.signature) for vote in votes)))


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger(GENESIS)
    ledger.apply(OrderedCommit(1, 5, ()))
    return ledger


def test_a_balance_is_proved_from_the_genesis_file_alone(ledger: Ledger) -> None:
    account = verify_balance_untrusted(GENESIS, certified(ledger), CLIENT, encode(ledger.prove(CLIENT)))
    assert (account.balance, account.nonce) == (1_234, 0)
    assert verify_certificate_untrusted(GENESIS, certified(ledger)).checkpoint.supply == 1_234 + 20


def test_a_proof_fits_its_checkpoint_only(ledger: Ledger) -> None:
    old = certified(ledger)
    ledger.apply(OrderedCommit(2, 9, ()))
    with pytest.raises(PeerError, match="another state root"):
        verify_balance_untrusted(GENESIS, old, CLIENT, encode(ledger.prove(CLIENT)))


def test_another_genesis_or_too_few_signatures_prove_nothing(ledger: Ledger) -> None:
    with pytest.raises(PeerError, match="checkpoint of network"):
        verify_certificate_untrusted(replace(GENESIS, created="other"), certified(ledger))
    with pytest.raises(PeerError, match="stake 10 of 20, it needs 14"):
        verify_balance_untrusted(GENESIS, certified(ledger, 2), CLIENT, encode(ledger.prove(CLIENT)))
