"""Graphs that tests of several backends share: a counter with a checked loss, and a classifier's training step."""

from synaptic_mesh.engine.composites import cross_entropy, dense, relu
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.optimizers import SGD, Tensors, training_step
from synaptic_mesh.engine.trace import Tensor, f32, i32, trace


def counter() -> Graph:
    return trace(
        lambda w, x: {"w": w + x, "loss": (w * x).sum()},
        {"w": f32(3), "x": f32(3)},
        carried={"w": "w"},
        checked=["loss"],
    )


def classifier_step(rows: int, features: int, hidden: int, classes: int) -> Graph:
    def loss(p: Tensors, batch: Tensors) -> Tensor:
        return cross_entropy(dense(relu(dense(batch["x"], p["w1"], p["b1"])), p["w2"], p["b2"]), batch["y"])

    parameters = {"w1": f32(features, hidden), "b1": f32(hidden), "w2": f32(hidden, classes), "b2": f32(classes)}
    return training_step(loss, parameters, {"x": f32(rows, features), "y": i32(rows)}, SGD(0.1))
