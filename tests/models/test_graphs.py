"""The graphs of a job compute what numpy computes, and training lowers the loss."""

from collections.abc import Mapping

import numpy as np
import pytest

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.initializers import uniform
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Optimizer
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.models.graphs import build_job_graphs, parameter_count, predict_graph, probability_graph
from synaptic_mesh.models.linear import Linear
from synaptic_mesh.models.mlp import Mlp
from synaptic_mesh.models.model import Model

BACKEND = ReferenceBackend()
WIDTH, OUTPUTS, BATCH = 5, 3, 8


def parameters(model: Model) -> dict[str, F32]:
    return {name: uniform(7, name, shape, 0.7) for name, shape in model.shapes(WIDTH, OUTPUTS).items()}


def numpy_scores(values: Mapping[str, Array], x: F32) -> Array:
    """The same network in double precision."""
    weights = [value.astype(np.float64) for value in values.values()]
    hidden: Array = x.astype(np.float64)
    for at in range(0, len(weights), 2):
        hidden = hidden @ weights[at] + weights[at + 1]
        if at < len(weights) - 2:
            hidden = np.maximum(hidden, 0)
    return hidden


def numpy_loss(task: str, values: Mapping[str, Array], x: F32, y: Array) -> float:
    scores = numpy_scores(values, x)
    if task == "regress":
        return float(((scores - y) ** 2).mean())
    shifted = scores - scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]).mean())


def rows(task: str) -> tuple[F32, Array]:
    x = uniform(1, "x", (BATCH, WIDTH), 2.0)
    y: Array = (
        np.arange(BATCH, dtype=np.int32) % OUTPUTS if task == "classify" else uniform(1, "y", (BATCH, OUTPUTS), 1.0)
    )
    return x, y


@pytest.mark.parametrize("model", [Linear(), Mlp((4,)), Mlp((6, 4))])
@pytest.mark.parametrize("task", ["classify", "regress"])
def test_loss_scores_and_one_step_agree_with_numpy(model: Model, task: str) -> None:
    graphs = build_job_graphs(model, task, width=WIDTH, outputs=OUTPUTS, batch=BATCH, optimizer=SGD(0.125))
    values, (x, y) = parameters(model), rows(task)
    after = BACKEND.compile(graphs.step)({**values, "x": x, "y": y})
    assert float(after["loss"]) == pytest.approx(numpy_loss(task, values, x, y), rel=1e-5)
    predict = predict_graph(model, width=WIDTH, outputs=OUTPUTS, rows=BATCH)
    scores = BACKEND.compile(predict)({**values, "x": x})["scores"]
    np.testing.assert_allclose(scores, numpy_scores(values, x), rtol=1e-4, atol=1e-5)
    for name, value in values.items():
        gradient = (value - after[name]) / np.float32(0.125)
        np.testing.assert_allclose(gradient, finite_difference(task, values, name, x, y), rtol=1e-3, atol=1e-5)


def finite_difference(task: str, values: dict[str, F32], name: str, x: F32, y: Array) -> Array:
    found = np.zeros(values[name].shape)
    step = 2.0**-20
    for at in np.ndindex(values[name].shape):
        sides = []
        for sign in (1, -1):
            moved: dict[str, Array] = {key: value.astype(np.float64) for key, value in values.items()}
            moved[name][at] += sign * step
            sides.append(numpy_loss(task, moved, x, y))
        found[at] = (sides[0] - sides[1]) / (2 * step)
    return found


@pytest.mark.parametrize("optimizer", [SGD(0.1), Momentum(0.05), AdamW(0.02)])
def test_steps_carry_their_state_and_lower_the_loss(optimizer: Optimizer) -> None:
    graphs = build_job_graphs(Mlp((8,)), "classify", width=WIDTH, outputs=OUTPUTS, batch=BATCH, optimizer=optimizer)
    assert set(graphs.step.carried) == {*graphs.parameters, *graphs.optimizer_init}
    program = BACKEND.compile(graphs.step)
    x, y = rows("classify")
    for name, value in {**parameters(Mlp((8,))), **graphs.optimizer_init, "x": x, "y": y}.items():
        program.write(name, value)
    losses = []
    for _ in range(60):
        program.run()
        losses.append(float(program.read("loss")))
    assert losses[-1] < 0.5 * losses[0]


def test_probabilities_are_the_softmax_and_labels_the_first_maximum() -> None:
    scores = np.array([[0, 0, -1], [1, 3, 3]], np.float32)
    found = BACKEND.compile(probability_graph(2, 3))({"scores": scores})
    power = np.exp(scores.astype(np.float64))
    np.testing.assert_allclose(found["probabilities"], power / power.sum(axis=1, keepdims=True), rtol=1e-6)
    assert found["label"].tolist() == [0, 1]


def test_names_and_counts() -> None:
    shapes = Mlp((64, 64)).shapes(64, 10)
    assert list(shapes) == [f"layer{layer}/{part}" for layer in range(3) for part in ("weight", "bias")]
    assert parameter_count(shapes) == 64 * 64 + 64 + 64 * 64 + 64 + 640 + 10


@pytest.mark.parametrize(
    ("model", "task", "sizes", "sentence"),
    [
        (Linear(), "rank", (1, 1, 1), "task 'rank' is not known; choose classify or regress"),
        (Linear(), "classify", (0, 2, 1), "width 0 must be at least 1"),
        (Linear(), "classify", (1, 0, 1), "outputs 0 must be at least 1"),
        (Linear(), "classify", (1, 2, 0), "batch 0 must be at least 1"),
        (Mlp((16384, 16384)), "classify", (1, 2, 1), "model mlp:16384,16384 has 268517378 parameters, over 67108864"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(model: Model, task: str, sizes: tuple[int, int, int], sentence: str) -> None:
    width, outputs, batch = sizes
    with pytest.raises(LocalError) as caught:
        build_job_graphs(model, task, width=width, outputs=outputs, batch=batch, optimizer=SGD())
    assert str(caught.value).startswith(sentence)
