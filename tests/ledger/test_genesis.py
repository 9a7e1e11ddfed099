from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.ledger.amounts import SUPPLY_MAX
from synaptic_mesh.ledger.economics import Economics
from synaptic_mesh.ledger.genesis import (
    ConsensusOptions,
    Constants,
    Genesis,
    GenesisAccount,
    GenesisValidator,
    genesis_accounts,
    genesis_committee,
    genesis_of,
    load_genesis_untrusted,
    network_id,
    save_genesis,
)
from synaptic_mesh.ledger.ledger import Ledger
from synaptic_mesh.ledger.manifest import PPM

A, B, C = (bytes([letter]) * 32 for letter in (10, 11, 12))
SEMANTICS = bytes([7]) * 32


def small(**changes: Any) -> Genesis:
    validators = [GenesisValidator(B, 20, ("tcp/127.0.0.1:1",), b"certificate"), GenesisValidator(A, 10)]
    return replace(
        genesis_of(SEMANTICS, "now", validators, [GenesisAccount(C, 5, 6), GenesisAccount(A, 1, 2)]), **changes
    )


def test_file_and_network_id_are_canonical() -> None:
    genesis = small()
    assert load_genesis_untrusted(save_genesis(genesis)) == genesis
    assert network_id(genesis) == network_id(small()) != network_id(small(created="later"))
    assert network_id(genesis).hex() == "78b5808afc75bd19e55e56437d63d5e5b8fb5ec0704fe5082bbafa18fe11b71b"


def test_members_are_sorted_and_voting_stake_is_locked() -> None:
    genesis = small()
    committee = genesis_committee(genesis)
    assert (committee.peers, committee.stakes) == ((A, B), (10, 20))
    accounts = genesis_accounts(genesis)
    assert (accounts[A].balance, accounts[A].stake, accounts[A].locked, accounts[A].unlocked) == (1, 12, 10, 2)
    assert (accounts[B].stake, accounts[B].unlocked, accounts[C].stake) == (20, 0, 6)
    assert Ledger(genesis).supply() == 1 + 12 + 20 + 5 + 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 4}, "genesis has protocol version 4, this program speaks 3: begin a new network"),
        ({"semantics_id": b""}, "semantics_id has 0 bytes"),
        ({"epoch": -1}, "epoch -1"),
        ({"created": "x" * 257}, "257 characters"),
        ({"validators": ()}, "0 validators"),
        ({"validators": (GenesisValidator(A, 0),)}, "validator 0a0a0a0a has stake 0"),
        ({"validators": (GenesisValidator(A, 1), GenesisValidator(A, 1))}, "validator 0a0a0a0a is named twice"),
        ({"validators": (GenesisValidator(B, 1), GenesisValidator(A, 1))}, "out of order"),
        ({"validators": (GenesisValidator(b"short", 1),)}, "5 bytes"),
        ({"validators": (GenesisValidator(A, 1, ("x",) * 9),)}, "9 addresses"),
        ({"validators": (GenesisValidator(A, 1, ("x" * 300,)),)}, "an address of validator 0a0a0a0a"),
        ({"validators": (GenesisValidator(A, 1, (), bytes(9000)),)}, "9000 bytes"),
        ({"accounts": (GenesisAccount(C, 1), GenesisAccount(C, 1))}, "account 0c0c0c0c is named twice"),
        ({"accounts": (GenesisAccount(C, -1),)}, "balance of account 0c0c0c0c is -1"),
        ({"accounts": (GenesisAccount(C, 0, -1),)}, "stake of account 0c0c0c0c is -1"),
        ({"accounts": (GenesisAccount(C, SUPPLY_MAX),)}, "is over 2\\^62 - 1"),
        ({"constants": Constants(missed_steps_max=0)}, "missed_steps_max is 0"),
        ({"economics": Economics(fee_flat=-1)}, "economics.fee_flat is -1, it must be between 0 and"),
        ({"economics": Economics(fee_open_job=1 << 41)}, "economics.fee_open_job is 2199023255552"),
        ({"economics": Economics(fee_burn_ppm=PPM + 1)}, "economics.fee_burn_ppm is 1000001"),
        ({"economics": Economics(reward_commits=0)}, "economics.reward_commits is 0, it must be between 1 and"),
        ({"economics": Economics(inflation_ppb=-1)}, "economics.inflation_ppb is -1"),
        ({"economics": Economics(supply_cap=43)}, "economics.supply_cap is 43, it must be between 44 and"),
        ({"economics": Economics(unbonding_commits=-1)}, "economics.unbonding_commits is -1"),
        ({"economics": Economics(equivocation_slash_ppm=PPM + 1)}, "economics.equivocation_slash_ppm is 1000001"),
        ({"economics": Economics(reporter_reward_ppm=-1)}, "economics.reporter_reward_ppm is -1"),
        (
            {"consensus": ConsensusOptions(hybrid_signatures=True)},
            "key of 0 bytes, this network needs 1952",
        ),
        ({"consensus": ConsensusOptions(wave_rounds=4)}, "wave_rounds of the consensus options is 4"),
        ({"consensus": ConsensusOptions(checkpoint_commits=0)}, "checkpoint_commits of the consensus options is 0"),
        ({"consensus": ConsensusOptions(wave_rounds=2)}, "waves of 2 rounds need 6 validators or more"),
        ({"validators": (GenesisValidator(A, 1, (), b"", b"key"),)}, "key of 3 bytes, this network needs 0"),
        ({"constants": Constants(slash_share_divisor=0)}, "slash_share_divisor is 0"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], message: str) -> None:
    broken = small(**changes)
    with pytest.raises(LocalError, match=message):
        Ledger(broken)
    with pytest.raises(PeerError, match=message):
        load_genesis_untrusted(save_genesis(broken))


OLD_GENESIS = encode((1, SEMANTICS, 0, "then", [(A, 5, [], b"")], [(C, 1, 0)], (2_000, 3, 100, 2)))


def test_an_old_genesis_gives_one_clear_sentence() -> None:
    """Not a complaint about fields it does not have."""
    message = "genesis has protocol version 1, this program speaks 3: begin a new network, or run the program that"
    with pytest.raises(PeerError, match=message):
        load_genesis_untrusted(OLD_GENESIS)


def test_a_hybrid_network_names_a_key_for_each_validator() -> None:
    validators = [GenesisValidator(A, 1, (), b"", bytes(1_952))]
    genesis = genesis_of(SEMANTICS, "now", validators, consensus=ConsensusOptions(hybrid_signatures=True))
    assert load_genesis_untrusted(save_genesis(genesis)) == genesis


def test_damaged_files_are_refused() -> None:
    data = save_genesis(small())
    for broken in (b"", data[:-1], data + b"\0", b"{}"):
        with pytest.raises(PeerError):
            load_genesis_untrusted(broken)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_strangers_bytes_raise_nothing_but_a_peers_error(data: Any) -> None:
    whole = save_genesis(small())
    for _ in range(data.draw(st.integers(1, 3))):
        at, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 3))
        whole = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + length :]
    try:
        genesis = load_genesis_untrusted(whole)
    except PeerError:
        return
    assert save_genesis(genesis) == whole
    Ledger(genesis)
