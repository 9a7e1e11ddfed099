import numpy as np
import pytest
from msgspec.structs import replace

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.collab.messages import (
    Aggregate,
    Aggregated,
    Computed,
    ExecuteUpdate,
    Failed,
    JobPrepared,
    PrepareJob,
    PrepareUpdate,
    Refused,
    task_key,
)
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.collab.tensors import encode_tensors
from synaptic_mesh.engine.backend import ProgramLost, Trust
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.optimizers import SGD
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.jobs import Assignment
from synaptic_mesh.ledger.manifest import BlobRef, Economy, OuterRule, Timing, job_id
from synaptic_mesh.ledger.transactions import StepRef
from synaptic_mesh.models.graphs import build_job_graphs
from synaptic_mesh.models.mlp import Mlp
from synaptic_mesh.training.dataset import pack_dataset, split_examples
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.job import assemble_manifest
from synaptic_mesh.workers import compute
from synaptic_mesh.workers.compute import ComputeShell
from synaptic_mesh.workers.wasm_runtime import WasmBackend

ONE_HALF, ONE = 0x3F000000, 0x3F800000


@pytest.fixture(scope="module")
def job():
    """A digits job of two small inner steps, and its blobs."""
    data, blobs = pack_dataset(split_examples(load_digits(), 1), 3)
    graphs = build_job_graphs(Mlp((8,)), "classify", width=64, outputs=10, batch=16, optimizer=SGD(0.1))
    draft, more = assemble_manifest(
        graphs,
        data,
        model="mlp:8",
        task="classify",
        seed=5,
        batch=16,
        inner_steps=2,
        outer_steps=3,
        outer=OuterRule("diloco", ONE, ONE_HALF, "mean", ONE, 0),
        audit_rate_ppm=1_000_000,
        workers_min=1,
        workers_max=3,
        economy=Economy(1, 1, 1),
        timing=Timing(1, 1, 1, 1, 1, 1, 1, 1, 1),
    )
    manifest, state = with_initial_state(draft)
    return manifest, {**blobs, **more, manifest.initial_state.digest: state}


class Store:
    """Blobs in memory that notice what is read and written."""

    def __init__(self, blobs):
        self.blobs = dict(blobs)
        self.stored = []

    def get(self, digest):
        if digest not in self.blobs:
            raise ResourceError("no such blob here")
        return self.blobs[digest]

    def put(self, data):
        digest = blob_digest(data)
        self.blobs[digest] = data
        self.stored.append(digest)
        return digest


def shell_of(store, backend=None, strategy=None):
    return ComputeShell(backend or ReferenceBackend(), store.get, store.put, bytes(semantics_id()), strategy)


def tasks_of(manifest):
    ref = StepRef(job_id(manifest), 0, 0, manifest.initial_root)
    return [
        ExecuteUpdate(ref, manifest, manifest.initial_state, Assignment(bytes([i]) * 32, i, bytes([i]) * 32))
        for i in range(3)
    ]


def run(shell, task):
    event = shell.execute(task_key(task), task)
    assert event.key == task_key(task)
    return event


def test_a_whole_outer_step_has_the_same_bits_on_both_backends(job):
    manifest, blobs = job
    results = []
    for backend in (ReferenceBackend(), WasmBackend()):
        store = Store(blobs)
        shell = shell_of(store, backend)
        updates = [run(shell, PrepareUpdate(task)).result for task in tasks_of(manifest)]
        included = tuple((bytes([i]) * 32, update.delta) for i, update in enumerate(updates))
        ref = tasks_of(manifest)[0].ref
        after = run(shell, Aggregate(ref, manifest, manifest.initial_state, included)).result
        assert isinstance(after, Aggregated)
        assert store.stored == [*(update.delta.digest for update in updates), after.state.digest]
        results.append((updates, after))
    assert results[0] == results[1]


def test_preparing_stores_the_initial_state(job):
    manifest, blobs = job
    store = Store({digest: data for digest, data in blobs.items() if digest != manifest.initial_state.digest})
    event = run(shell_of(store), PrepareJob(job_id(manifest), manifest))
    assert event == Computed(task_key(PrepareJob(job_id(manifest), manifest)), JobPrepared())
    assert store.stored == [manifest.initial_state.digest]


def test_a_job_of_other_semantics_is_refused(job):
    manifest = replace(job[0], semantics_id=bytes(32))
    event = run(shell_of(Store(job[1])), PrepareJob(job_id(manifest), manifest))
    assert isinstance(event.result, Refused)
    assert "engine semantics 00000000" in event.result.reason


def test_an_audit_stores_nothing_and_own_work_is_executed_once(job):
    manifest, blobs = job
    store = Store(blobs)
    shell = shell_of(store)
    execute, executed = shell._executor.execute, []
    shell._executor.execute = lambda *arguments: executed.append(arguments) or execute(*arguments)
    task = tasks_of(manifest)[0]
    audited = run(shell, task).result
    assert store.stored == []
    submitted = run(shell, PrepareUpdate(task)).result
    assert submitted == audited
    assert len(executed) == 1
    assert store.stored == [audited.delta.digest]


def test_the_strategy_touches_own_work_only(job):
    class Zero:
        def choose_submission(self, task, result, delta):
            blob = bytes(len(delta))
            assert task.assignment.shard == 0
            return replace(result, delta=BlobRef(blob_digest(blob), len(blob))), blob

    manifest, blobs = job
    store = Store(blobs)
    task = tasks_of(manifest)[0]
    shell = shell_of(store, strategy=Zero())
    honest = run(shell_of(Store(blobs)), task).result
    assert run(shell, PrepareUpdate(task)).result.delta != honest.delta
    assert run(shell, task).result == honest
    assert not any(store.blobs[store.stored[0]])


def test_missing_and_damaged_blobs_are_failures_of_this_machine(job):
    manifest, blobs = job
    task = tasks_of(manifest)[0]
    store = Store({})
    assert run(shell_of(store), task) == Failed(task_key(task), "no such blob here")
    shard = manifest.data.shards[0].blob.digest
    store = Store({**blobs, shard: blobs[shard][:-1] + b"\x01"})
    event = run(shell_of(store), task)
    assert isinstance(event, Failed)
    assert "the copy is damaged" in event.reason
    store.blobs[shard] = blobs[shard]
    assert isinstance(run(shell_of(store), task), Computed)


class Losing:
    """A backend whose first `losses` runs lose their program, as those of a worker process that dies do."""

    name, trust, closed = "losing", Trust.EXACT, False

    def __init__(self, losses):
        self.left = losses

    def compile(self, graph):
        program = ReferenceBackend().compile(graph)
        run = program.run

        def lose():
            run()
            if self.left:
                self.left -= 1
                for name in graph.inputs:
                    program.write(name, np.zeros_like(program.read(name)))
                raise ProgramLost("worker process 7 has ended (signal 9, Killed)")

        program.run = lose
        return program

    def close(self):
        self.closed = True


def test_a_lost_program_costs_its_work_and_nothing_else(job):
    manifest, blobs = job
    task = tasks_of(manifest)[0]
    expected = run(shell_of(Store(blobs)), task)
    backend = Losing(1)
    shell = shell_of(Store(blobs), backend)
    assert run(shell, task) == expected
    assert not backend.left
    shell.close()
    assert backend.closed
    twice = run(shell_of(Store(blobs), Losing(2)), task)
    assert twice == Failed(task_key(task), "worker process 7 has ended (signal 9, Killed)")


def test_a_state_blob_of_another_root_is_not_used(job):
    manifest, blobs = job
    task = tasks_of(manifest)[0]
    other = replace(task, ref=replace(task.ref, root=bytes(32)))
    event = run(shell_of(Store(blobs)), other)
    assert isinstance(event, Failed)
    assert "not 00000000" in event.reason


def test_an_aggregate_that_overflows_is_refused_for_everybody(job):
    manifest, blobs = job
    store = Store(blobs)
    huge = {spec.name: _full(spec.shape, 3e38) for spec in manifest.parameters}
    blob = encode_tensors(manifest.parameters, huge)
    store.put(blob)
    delta = BlobRef(blob_digest(blob), len(blob))
    ref = tasks_of(manifest)[0].ref
    task = Aggregate(ref, manifest, manifest.initial_state, ((bytes(32), delta), (b"\x01" * 32, delta)))
    event = run(shell_of(store), task)
    assert isinstance(event.result, Refused)
    assert "no next state" in event.result.reason


def test_remembered_updates_are_bounded(job, monkeypatch):
    manifest, blobs = job
    shell = shell_of(Store(blobs))
    for task in tasks_of(manifest):
        run(shell, task)
    assert len(shell._updates) == 3
    monkeypatch.setattr(compute, "UPDATES_REMEMBERED_MAX", 2)
    fresh = replace(tasks_of(manifest)[0], assignment=Assignment(bytes(32), 1, bytes(32)))
    run(shell, fresh)
    assert list(shell._updates)[-1] == task_key(fresh)
    assert len(shell._updates) == 2
    monkeypatch.setattr(compute, "DELTA_BYTES_REMEMBERED_MAX", 1)
    run(shell, tasks_of(manifest)[0])
    assert len(shell._updates) == 1


def test_keys_name_what_a_result_depends_on(job):
    manifest, _ = job
    first, second, _ = tasks_of(manifest)
    later = replace(first, ref=replace(first.ref, attempt=1))
    assert task_key(first) == task_key(later)  # another attempt from the same root with the same assignment
    assert task_key(PrepareUpdate(first)) != task_key(PrepareUpdate(later))  # a strategy may answer differently
    keys = {
        task_key(task)
        for task in (
            first,
            second,
            PrepareUpdate(first),
            PrepareJob(first.ref.job, manifest),
            replace(first, ref=replace(first.ref, root=bytes(32))),
            replace(first, state=BlobRef(bytes(32), 1)),
            Aggregate(first.ref, manifest, first.state, ()),
            Aggregate(first.ref, manifest, first.state, ((bytes(32), first.state),)),
        )
    }
    assert len(keys) == 8


def _full(shape, value):
    return np.full(shape, value, np.float32)
