"""An account is proved under a state root, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import merkle_root
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.ledger.account_proof import AccountProof, verify_account_untrusted
from synaptic_mesh.ledger.account_table import ROW, Account
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.ledger import Ledger
from synaptic_mesh.ledger.merkle import MerkleTable, root_of_path


def peer(number: int) -> bytes:
    return number.to_bytes(32, "big")


def ledger_of(accounts: int) -> Ledger:
    return Ledger(
        genesis_of(
            bytes(32),
            "proofs",
            [GenesisValidator(peer(1), 7)],
            [GenesisAccount(peer(number), 1_000 + number, number) for number in range(1, accounts + 1)],
        )
    )


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return ledger_of(700)  # three pages, the last of which has no neighbour


def proof_of(ledger: Ledger, number: int) -> AccountProof:
    proof = ledger.prove(peer(number))
    assert proof is not None
    return proof


def check(ledger: Ledger, number: int, proof: AccountProof) -> Account:
    return verify_account_untrusted(ledger.network, ledger.state_root(), peer(number), encode(proof))


@pytest.mark.parametrize("number", [1, 2, 256, 257, 512, 513, 700])
def test_every_account_is_proved(ledger: Ledger, number: int) -> None:
    assert check(ledger, number, proof_of(ledger, number)) == ledger.account(peer(number))


def test_pages_prove_all_accounts_as_they_were(ledger: Ledger) -> None:
    pages, root = ledger.prove_pages(), ledger.state_root()
    assert (len(pages), ledger.account_count) == (3, 700)
    for number in (1, 256, 257, 700):
        page = ledger.page_of(peer(number))
        assert page is not None
        proof = encode(pages[page])
        assert verify_account_untrusted(ledger.network, root, peer(number), proof) == ledger.account(peer(number))
    assert ledger.page_of(peer(701)) is None


def test_one_that_was_never_opened_has_no_proof(ledger: Ledger) -> None:
    assert ledger.prove(peer(701)) is None
    with pytest.raises(PeerError, match="does not hold account"):
        check(ledger, 701, proof_of(ledger, 700))


def richer(proof: AccountProof) -> AccountProof:
    page = bytearray(proof.page)
    page[32] ^= 1
    return replace(proof, page=bytes(page))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (richer, "leads to another state root"),
        (lambda proof: replace(proof, page=proof.page[: ROW.itemsize]), "leads to another state root"),
        (lambda proof: replace(proof, page=proof.page[:-1]), "no number of rows"),
        (lambda proof: replace(proof, path=proof.path[1:]), "leads to another state root"),
        (lambda proof: replace(proof, path=((True, proof.path[0][1]), *proof.path[1:])), "leads to another state root"),
        (
            lambda proof: replace(proof, parts=replace(proof.parts, money=bytes([1]) * 40)),
            "leads to another state root",
        ),
        (lambda proof: replace(proof, parts=replace(proof.parts, jobs=bytes(31))), "cannot decode"),
        (lambda proof: replace(proof, path=proof.path * 40), "cannot decode|over the limit"),
    ],
)
def test_a_changed_proof_proves_nothing(ledger: Ledger, change: Any, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        check(ledger, 2, change(proof_of(ledger, 2)))


def test_another_network_has_other_roots(ledger: Ledger) -> None:
    with pytest.raises(PeerError, match="another state root"):
        verify_account_untrusted(bytes(32), ledger.state_root(), peer(2), encode(proof_of(ledger, 2)))


@given(st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_paths_of_any_tree_lead_to_its_root(size: int, data: Any) -> None:
    table = MerkleTable("t")
    leaves = [bytes([number]) * 32 for number in range(size)]
    for number, leaf in enumerate(leaves):
        table.set(number, leaf)
    index = data.draw(st.integers(0, size - 1))
    assert root_of_path(leaves[index], table.path(index), "t") == merkle_root(leaves, "t")
    other = data.draw(st.integers(0, size - 1))
    assert (root_of_path(leaves[other], table.path(index), "t") == merkle_root(leaves, "t")) == (other == index)
