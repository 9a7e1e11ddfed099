"""The pool's bounds, duplicates, and the way back from a block that was never ordered."""

from synaptic_mesh.consensus.admission import TRANSACTION_BYTES_MAX
from synaptic_mesh.consensus.pool import Pool


def test_transactions_leave_in_order_within_count_and_bytes() -> None:
    pool = Pool(10, 1_000)
    assert pool.submit([b"a", b"b", b"c" * 50]) == ([], "")
    assert pool.take(1, 2, 100) == (b"a", b"b")
    assert pool.take(2, 2, 100) == (b"c" * 50,)
    assert pool.take(3, 2, 100) == ()


def test_bytes_end_a_block_but_never_starve_a_large_transaction() -> None:
    pool = Pool(10, 1_000)
    pool.submit([b"a" * 60, b"b" * 60])
    assert pool.take(1, 9, 100) == (b"a" * 60,)
    assert pool.take(2, 9, 10) == (b"b" * 60,)


def test_a_known_transaction_is_ignored_while_waiting_and_in_flight() -> None:
    pool = Pool(10, 1_000)
    pool.submit([b"a", b"a"])
    assert len(pool) == 1
    pool.take(1, 9, 100)
    pool.submit([b"a"])
    assert len(pool) == 0
    pool.release(1)
    pool.submit([b"a"])
    assert len(pool) == 1


def test_bounds_count_what_is_in_flight() -> None:
    pool = Pool(2, 1_000)
    pool.submit([b"a", b"b"])
    pool.take(1, 1, 100)
    assert pool.submit([b"c"]) == ([b"c"], "the pool holds its maximum of 2 transactions: submit again later")
    pool.release(1)
    assert pool.submit([b"c"]) == ([], "")
    small = Pool(10, 5)
    refused, reason = small.submit([b"abc", b"def", b"gh"])
    assert refused == [b"def"]
    assert "3 of 5 bytes" in reason


def test_empty_and_oversized_transactions_are_refused_by_size() -> None:
    pool = Pool(10, 1 << 30)
    assert pool.submit([b""])[1].startswith("a transaction of 0 bytes")
    assert pool.submit([bytes(TRANSACTION_BYTES_MAX + 1)])[0] != []
    assert pool.submit([bytes(TRANSACTION_BYTES_MAX)]) == ([], "")


def test_blocks_below_the_gc_round_give_their_transactions_back_oldest_first() -> None:
    pool = Pool(10, 1_000)
    pool.submit([b"a", b"b", b"c", b"d"])
    pool.take(1, 2, 100)
    pool.take(2, 1, 100)
    pool.expire(0)
    assert len(pool) == 1
    pool.expire(2)
    assert pool.take(3, 9, 100) == (b"a", b"b", b"c", b"d")
    assert pool.bytes == 4


def test_a_restored_block_is_in_flight_once() -> None:
    pool = Pool(10, 1_000)
    pool.restore(1, (b"a", b"b"))
    pool.expire(1)
    pool.restore(5, (b"a", b"b"))  # the later own block that carried them again
    assert len(pool) == 0
    assert pool.bytes == 2
    pool.release(5)
    assert pool.bytes == 0
