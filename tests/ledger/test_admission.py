from typing import Any

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.ledger.admission import check_manifest, escrow_of
from synaptic_mesh.ledger.manifest import BlobRef, Shard, TensorSpec

W = TensorSpec("w", "f32", (4,))


def test_a_good_manifest_passes_and_its_escrow_covers_every_update(make_manifest: Any) -> None:
    manifest = make_manifest(reward_per_update=5, audit_fee_per_update=2, outer_steps=7)
    check_manifest(manifest, manifest.semantics_id, 4)
    assert escrow_of(manifest) == 2 * (5 + 2) * 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"semantics_id": bytes(32)}, "engine semantics 00000000"),
        ({"task": "cluster"}, "task is 'cluster'"),
        ({"codec": "int8"}, "codec is 'int8'"),
        ({"model": ""}, "model has 0 characters"),
        ({"step_graph": BlobRef(b"", 1)}, "digest of step_graph has 0 bytes"),
        ({"predict_graph": BlobRef(bytes(32), 0)}, "bytes of predict_graph is 0"),
        ({"initial_state": BlobRef(bytes(32), 1 << 40)}, "bytes of initial_state"),
        ({"initial_root": b"x"}, "initial_root has 1 bytes"),
        ({"optimizer_state": (W,)}, "bytes of optimizer_init is 0"),
        ({"parameters": ()}, "number of tensors in parameters is 0"),
        ({"parameters": (W,) * 1025}, "number of tensors in parameters is 1025"),
        ({"parameters": (W, W)}, "'w' is named twice"),
        ({"parameters": (TensorSpec("w", "f64", (4,)),)}, "'f64'"),
        ({"parameters": (TensorSpec("w", "f32", (0,)),)}, "extent of tensor 'w' is 0"),
        ({"parameters": (TensorSpec("w", "f32", (1 << 20, 1 << 20)),)}, "elements of tensor 'w'"),
        ({"parameters": (TensorSpec("w", "f32", (1,) * 9),)}, "rank of tensor 'w' is 9"),
        ({"seed": -1}, "seed is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"inner_steps": 0}, "inner_steps is 0"),
        ({"outer_steps": 0}, "outer_steps is 0"),
        ({"outer_steps": 1 << 20}, "outer_steps x workers_max"),
        ({"workers_max": 0}, "workers_max is 0"),
        ({"workers_max": 257}, "workers_max is 257"),
        ({"workers_max": 9}, "the data has only 8"),
        ({"workers_min": 3}, "workers_min is 3"),
        ({"audit_rate_ppm": 500_000}, "audit_rate_ppm is 500000"),
        ({"audit_rate_ppm": 0}, "this one has 4"),
        ({"enrol_ms": 0}, "enrol_ms is 0"),
        ({"work_ms": 1 << 40}, "work_ms is"),
        ({"grace_ms": -1}, "grace_ms is -1"),
        ({"grace_ms": 499}, "grace_ms is 499"),
        *(({name: 999}, f"{name} is 999") for name in ("work_ms", "available_ms", "audit_ms", "root_ms")),
        ({"attempts_max": 0}, "attempts_max is 0"),
        ({"challenge_steps": 1001}, "challenge_steps is 1001"),
        ({"reward_per_update": -1}, "reward_per_update is -1"),
        ({"stake_per_update": 1 << 62}, "stake_per_update is"),
        ({"reward_per_update": (1 << 62) - 1}, "more than any supply"),
        (
            {"initial_state": BlobRef(bytes(32), 1 << 30), "step_graph": BlobRef(bytes(32), (1 << 30) + 1)},
            "bytes of step",
        ),
    ],
)
def test_what_is_wrong_is_named(make_manifest: Any, changes: dict[str, Any], message: str) -> None:
    good = make_manifest()
    with pytest.raises(LocalError, match=message):
        check_manifest(make_manifest(**changes), good.semantics_id, 4)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("data", {"shards": ()}, "number of shards is 0"),
        ("data", {"shards": (Shard(BlobRef(bytes(32), 1), 1),) * 4097}, "number of shards is 4097"),
        ("data", {"shards": (Shard(BlobRef(bytes(32), 1), 0),)}, "rows of shard 0 is 0"),
        ("data", {"test": Shard(BlobRef(bytes(3), 1), 1)}, "digest of test shard has 3 bytes"),
        ("data", {"row": ()}, "number of tensors in data.row is 0"),
        ("data", {"name": "x" * 129}, "data.name has 129"),
        ("data", {"prepared": bytes((1 << 18) + 1)}, "bytes of data.prepared"),
        ("outer", {"optimizer": "adam"}, "outer optimizer is 'adam'"),
        ("outer", {"aggregation": "sum"}, "aggregation is 'sum'"),
        ("outer", {"learning_rate_bits": 0x7FC00000}, "learning_rate_bits is 0x7fc00000"),
        ("outer", {"momentum_bits": -1}, "momentum_bits"),
        ("outer", {"clip_factor_bits": 1 << 32}, "clip_factor_bits"),
        ("outer", {"clip_iterations": 65}, "clip_iterations is 65"),
    ],
)
def test_what_is_wrong_inside_is_named(make_manifest: Any, part: str, changes: dict[str, Any], message: str) -> None:
    good = make_manifest()
    broken = replace(good, **{part: replace(getattr(good, part), **changes)})
    with pytest.raises(LocalError, match=message):
        check_manifest(broken, good.semantics_id, 4)


def test_one_validator_may_leave_its_own_work_unaudited(make_manifest: Any) -> None:
    manifest = make_manifest(audit_rate_ppm=0)
    check_manifest(manifest, manifest.semantics_id, 1)


def test_everything_at_its_bound_is_still_too_long_together(make_manifest: Any) -> None:
    good = make_manifest()
    tensors = tuple(TensorSpec(f"{index:04d}" + "ß" * 124, "f32", (1 << 30,)) for index in range(1024))
    data = replace(good.data, shards=good.data.shards * 128, prepared=bytes(1 << 18))
    broken = replace(good, parameters=tensors, optimizer_state=tensors, optimizer_init=good.step_graph, data=data)
    with pytest.raises(LocalError, match="over the limit of 524288"):
        check_manifest(broken, good.semantics_id, 4)


def test_what_every_validator_must_fetch_is_bounded_as_a_whole(make_manifest: Any) -> None:
    manifest = make_manifest()
    large = Shard(BlobRef(bytes(32), 1 << 30), 5)
    fits = replace(manifest, data=replace(manifest.data, shards=(large,) * 15))
    check_manifest(fits, fits.semantics_id, 4)
    over = replace(manifest, data=replace(manifest.data, shards=(large,) * 16))
    with pytest.raises(LocalError, match="bytes of all blobs together"):
        check_manifest(over, over.semantics_id, 4)


def test_one_validator_alone_may_be_in_a_hurry(make_manifest: Any) -> None:
    manifest = make_manifest(grace_ms=0, work_ms=1, available_ms=1, audit_ms=1, root_ms=1)
    check_manifest(manifest, manifest.semantics_id, 1)
