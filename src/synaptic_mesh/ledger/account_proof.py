"""Proof of one account under a state root, for whoever does not hold the state.

    state root = H(network, accounts root, the other parts)        accounts root = Merkle root over pages of accounts

A proof is the page that holds the account, the page's path to the accounts root, and the other parts. There is no proof
that an account does not exist: accounts stand in the order in which they were opened.
"""

from typing import Annotated

import msgspec

from synaptic_mesh.base.codec import Record, decode_untrusted
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import DIGEST_BYTES, Digest, short
from synaptic_mesh.ledger.account_table import (
    PAGE_ACCOUNTS,
    PAGES_DOMAIN,
    ROW,
    Account,
    page_leaf,
    rows_of_page,
)
from synaptic_mesh.ledger.merkle import root_of_path

PATH_STEPS_MAX = 32
"""Levels of the tree over the pages; a ledger's largest has 12."""
PROOF_BYTES_MAX = PAGE_ACCOUNTS * ROW.itemsize + PATH_STEPS_MAX * (DIGEST_BYTES + 8) + 1_024

Hash = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Money = Annotated[bytes, msgspec.Meta(min_length=40, max_length=40)]
Position = Annotated[bytes, msgspec.Meta(min_length=24, max_length=24)]
Page = Annotated[bytes, msgspec.Meta(min_length=ROW.itemsize, max_length=PAGE_ACCOUNTS * ROW.itemsize)]
Path = Annotated[tuple[tuple[bool, Hash], ...], msgspec.Meta(max_length=PATH_STEPS_MAX)]


class StateParts(Record):
    """What a state root covers beside the accounts. `money` is treasury, held, collected, minted and burned; `position`
    is progress time, newest timestamp and commit index: i64 each, little-endian.
    """

    jobs: Hash
    money: Money
    position: Position
    validators: Hash


class AccountProof(Record):
    """See the module's docstring. `path` leads upwards: (is it on the left, the other node)."""

    page: Page
    path: Path
    parts: StateParts


def state_root_of(network: bytes, accounts: Digest, parts: StateParts) -> Digest:
    """Return the state root over its parts."""
    return hash_bytes("SM/state/v2", network, accounts, parts.jobs, parts.money, parts.position, parts.validators)


def verify_account_untrusted(network: bytes, state_root: bytes, peer: bytes, data: bytes) -> Account:
    """Return the account as it was in the state with this root, which the caller believes (`light_client.py`). Raises
    PeerError when the bytes are no proof of it.
    """
    proof = decode_untrusted(AccountProof, data, PROOF_BYTES_MAX)
    if len(proof.page) % ROW.itemsize:
        raise PeerError(f"a page of {len(proof.page)} bytes, which is no number of rows of {ROW.itemsize}")
    accounts = root_of_path(page_leaf(proof.page), proof.path, PAGES_DOMAIN)
    if state_root_of(network, accounts, proof.parts) != state_root:
        raise PeerError(f"the proof leads to another state root than {short(state_root)}")
    account = rows_of_page(proof.page).get(peer)
    if account is None:
        raise PeerError(f"the page that is proved does not hold account {short(peer)}")
    return account
