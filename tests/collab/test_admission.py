"""Each way in which graphs, data and manifest may not fit together is refused with the value in the sentence."""

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.admission import check_job
from synaptic_mesh.engine.limits import Limits
from synaptic_mesh.engine.serialize import graph_from_bytes_untrusted
from synaptic_mesh.engine.trace import Tensor, exp, f32, i32, trace
from synaptic_mesh.ledger.manifest import TensorSpec


@pytest.fixture
def job(make_job):
    manifest, blobs = make_job()
    graphs = [graph_from_bytes_untrusted(blobs[blob.digest]) for blob in (manifest.step_graph, manifest.predict_graph)]
    return manifest, *graphs


def test_a_good_job_passes(job):
    check_job(*job)


def with_row(manifest, *row):
    return replace(manifest, data=replace(manifest.data, row=row))


X, Y = TensorSpec("x", "f32", (3,)), TensorSpec("y", "i32", ())
MANIFESTS = {
    "row holds the tensors ['y', 'x']": lambda m: with_row(m, Y, X),
    "row holds the tensors ['x']": lambda m: with_row(m, X),
    "target of a classify job is i32, not f32": lambda m: with_row(m, X, TensorSpec("y", "f32", ())),
    "'layer0/weight' is i32": lambda m: replace(
        m, parameters=(TensorSpec("layer0/weight", "i32", (3, 4)), *m.parameters[1:])
    ),
    "['x'] stand for two": lambda m: replace(m, parameters=(*m.parameters, X)),
    "the manifest names": lambda m: replace(m, parameters=m.parameters[:-1]),
    "'layer0/weight' of the step graph is f32 (3, 4), the manifest says f32 (4, 3)": lambda m: replace(
        m, parameters=(TensorSpec("layer0/weight", "f32", (4, 3)), *m.parameters[1:])
    ),
    "'x' of the step graph is f32 (8, 3), the manifest says f32 (9, 3)": lambda m: replace(m, batch=9),
    "FLOPs, the limit is": lambda m: replace(m, inner_steps=1 << 40),
}


@pytest.mark.parametrize("named", MANIFESTS)
def test_manifests_that_do_not_fit(job, named):
    manifest, step, predict = job
    with pytest.raises(LocalError) as error:
        check_job(MANIFESTS[named](manifest), step, predict)
    assert named in str(error.value)


def predictor(result, x=None, **more):
    parameters = {
        "layer0/weight": f32(3, 4), "layer0/bias": f32(4), "layer1/weight": f32(4, 2), "layer1/bias": f32(2),
    }  # fmt: skip
    return trace(lambda **tensors: result(tensors), {**parameters, "x": x or f32(5, 3), **more})


def linear(tensors: dict[str, Tensor]) -> Tensor:
    return tensors["x"] @ tensors["layer0/weight"]


PREDICTORS = {
    "with a batch axis is missing": lambda: trace(lambda w: w, {"w": f32(2)}),
    "batches of 0 rows": lambda: predictor(linear, f32(0, 3)),
    "must have one": lambda: predictor(lambda t: {"a": t["x"], "b": t["x"]}),
    "has inputs": lambda: predictor(linear, extra=f32()),
    "output is f32 ()": lambda: predictor(lambda t: linear(t).sum(1).sum(0)),
    "output is f32 (5,)": lambda: predictor(lambda t: linear(t).sum(1)),
    "output is i32 (5,)": lambda: predictor(lambda t: linear(t).argmax(1)),
    "'x' of the predict graph is i32": lambda: predictor(lambda t: t["layer0/weight"], i32(5, 3)),
}


@pytest.mark.parametrize("named", PREDICTORS)
def test_predict_graphs_that_do_not_fit(job, named):
    manifest, step, _ = job
    with pytest.raises(LocalError) as error:
        check_job(manifest, step, PREDICTORS[named]())
    assert named in str(error.value)


def test_a_step_graph_that_carries_less(job):
    manifest, step, predict = job
    carried = dict(list(step.carried.items())[1:])
    with pytest.raises(LocalError, match="carries"):
        check_job(manifest, replace(step, carried=carried), predict)


def test_an_aggregation_that_nobody_could_hold(job):
    with pytest.raises(LocalError, match="arena bytes"):
        check_job(*job, limits=Limits(arena_bytes_max=1 << 12))


def with_shards(manifest, *rows):
    shard = manifest.data.shards[0]
    return replace(manifest, data=replace(manifest.data, shards=tuple(replace(shard, rows=count) for count in rows)))


def with_test_rows(manifest, rows):
    return replace(manifest, data=replace(manifest.data, test=replace(manifest.data.test, rows=rows)))


COSTLY = {
    # Each is work that the arithmetic of the step graph does not show.
    "one update costs": lambda m: replace(m, inner_steps=1 << 28),
    "a shard has 16777217 rows": lambda m: with_shards(m, 1 << 24, (1 << 24) + 1),
}


@pytest.mark.parametrize("named", COSTLY)
def test_work_beside_arithmetic_is_bounded(job, named):
    manifest, step, predict = job
    with pytest.raises(LocalError) as error:
        check_job(COSTLY[named](manifest), step, predict)
    assert named in str(error.value)


def test_evaluating_a_state_is_bounded(job):
    """4,000 times exp for five rows at a time is an ordinary predict graph, until ten million rows are held out."""
    manifest, step, _ = job

    def heavy(tensors):
        hidden = linear(tensors)
        for _ in range(4_000):
            hidden = exp(hidden)
        return hidden @ tensors["layer1/weight"]

    check_job(with_test_rows(manifest, 1 << 20), step, predictor(heavy))
    with pytest.raises(LocalError, match="evaluating one state costs"):
        check_job(with_test_rows(manifest, 10_000_000), step, predictor(heavy))


def test_many_passes_over_one_row_count_as_work(job):
    manifest, step, predict = job
    enough = replace(with_shards(manifest, 1_000), inner_steps=1 << 24)
    check_job(enough, step, predict)
    with pytest.raises(LocalError, match="one update costs"):
        check_job(with_shards(enough, 1), step, predict)
