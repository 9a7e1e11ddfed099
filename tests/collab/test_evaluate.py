from typing import ClassVar

import numpy as np
import pytest

from synaptic_mesh.base.arrays import CANONICAL_NAN_BITS
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.evaluate import evaluate, metrics_graph, predict_rows, scores_shape
from synaptic_mesh.collab.state import State, initial_state
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.serialize import graph_from_bytes_untrusted


def prepare(job):
    manifest, blobs = job
    predict = ReferenceBackend().compile(graph_from_bytes_untrusted(blobs[manifest.predict_graph.digest]))
    return manifest, predict, initial_state(manifest)


def measure(predict, manifest, state, test):
    scores = scores_shape(predict.graph, len(test["y"]))
    metrics = ReferenceBackend().compile(metrics_graph(manifest.task, scores, test["y"].shape))
    return evaluate(predict, metrics, manifest, state, test)


def scores_by_numpy(state, x):
    hidden = np.maximum(x @ state.parameters["layer0/weight"] + state.parameters["layer0/bias"], 0)
    return hidden @ state.parameters["layer1/weight"] + state.parameters["layer1/bias"]


@pytest.mark.parametrize("rows", [1, 10, 64, 130])
def test_classification_agrees_with_float64(make_job, rows):
    manifest, predict, state = prepare(make_job())
    random = np.random.default_rng(rows)
    test = {"x": random.normal(size=(rows, 3)).astype(np.float32), "y": random.integers(0, 2, rows).astype(np.int32)}
    correct, count, loss = measure(predict, manifest, state, test)
    scores = scores_by_numpy(state, test["x"].astype(np.float64))
    shifted = scores - scores.max(1, keepdims=True)
    expected = -(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(rows), test["y"]].mean()
    assert (correct, count) == (int((scores.argmax(1) == test["y"]).sum()), rows)
    assert np.uint32(loss).view(np.float32) == pytest.approx(expected, rel=1e-5)


def test_regression_counts_nothing_and_means_squares(make_job):
    manifest, predict, state = prepare(make_job(task="regress"))
    random = np.random.default_rng(0)
    test = {"x": random.normal(size=(20, 3)).astype(np.float32), "y": random.normal(size=(20, 1)).astype(np.float32)}
    correct, count, loss = measure(predict, manifest, state, test)
    expected = ((scores_by_numpy(state, test["x"].astype(np.float64)) - test["y"]) ** 2).mean()
    assert (correct, count) == (0, 20)
    assert np.uint32(loss).view(np.float32) == pytest.approx(expected, rel=1e-5)


def test_rows_do_not_depend_on_how_the_last_batch_is_filled(make_job):
    manifest, predict, state = prepare(make_job())
    x = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    whole = predict_rows(predict, manifest, state, x)
    assert np.array_equal(predict_rows(predict, manifest, state, x[:70]), whole[:70])


def test_the_last_batch_is_filled_from_the_first_rows(make_job):
    """It shows where filling rows matter: the predict graph's own batch axis decides nothing here, the calls do."""
    manifest, predict, state = prepare(make_job())

    class Watched:
        graph = predict.graph
        read, run = predict.read, predict.run
        batches: ClassVar[list[np.ndarray]] = []

        def write(self, name, array):
            if name == "x":
                self.batches.append(array)
            predict.write(name, array)

    x = np.arange(70 * 3, dtype=np.float32).reshape(70, 3)
    predict_rows(Watched(), manifest, state, x)
    assert np.array_equal(Watched.batches[1], np.concatenate((x[64:], x[:58])))


def test_a_state_that_overflows_scores_nothing(make_job):
    manifest, predict, state = prepare(make_job())
    huge = {name: np.full_like(tensor, 3e38) for name, tensor in state.parameters.items()}
    test = {"x": np.ones((5, 3), np.float32), "y": np.zeros(5, np.int32)}
    found = measure(predict, manifest, State(1, huge, state.momentum), test)
    assert found == (0, 5, CANONICAL_NAN_BITS)


def test_unknown_task_is_named():
    with pytest.raises(LocalError, match="'rank'"):
        metrics_graph("rank", (4, 2), (4,))
