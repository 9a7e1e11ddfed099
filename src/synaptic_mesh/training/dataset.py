"""Data for a job: rows split into training and held-out rows, scaled, dealt into shards, and described by a manifest.

Everything follows from the examples and a seed by integer arithmetic, so the same input gives the same digests.
"""

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.arrays import F32, Array, canonical_bytes, from_canonical_untrusted
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.ledger.admission import TEXT_CHARS_MAX
from synaptic_mesh.ledger.manifest import PPM, BlobRef, DataManifest, Shard, TensorSpec
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.prepared import (
    ClassTarget,
    NumberTarget,
    Prepared,
    decode_prepared_untrusted,
    encode_prepared,
)
from synaptic_mesh.training.scaling import fit_features, fit_target, scale_features, scale_targets

TEST_PPM = 200_000
"""Held-out part of the rows unless stated."""
SHARDS_MAX = 1024

Rows = npt.NDArray[np.int64]


class Dataset(msgspec.Struct, frozen=True):
    """Scaled rows. x: (rows, width) f32; y: (rows,) i32 labels or (rows, outputs) f32. Test rows are never assigned."""

    name: str
    prepared: Prepared
    x_train: F32
    y_train: Array
    x_test: F32
    y_test: Array


def split_examples(examples: Examples, seed: int, test_ppm: int = TEST_PPM) -> Dataset:
    """Return the examples split, scaled by the training rows alone, both parts shuffled.

    For classes the held-out part is drawn from each class, rounded down; a class with one row is only trained on.
    Raises LocalError when there are too few rows to hold any out, or the share is not between 0 and 1.
    """
    if not 0 < test_ppm < PPM:
        raise LocalError(f"the held-out share {test_ppm} ppm must be above 0 and below {PPM}")
    train, test = split_rows(examples, seed, test_ppm)
    target = examples.prepared.target
    if isinstance(target, ClassTarget) and not len(test) and len(target.classes) > 1:
        raise LocalError(
            f"{examples.name}: target {target.name!r} has {len(target.classes)} classes in {len(examples.x)} rows, so "
            "none can be spared to test with; give more rows of each class, or use --task regress for a number"
        )
    if not len(train) or not len(test):
        raise LocalError(
            f"{examples.name}: {len(examples.x)} rows leave none to {'train on' if not len(train) else 'test with'}; "
            "add rows or change the held-out share"
        )
    prepared = examples.prepared
    if not examples.scaling_fixed:
        prepared = fit_features(prepared, examples.x[train])
        prepared = fit_target(prepared, cast(F32, examples.y[train]))
    x = scale_features(prepared, examples.x)
    target = prepared.target
    y = scale_targets(target, cast(F32, examples.y)) if isinstance(target, NumberTarget) else examples.y
    return Dataset(examples.name, prepared, x[train], y[train], x[test], y[test])


def split_rows(examples: Examples, seed: int, test_ppm: int) -> tuple[Rows, Rows]:
    """Return (training rows, held-out rows), each in a shuffled order that depends on the seed alone."""
    if isinstance(examples.prepared.target, ClassTarget):
        groups = [np.flatnonzero(examples.y == label) for label in range(examples.prepared.outputs)]
    else:
        groups = [np.arange(len(examples.x))]
    train: list[int] = []
    test: list[int] = []
    for label, group in enumerate(groups):
        rows = [int(row) for row in group]
        derive_random(seed, "split", label).shuffle(rows)
        held_out = len(rows) * test_ppm // PPM
        test += rows[:held_out]
        train += rows[held_out:]
    derive_random(seed, "train-order").shuffle(train)
    derive_random(seed, "test-order").shuffle(test)
    return np.array(train, np.int64), np.array(test, np.int64)


def pack_dataset(dataset: Dataset, shard_count: int) -> tuple[DataManifest, dict[bytes, bytes]]:
    """Return the manifest of the data and its blobs by digest. Training rows are dealt to the shards in turn.

    The training rows of a Dataset are shuffled, so shards are alike (IID) and differ by one row at most. Raises
    LocalError when there are more shards than rows.
    """
    rows = len(dataset.x_train)
    if not 1 <= shard_count <= min(rows, SHARDS_MAX):
        raise LocalError(
            f"{rows} training rows cannot be dealt to {shard_count} shards; use 1 to {min(rows, SHARDS_MAX)}"
        )
    blobs: dict[bytes, bytes] = {}
    parts = [(dataset.x_train[at::shard_count], dataset.y_train[at::shard_count]) for at in range(shard_count)]
    shards = [_add_shard(blobs, x, y) for x, y in [*parts, (dataset.x_test, dataset.y_test)]]
    manifest = DataManifest(
        name=dataset.name[-TEXT_CHARS_MAX:],
        row=row_specs(dataset.prepared),
        shards=tuple(shards[:-1]),
        test=shards[-1],
        prepared=encode_prepared(dataset.prepared),
    )
    return manifest, blobs


def row_specs(prepared: Prepared) -> tuple[TensorSpec, ...]:
    """Return what a row looks like: x f32 (width,), then y i32 () or f32 (outputs,)."""
    if isinstance(prepared.target, ClassTarget):
        return TensorSpec("x", "f32", (prepared.width,)), TensorSpec("y", "i32", ())
    return TensorSpec("x", "f32", (prepared.width,)), TensorSpec("y", "f32", (prepared.outputs,))


def decode_shard_untrusted(data: DataManifest, shard: Shard, blob: bytes | memoryview) -> tuple[F32, Array]:
    """Return (x, y) of a shard's blob, in the shapes that `Dataset` states.

    Raises PeerError: digest, length or description do not fit, a value is not finite, or a label is out of range.
    """
    if len(blob) != shard.blob.size or blob_digest(blob) != shard.blob.digest:
        raise PeerError(f"{len(blob)} bytes are not the shard of {shard.blob.size} bytes that the manifest names")
    prepared = decode_prepared_untrusted(data.prepared)
    if data.row != row_specs(prepared):
        raise PeerError(f"rows {[spec.name for spec in data.row]} do not fit the description of the columns")
    if shard.rows < 1:
        raise PeerError(f"a shard of {shard.rows} rows is empty")
    x, y = _decode_tensors(data.row, shard.rows, memoryview(blob))
    if not np.isfinite(x).all() or (y.dtype.kind == "f" and not np.isfinite(y).all()):
        raise PeerError("a shard holds a value that is not finite")
    if isinstance(prepared.target, ClassTarget) and not ((y >= 0) & (y < prepared.outputs)).all():
        raise PeerError(f"a shard holds a label outside 0..{prepared.outputs - 1}")
    return x, y


def _add_shard(blobs: dict[bytes, bytes], x: F32, y: Array) -> Shard:
    blob = canonical_bytes(x) + canonical_bytes(y)
    digest = blob_digest(blob)
    blobs[digest] = blob
    return Shard(BlobRef(digest, len(blob)), len(x))


def _decode_tensors(specs: Sequence[TensorSpec], rows: int, blob: memoryview) -> list[Array]:
    tensors: list[Array] = []
    at = 0
    for spec in specs:
        size = 4 * rows * int(np.prod(spec.shape, dtype=np.int64))
        tensors.append(from_canonical_untrusted(blob[at : at + size], spec.dtype, (rows, *spec.shape)))
        at += size
    if at != len(blob):
        raise PeerError(f"a shard of {len(blob)} bytes has {len(blob) - at} bytes beyond its {rows} rows")
    return tensors
