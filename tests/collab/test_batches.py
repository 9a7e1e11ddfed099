import itertools

import numpy as np
import pytest
from blake3 import blake3

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.batches import ROWS_MAX, iterate_batches, order_rows

SEED = bytes(range(32))


def scalar_order(seed: bytes, pass_index: int, rows: int) -> list[int]:
    """The rule as the page states it, one row at a time."""
    material = b"\x11SM/batch-order/v1" + seed + pass_index.to_bytes(8, "little")
    stream = blake3(material).digest(length=4 * rows)
    draws = [int.from_bytes(stream[4 * row : 4 * row + 4], "little") for row in range(rows)]
    return sorted(range(rows), key=lambda row: (draws[row], row))


@pytest.mark.parametrize("rows", [1, 2, 7, 400])
def test_order_is_the_written_rule(rows):
    assert order_rows(SEED, 3, rows).tolist() == scalar_order(SEED, 3, rows)


def test_order_is_pinned():
    assert order_rows(SEED, 0, 8).tolist() == [5, 2, 6, 0, 1, 4, 3, 7]


def test_a_pass_visits_every_row_once_and_batches_cross_passes():
    batches = list(itertools.islice(iterate_batches(SEED, 10, 4), 5))
    assert [len(batch) for batch in batches] == [4] * 5
    sequence = np.concatenate(batches).tolist()
    assert sequence == scalar_order(SEED, 0, 10) + scalar_order(SEED, 1, 10)


def test_small_shards_wrap_inside_one_batch():
    batch = next(iterate_batches(SEED, 3, 7)).tolist()
    assert batch == scalar_order(SEED, 0, 3) + scalar_order(SEED, 1, 3) + scalar_order(SEED, 2, 3)[:1]


def test_seed_and_pass_matter():
    assert order_rows(SEED, 0, 50).tolist() != order_rows(SEED, 1, 50).tolist()
    assert order_rows(SEED, 0, 50).tolist() != order_rows(bytes(32), 0, 50).tolist()


@pytest.mark.parametrize(("rows", "batch"), [(0, 1), (ROWS_MAX + 1, 1), (5, 0)])
def test_sizes_out_of_range_are_refused_by_name(rows, batch):
    with pytest.raises(LocalError, match=str(rows if batch else batch)):
        next(iterate_batches(SEED, rows, batch))


def test_a_batch_over_a_tiny_shard_costs_its_rows_and_not_their_square(monkeypatch):
    """A sponsor chooses batch and shards. Joined one by one, a million passes copy four terabytes for one batch."""
    joined = []
    concatenate = np.concatenate
    monkeypatch.setattr(np, "concatenate", lambda parts: joined.append(len(parts)) or concatenate(parts))
    assert next(iterate_batches(SEED, 1, 500)).tolist() == [0] * 500
    assert joined == [500]
