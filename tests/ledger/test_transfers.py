import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import NetworkId
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.amounts import AMOUNT_MAX
from synaptic_mesh.ledger.signing import sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import Transaction, TransferMany
from synaptic_mesh.ledger.transfers import (
    RECORD,
    RECORD_BYTES,
    TRANSFERS_MAX,
    check_records_untrusted,
    exact_sums,
    pack_transfers,
    read_records,
    record_count,
)

A, B = bytes([1]) * 32, bytes([2]) * 32
ALICE, NETWORK = KeyPair(bytes([1]) * 32), NetworkId(bytes(32))


def test_layout_is_receiver_then_little_endian_amount() -> None:
    records = pack_transfers([(A, 1), (B, 0x0102030405060708)])
    assert records == A + bytes([1, 0, 0, 0, 0, 0, 0, 0]) + B + bytes([8, 7, 6, 5, 4, 3, 2, 1])
    assert (RECORD.itemsize, record_count(records)) == (RECORD_BYTES, 2) == (40, 2)
    assert read_records(records) == ([A, B], [1, 0x0102030405060708])


def test_receivers_keep_their_zero_bytes() -> None:
    receiver = bytes(31) + b"\1", b"\1" + bytes(31), bytes(32)
    assert read_records(pack_transfers((each, 1) for each in receiver))[0] == list(receiver)


@pytest.mark.parametrize(
    ("transfers", "message"),
    [
        ([], "0 transfers"),
        ([(A, 1)] * (TRANSFERS_MAX + 1), "4097 transfers"),
        ([(b"short", 1)], "receiver has 5 bytes"),
        ([(A, 0)], "amount 0"),
        ([(A, AMOUNT_MAX + 1)], "amount 9223372036854775808"),
    ],
)
def test_what_no_ledger_takes_is_not_packed(transfers: list[tuple[bytes, int]], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        pack_transfers(transfers)


@pytest.mark.parametrize("size", [0, 1, 39, 41, RECORD_BYTES * TRANSFERS_MAX + 1, RECORD_BYTES * (TRANSFERS_MAX + 1)])
def test_other_sizes_are_a_peers_error(size: int) -> None:
    with pytest.raises(PeerError, match=f"{size} bytes of transfers are not 1 to 4096 records of 40 bytes"):
        check_records_untrusted(bytes(size))
    transaction = Transaction(NETWORK, 0, ALICE.peer_id, 0, TransferMany(bytes(size)))
    with pytest.raises(PeerError, match="bytes of transfers"):
        verify_transaction_untrusted(sign_transaction(ALICE, transaction), NETWORK, 0)


def test_the_largest_batch_travels_under_one_signature() -> None:
    records = pack_transfers([(A, AMOUNT_MAX)] * TRANSFERS_MAX)
    data = sign_transaction(ALICE, Transaction(NETWORK, 0, ALICE.peer_id, 0, TransferMany(records)))
    assert verify_transaction_untrusted(data, NETWORK, 0).transaction.action == TransferMany(records)
    assert len(data) < RECORD_BYTES * TRANSFERS_MAX + 300


U64 = st.one_of(
    st.integers(0, (1 << 64) - 1), st.sampled_from([0, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 63) - 1, (1 << 64) - 1])
)


@given(st.lists(st.lists(U64, min_size=1, max_size=40), min_size=1, max_size=8))
def test_sums_are_those_of_python_integers(slices: list[list[int]]) -> None:
    amounts = np.array([amount for each in slices for amount in each], dtype=np.uint64)
    starts = [sum(map(len, slices[:index])) for index in range(len(slices))]
    assert exact_sums(amounts, starts) == [sum(each) for each in slices]
