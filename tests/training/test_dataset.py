"""Splitting, sharding and decoding: deterministic, disjoint, checked."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.ledger.manifest import BlobRef, Shard
from synaptic_mesh.training.columns import examples_from_table
from synaptic_mesh.training.dataset import decode_shard_untrusted, pack_dataset, split_examples, split_rows
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.prepared import ONE_BITS, ClassTarget, NumberTarget, NumericColumn, Prepared
from synaptic_mesh.training.table import parse_csv


def classes(counts: list[int]) -> Examples:
    y = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    x = np.arange(len(y), dtype=np.float32).reshape(-1, 1)
    return Examples("c", Prepared((NumericColumn("a"),), ClassTarget("y", tuple("abcdef"[: len(counts)]))), x, y)


def numbers(rows: int) -> Examples:
    x = np.arange(rows, dtype=np.float32).reshape(-1, 1)
    target = NumberTarget(("y",), (0,), (ONE_BITS,), (ONE_BITS,))
    return Examples("n", Prepared((NumericColumn("a"),), target), x, x * np.float32(2))


def test_the_split_is_disjoint_complete_and_stratified() -> None:
    examples = classes([50, 10, 1])
    train, test = split_rows(examples, 3, 200_000)
    assert sorted([*train, *test]) == list(range(61))
    assert np.bincount(examples.y[test], minlength=3).tolist() == [10, 2, 0]


def test_the_split_depends_on_the_seed_alone() -> None:
    first, again, other = (split_rows(numbers(40), seed, 200_000)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_constants_come_from_training_rows_only() -> None:
    dataset = split_examples(numbers(40), 1)
    assert abs(float(dataset.x_train.mean())) < 1e-6
    assert abs(float(dataset.x_test.mean())) > 1e-3
    assert abs(float(dataset.y_train.std()) - 1) < 1e-6


def test_digits_keep_their_fixed_scaling() -> None:
    dataset = split_examples(load_digits(), 5)
    assert dataset.prepared == load_digits().prepared
    assert (len(dataset.x_train), len(dataset.x_test)) == (1442, 355)


def test_digests_are_pinned() -> None:
    """Whoever prepares the digits with seed 5 gets these shards, on any machine."""
    manifest, blobs = pack_dataset(split_examples(load_digits(), 5), 5)
    assert [shard.rows for shard in manifest.shards] == [289, 289, 288, 288, 288]
    assert set(blobs) == {shard.blob.digest for shard in (*manifest.shards, manifest.test)}
    assert manifest.shards[0].blob.digest.hex()[:16] == "081696533da3e4b4"


@pytest.mark.parametrize(
    ("examples", "ppm", "reason"),
    [
        (classes([4, 4]), 200_000, r"2 classes in 8 rows, so none can be spared.*or use --task regress"),
        (numbers(2), 400_000, r"2 rows leave none to test with; add rows"),
        (classes([4]), 200_000, r"4 rows leave none to test with; add rows"),
    ],
)
def test_too_few_rows_to_hold_any_out_are_refused(examples: Examples, ppm: int, reason: str) -> None:
    with pytest.raises(LocalError, match=reason):
        split_examples(examples, 1, ppm)


@pytest.mark.parametrize("ppm", [0, 1_000_000, -1])
def test_a_senseless_share_is_refused(ppm: int) -> None:
    with pytest.raises(LocalError, match="held-out share"):
        split_examples(numbers(20), 1, ppm)


@pytest.mark.parametrize("count", [0, 17, 2000])
def test_a_senseless_shard_count_is_refused(count: int) -> None:
    with pytest.raises(LocalError, match=f"cannot be dealt to {count} shards; use 1 to 16"):
        pack_dataset(split_examples(numbers(20), 1), count)


@pytest.mark.parametrize("examples", [classes([20, 20]), numbers(40)])
def test_shards_decode_to_every_training_row_once(examples: Examples) -> None:
    dataset = split_examples(examples, 1)
    manifest, blobs = pack_dataset(dataset, 3)
    parts = [decode_shard_untrusted(manifest, shard, blobs[shard.blob.digest]) for shard in manifest.shards]
    assert sorted(np.concatenate([x for x, _ in parts]).ravel()) == sorted(dataset.x_train.ravel())
    x, y = decode_shard_untrusted(manifest, manifest.test, blobs[manifest.test.blob.digest])
    assert (x.tobytes(), y.tobytes()) == (dataset.x_test.tobytes(), dataset.y_test.tobytes())
    assert all(abs(len(a) - len(b)) <= 1 for (a, _), (b, _) in pairwise(parts))


def forge(blob: bytes, rows: int) -> Shard:
    return Shard(BlobRef(blob_digest(blob), len(blob)), rows)


def test_a_false_shard_is_refused() -> None:
    manifest, blobs = pack_dataset(split_examples(classes([20, 20]), 1), 2)
    shard = manifest.shards[0]
    blob = blobs[shard.blob.digest]
    x = np.zeros((2, 1), np.float32)
    y = np.array([0, 1], np.int32)
    not_finite = np.array([[0], [np.inf]], np.float32)
    cases = [
        (manifest, shard, blob[:-1]),
        (manifest, shard, bytes([blob[0] ^ 1]) + blob[1:]),
        (manifest, forge(blob, shard.rows + 1), blob),
        (manifest, forge(b"", 0), b""),
        (manifest, forge(blob + b"\0", shard.rows), blob + b"\0"),
        (manifest, forge(b"", -1), b""),
    ]
    for bad_x, bad_y in ((not_finite, y), (x, y + 1), (x, y - 1)):
        forged = bad_x.tobytes() + bad_y.tobytes()
        cases.append((manifest, forge(forged, 2), forged))
    cases.append((msgspec.structs.replace(manifest, prepared=b"x"), shard, blob))
    cases.append((msgspec.structs.replace(manifest, row=manifest.row[:1]), shard, blob))
    for data, bad_shard, bad_blob in cases:
        with pytest.raises(PeerError):
            decode_shard_untrusted(data, bad_shard, bad_blob)
    good = x.tobytes() + y.tobytes()
    assert decode_shard_untrusted(manifest, forge(good, 2), good)[1].tolist() == [0, 1]


def test_a_csv_travels_the_whole_way() -> None:
    text = "size,colour,y\n" + "".join(f"{at},{'red' if at % 3 else 'blue'},{at % 2}\n" for at in range(30))
    dataset = split_examples(examples_from_table(parse_csv(text.encode(), "t.csv")), 1)
    manifest, blobs = pack_dataset(dataset, 2)
    x, y = decode_shard_untrusted(manifest, manifest.shards[1], blobs[manifest.shards[1].blob.digest])
    assert x.shape == (12, 3)
    assert set(y.tolist()) == {0, 1}
