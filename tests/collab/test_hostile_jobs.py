"""Whatever a sponsor puts into a manifest that the ledger admits, and into its blobs, a validator refuses it or runs
it. No other exception leaves the executor: it would end every validator that looks at the job.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.collab.messages import Computed, Failed, JobPrepared, PrepareJob, Refused
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.admission import DTYPES, TENSOR_ELEMENTS_MAX, TENSOR_RANK_MAX
from synaptic_mesh.ledger.manifest import BlobRef, Manifest, Shard, TensorSpec
from synaptic_mesh.workers.compute import ComputeShell

SMALL = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
extents = st.lists(st.sampled_from([1, 2, 3, 4, 8, 1 << 16, 1 << 20, TENSOR_ELEMENTS_MAX]), max_size=TENSOR_RANK_MAX)
specs = st.builds(
    TensorSpec,
    st.sampled_from(["x", "y", "layer0/weight", "layer0/bias", "layer1/weight", "momentum:x", "", "\0", "w" * 128]),
    st.sampled_from(DTYPES),
    extents.map(tuple),
)


def prepare(manifest: Manifest, blobs: dict[bytes, bytes]) -> Any:
    shell = ComputeShell(ReferenceBackend(), blobs.__getitem__, blob_digest, semantics_id())
    found = shell.execute(bytes(32), PrepareJob(bytes(32), manifest))
    assert isinstance(found, Computed), found
    return found.result


@pytest.mark.slow
@SMALL
@given(data=st.data())
def test_a_manifest_that_fits_nothing_is_refused(make_job: Any, data: st.DataObject) -> None:
    manifest, blobs = make_job()
    tensors = st.lists(specs, min_size=1, max_size=4).map(tuple)
    changes = {
        "parameters": st.one_of(tensors, st.permutations(manifest.parameters).map(tuple)),
        "optimizer_state": tensors,
        "task": st.sampled_from(["classify", "regress"]),
        "batch": st.sampled_from([1, 7, 1 << 20]),
        "inner_steps": st.sampled_from([1, 1 << 20]),
        "workers_max": st.sampled_from([1, 256]),
        "outer": st.builds(
            replace,
            st.just(manifest.outer),
            learning_rate_bits=st.sampled_from([0, 1, 0x7F7FFFFF, 0xFF7FFFFF]),
            clip_iterations=st.sampled_from([0, 64]),
        ),
        "data": st.one_of(
            tensors.map(lambda row: replace(manifest.data, row=row)),
            st.sampled_from([1, 1 << 24, 1 << 31]).map(
                lambda rows: replace(manifest.data, test=replace(manifest.data.test, rows=rows))
            ),
            st.binary(max_size=64).map(lambda prepared: replace(manifest.data, prepared=prepared)),
        ),
    }
    names = data.draw(st.lists(st.sampled_from(sorted(changes)), min_size=1, max_size=3, unique=True))
    changed = replace(manifest, **{name: data.draw(changes[name], label=name) for name in names})
    assert isinstance(prepare(changed, blobs), Refused | JobPrepared)


@SMALL
@given(data=st.data())
def test_a_damaged_blob_is_refused(make_job: Any, data: st.DataObject) -> None:
    """Each blob replaced by another under its own right digest, so that only its content can be wrong."""
    manifest, blobs = make_job()
    name = data.draw(st.sampled_from(["step_graph", "predict_graph", "optimizer_init", "shard", "test"]))
    shard = manifest.data.test if name == "test" else manifest.data.shards[0]
    old = shard.blob if name in ("shard", "test") else getattr(manifest, name)
    content = bytearray(blobs[old.digest])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from([len(content), len(content) - 1, 0]))] + bytes(
        data.draw(st.sampled_from([0, 0, 1, 4]))
    )
    new = bytes(content)
    ref = BlobRef(blob_digest(new), len(new))
    changed = manifest
    if name == "test":
        changed = replace(manifest, data=replace(manifest.data, test=Shard(ref, shard.rows)))
    elif name == "shard":
        shards = (Shard(ref, shard.rows), *manifest.data.shards[1:])
        changed = replace(manifest, data=replace(manifest.data, shards=shards))
    else:
        changed = replace(manifest, **{name: ref})
    assert isinstance(prepare(changed, {**blobs, ref.digest: new}), Refused | JobPrepared)


def test_a_machine_without_memory_fails_the_task_and_not_itself(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one job needs must not end a validator that serves others."""
    manifest, blobs = make_job()
    shell = ComputeShell(ReferenceBackend(), blobs.__getitem__, blob_digest, semantics_id())

    def exhausted(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(shell._executor, "prepare", exhausted)
    found = shell.execute(bytes(32), PrepareJob(bytes(32), manifest))
    assert found == Failed(bytes(32), "this machine has too little memory for the task")
