"""Sizes that meet at a border: what one layer accepts, the next one must be able to carry.

A node that holds a block too large for a message would end itself by answering for it, and a transaction that fits no
block would hold its nonce, and all later ones of its account, for ever.
"""

import pytest

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.consensus.admission import BLOCK_PAYLOAD_BYTES_MAX, TRANSACTION_BYTES_MAX, Admission
from synaptic_mesh.consensus.messages import Blocks, OwnRoundAnswer, encode_message
from synaptic_mesh.consensus.pool import Pool
from synaptic_mesh.consensus.settings import Settings, lan, wan
from synaptic_mesh.identity.committee import COMMITTEE_SIZE_MAX, committee_of
from synaptic_mesh.identity.envelope import PAYLOAD_BYTES_MAX
from synaptic_mesh.ledger import signing, transactions
from synaptic_mesh.ledger.admission import MANIFEST_BYTES_MAX

NONCE_MAX = (1 << 63) - 1
BLOCK_PREFIX_BYTES = 16
"""More than the codec puts before each block of an answer."""


def test_any_admitted_block_fits_in_any_message() -> None:
    committee = committee_of(0, {index.to_bytes(32, "big"): 1 for index in range(COMMITTEE_SIZE_MAX)})  # type: ignore[misc]
    largest = bytes(Admission(committee, NetworkId(bytes(32))).block_bytes_max)
    assert len(encode_message(Blocks((largest,)))) <= PAYLOAD_BYTES_MAX
    assert len(encode_message(OwnRoundAnswer(NONCE_MAX, largest))) <= PAYLOAD_BYTES_MAX


@pytest.mark.parametrize("settings", [Settings(), lan(), wan()])
def test_an_answer_of_many_blocks_fits_in_a_message(settings: Settings) -> None:
    assert settings.answer_bytes_max + settings.answer_blocks_max * BLOCK_PREFIX_BYTES <= PAYLOAD_BYTES_MAX


def test_the_largest_transaction_of_the_ledger_fits_in_a_block() -> None:
    largest = bytes(transactions.TRANSACTION_BYTES_MAX + signing.ENVELOPE_BYTES_MAX)
    assert len(largest) <= TRANSACTION_BYTES_MAX
    pool = Pool(10, 10 * len(largest))
    assert pool.submit([largest]) == ([], "")
    assert len(encode(pool.take(1, 10, Settings().block_payload_bytes_max))) <= BLOCK_PAYLOAD_BYTES_MAX


def test_the_largest_manifest_fits_in_a_transaction() -> None:
    assert MANIFEST_BYTES_MAX + 1_024 <= transactions.TRANSACTION_BYTES_MAX
