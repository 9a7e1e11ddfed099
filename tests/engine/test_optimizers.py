"""Training steps: the update rules against float64 and the graph's borders."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.composites import cross_entropy, dense, relu
from synaptic_mesh.engine.initializers import he_uniform, random_u32, uniform
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, initial_state, training_step
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, i32

TARGET = np.array([1.0, -2.0, 0.5], np.float32)
START = np.array([0.0, 0.0, 3.0], np.float32)
STEPS = 7


def train(optimizer):
    """Run STEPS steps on sum((p - t)^2); return the program."""
    parameters = {"p": f32(3)}

    def loss(p, batch):
        error = p["p"] - batch["t"]
        return (error * error).sum()

    program = ReferenceBackend().compile(training_step(loss, parameters, {"t": f32(3)}, optimizer))
    for name, array in {"p": START, "t": TARGET, **initial_state(optimizer, parameters)}.items():
        program.write(name, array)
    for _ in range(STEPS):
        program.run()
    return program


def gradient(p):
    return 2 * (p - TARGET.astype(np.float64))


def test_sgd():
    p = START.astype(np.float64)
    for _ in range(STEPS):
        p = p - 0.1 * gradient(p)
    np.testing.assert_allclose(train(SGD(0.1)).read("p"), p, rtol=1e-6)


def test_momentum():
    p, v = START.astype(np.float64), np.zeros(3)
    for _ in range(STEPS):
        v = 0.9 * v + gradient(p)
        p = p - 0.02 * v
    program = train(Momentum(0.02, 0.9))
    np.testing.assert_allclose(program.read("p"), p, rtol=1e-5)
    np.testing.assert_allclose(program.read("v/p"), v, rtol=1e-5)


def test_adamw():
    rate, b1, b2, epsilon, decay = 0.1, 0.9, 0.99, 1e-8, 0.05
    p, m, v = START.astype(np.float64), np.zeros(3), np.zeros(3)
    for t in range(1, STEPS + 1):
        g = gradient(p)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p - rate * decay * p - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
    program = train(AdamW(rate, b1, b2, epsilon, decay))
    np.testing.assert_allclose(program.read("p"), p, rtol=1e-5)
    np.testing.assert_allclose(program.read("power/beta1"), b1**STEPS, rtol=1e-6)


def classifier(optimizer, rows=32):
    parameters = {"w1": f32(8, 16), "b1": f32(16), "w2": f32(16, 3), "b2": f32(3)}

    def loss(p, batch):
        return cross_entropy(dense(relu(dense(batch["x"], p["w1"], p["b1"])), p["w2"], p["b2"]), batch["y"])

    graph = training_step(loss, parameters, {"x": f32(rows, 8), "y": i32(rows)}, optimizer)
    program = ReferenceBackend().compile(graph)
    for name, spec in parameters.items():
        start = he_uniform(1, name, spec.shape) if len(spec.shape) == 2 else np.zeros(spec.shape, np.float32)
        program.write(name, start)
    for name, array in initial_state(optimizer, parameters).items():
        program.write(name, array)
    program.write("x", uniform(1, "x", (rows, 8), 1.0))
    program.write("y", (random_u32(1, "y", rows) % np.uint32(3)).astype(np.int32))
    return program


@pytest.mark.parametrize("optimizer", [SGD(0.5), Momentum(0.1), AdamW(0.02)])
def test_a_classifier_learns_its_batch(optimizer):
    program = classifier(optimizer)
    program.run()
    first = float(program.read("loss"))
    for _ in range(150):
        program.run()
    assert float(program.read("loss")) < 0.3 * first


def test_carried_names_and_checks():
    graph = classifier(Momentum()).graph
    assert graph.carried == {name: name for name in ("w1", "b1", "w2", "b2", "v/w1", "v/b1", "v/w2", "v/b2")}
    assert graph.checked == ("loss",)
    assert set(graph.inputs) == set(graph.carried) | {"x", "y"}


def test_a_diverging_step_is_invalid():
    program = classifier(SGD(0.1))
    program.write("x", np.full((32, 8), 3e38, np.float32))
    with pytest.raises(StepInvalid, match="'loss' is not finite"):
        program.run()


def test_a_label_out_of_range_is_invalid():
    program = classifier(SGD(0.1))
    program.write("y", np.full(32, 3, np.int32))
    with pytest.raises(StepInvalid, match=r"index 3 is outside 0\.\.2"):
        program.run()


def test_clashing_names_and_integer_parameters_are_refused():
    with pytest.raises(LocalError, match=r"\['x'\] are used twice"):
        training_step(lambda p, _: p["x"].sum(), {"x": f32(2)}, {"x": f32(2)}, SGD())
    with pytest.raises(LocalError, match=r"\['v/x'\] are used twice"):
        training_step(lambda p, b: p["x"].sum() + b["v/x"], {"x": f32(2)}, {"v/x": f32()}, Momentum())
    with pytest.raises(LocalError, match="only f32 is trained"):
        training_step(lambda p, _: p["x"].sum(), {"x": i32(2)}, {}, SGD())
