import numpy as np
import pytest
from blake3 import blake3
from msgspec.structs import replace

from synaptic_mesh.base.digests import blob_digest, hash_bytes
from synaptic_mesh.collab import update
from synaptic_mesh.collab.batches import order_rows
from synaptic_mesh.collab.state import initial_state
from synaptic_mesh.collab.tensors import decode_tensors_untrusted
from synaptic_mesh.collab.update import NO_DIGEST, InnerStates, execute_update
from synaptic_mesh.engine.backend import step_by_step
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.serialize import graph_from_bytes_untrusted
from synaptic_mesh.ledger.jobs import Assignment
from synaptic_mesh.ledger.manifest import TensorSpec
from synaptic_mesh.training.dataset import decode_shard_untrusted

ASSIGNMENT = Assignment(bytes(32), 1, bytes(range(32)))


class Setting:
    def __init__(self, job):
        self.manifest, self.blobs = job
        self.graph = graph_from_bytes_untrusted(self.blobs[self.manifest.step_graph.digest])
        self.program = ReferenceBackend().compile(self.graph)
        self.state = initial_state(self.manifest)
        init = self.blobs[self.manifest.optimizer_init.digest]
        self.optimizer = decode_tensors_untrusted(self.manifest.optimizer_state, init)
        shard = self.manifest.data.shards[1]
        x, y = decode_shard_untrusted(self.manifest.data, shard, self.blobs[shard.blob.digest])
        self.shard = {"x": x, "y": y}

    def execute(self, assignment=ASSIGNMENT, shard=None, manifest=None):
        return execute_update(
            self.program, manifest or self.manifest, assignment, self.state, self.optimizer, shard or self.shard
        )


@pytest.fixture
def setting(make_job):
    return Setting(make_job())


@pytest.mark.parametrize(("inner_steps", "hashed"), [(3, [3]), (8, [8]), (11, [8, 11]), (24, [8, 16, 24])])
def test_update_is_the_written_rule(setting, inner_steps, hashed):
    """Inner steps by calling a second program with everything written anew; hashes written out."""
    manifest = replace(setting.manifest, inner_steps=inner_steps)
    tensors = {**setting.state.parameters, **setting.optimizer}
    rows = len(setting.shard["y"])
    sequence = np.concatenate([order_rows(ASSIGNMENT.order_seed, p, rows) for p in range(30)])
    digests = []
    for k in range(manifest.inner_steps):
        chosen = sequence[k * manifest.batch : (k + 1) * manifest.batch]
        batch = {name: tensor[chosen] for name, tensor in setting.shard.items()}
        after = ReferenceBackend().compile(setting.graph)({**tensors, **batch})
        tensors = {name: after[name] for name in tensors}
        values = b"".join(tensors[spec.name].tobytes() for spec in manifest.parameters)
        if k + 1 in hashed:
            digests.append(blake3(hash_bytes("SM/inner-state/v1") + values).digest())
    delta = b"".join((setting.state.parameters[s.name] - tensors[s.name]).tobytes() for s in manifest.parameters)

    result, blob = setting.execute(manifest=manifest)
    assert not result.invalid
    assert blob == delta
    assert (result.delta.digest, result.delta.size) == (blob_digest(delta), len(delta))
    level = [hash_bytes("SM/trace/v1/leaf", digest) for digest in digests]
    while len(level) > 1:
        level = [hash_bytes("SM/trace/v1/node", level[0], level[1]), *level[2:]]  # right for up to three leaves
    assert result.trace_root == level[0]
    assert result.witness == hash_bytes("SM/witness-x/v1", *digests)
    assert any(delta)


@pytest.mark.parametrize(("room_steps", "groups"), [(1, [1] * 11), (3, [3, 3, 2, 3]), (1 << 20, [8, 3])])
def test_inner_steps_travel_in_groups_that_change_nothing(setting, monkeypatch, room_steps, groups):
    """No group is over a digest of the trace, and none has more rows than there is room for."""
    manifest = replace(setting.manifest, inner_steps=11)
    expected = setting.execute(manifest=manifest)
    seen = []

    class Grouped:
        def __init__(self, program):
            self.write, self.read = program.write, program.read
            self.run_feed = lambda feed: seen.append(len(feed["y"])) or step_by_step(program, feed)

    setting.program = Grouped(setting.program)
    step_bytes = sum(tensor[:1].nbytes for tensor in setting.shard.values()) * manifest.batch
    monkeypatch.setattr(update, "FEED_BYTES_MAX", room_steps * step_bytes)
    assert setting.execute(manifest=manifest) == expected
    assert seen == groups


def test_a_program_can_be_used_again(setting):
    assert setting.execute() == setting.execute()


@pytest.mark.parametrize("what", ["order", "data", "steps", "parameters"])
def test_everything_that_differs_shows(setting, what):
    honest, _ = setting.execute()
    assignment, shard, manifest = ASSIGNMENT, None, setting.manifest
    if what == "order":
        assignment = replace(ASSIGNMENT, order_seed=bytes(32))
    elif what == "data":
        x = setting.shard["x"].copy()
        x[0, 0] += 1  # one unit in the last place may round away
        shard = {"x": x, "y": setting.shard["y"]}
        manifest = replace(manifest, inner_steps=6)  # long enough to visit every row
        honest, _ = setting.execute(manifest=manifest)
    elif what == "steps":
        manifest = replace(manifest, inner_steps=2)
    else:
        setting = Setting(setting_job(setting))
        manifest = setting.manifest
    found, _ = setting.execute(assignment, shard, manifest)
    assert found.trace_root != honest.trace_root
    assert found.witness != honest.witness
    assert found.delta != honest.delta


def setting_job(setting):
    """The same job at another seed: other initial parameters."""
    return replace(setting.manifest, seed=99), setting.blobs


def test_the_witness_is_not_in_the_trace(setting):
    result, _ = setting.execute(manifest=replace(setting.manifest, inner_steps=1))
    assert len({result.trace_root, result.witness, result.delta.digest}) == 3


def test_an_update_that_diverges_is_invalid_and_still_has_a_witness(make_job):
    setting = Setting(make_job(task="regress", learning_rate=1e18, inner_steps=6))
    result, blob = setting.execute()
    assert "inner step" in result.invalid
    assert (result.delta.digest, result.trace_root, blob) == (NO_DIGEST, NO_DIGEST, b"")
    assert result.witness != NO_DIGEST
    assert setting.execute()[0] == result


def test_a_delta_that_overflows_is_invalid(make_job):
    """The loss of the one inner step is finite, the parameters it leads to are not."""
    setting = Setting(make_job(task="regress", learning_rate=3e38, inner_steps=1))
    setting.shard["y"] = setting.shard["y"] * np.float32(1e4)
    result, _ = setting.execute()
    assert result.invalid == "the delta holds a value that is not finite"


def test_inner_states_canonicalise_nan_and_use_a_view_where_there_is_one():
    class Tensors:
        def __init__(self, payload):
            self.w = np.array([1.0, 2.0], np.float32)
            self.w.view(np.uint32)[1] = payload

        def read(self, name: str):
            del name
            raise AssertionError("a program with a view is not copied")

        def view(self, name: str):
            assert name == "w"
            return self.w

    digests = []
    for payload in (0x7FC00000, 0x7FC12345, 0xFFC00001, 0x40000000):
        tape = InnerStates(Tensors(payload), [TensorSpec("w", "f32", (2,))])
        tape.add()
        digests += tape.digests
    expected = blake3(hash_bytes("SM/inner-state/v1") + np.array([0x3F800000, 0x7FC00000], "<u4").tobytes()).digest()
    assert digests[:3] == [expected] * 3
    assert digests[3] != expected
