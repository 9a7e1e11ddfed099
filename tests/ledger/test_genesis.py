from typing import Any

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.ledger.amounts import SUPPLY_MAX
from synaptic_mesh.ledger.genesis import (
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
    assert network_id(genesis).hex() == "5e7fafdd6039ec853ae49448c4199defd16838aabfdfd0959c58cbf407828ece"


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
        ({"version": 2}, "protocol version 2"),
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
        ({"constants": Constants(slash_share_divisor=0)}, "slash_share_divisor is 0"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], message: str) -> None:
    broken = small(**changes)
    with pytest.raises(LocalError, match=message):
        Ledger(broken)
    with pytest.raises(PeerError, match=message):
        load_genesis_untrusted(save_genesis(broken))


def test_damaged_files_are_refused() -> None:
    data = save_genesis(small())
    for broken in (b"", data[:-1], data + b"\0", b"{}"):
        with pytest.raises(PeerError):
            load_genesis_untrusted(broken)
