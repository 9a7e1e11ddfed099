"""The graphs of a job: one training step and one prediction, with every tensor that they carry."""

import math

import msgspec

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import cross_entropy, mse, softmax
from synaptic_mesh.engine.ir import Graph, Shape
from synaptic_mesh.engine.optimizers import Optimizer, Tensors, initial_state, training_step
from synaptic_mesh.engine.trace import Builder, Spec, Tensor, f32, i32, trace
from synaptic_mesh.models.model import PARAMETERS_MAX, Model

TASKS = ("classify", "regress")
SCORES = "scores"
"""The one output of a prediction graph."""
PREDICT_ROWS = 64
"""Rows of one run of a job's prediction graph."""


class JobGraphs(msgspec.Struct, frozen=True):
    """What a manifest says about arithmetic.

    step: inputs parameters, optimizer state, x (batch, width) f32, y (batch,) i32 or (batch, outputs) f32; outputs
    "loss" and every carried tensor. predict: inputs parameters and x (PREDICT_ROWS, width); output "scores"
    (PREDICT_ROWS, outputs), checked. `parameters` and `optimizer_init` are in the order of the graph's inputs.
    """

    step: Graph
    predict: Graph
    parameters: dict[str, Shape]
    optimizer_init: dict[str, Array]


def build_job_graphs(
    model: Model, task: str, *, width: int, outputs: int, batch: int, optimizer: Optimizer
) -> JobGraphs:
    """Return the graphs for rows of `width` features. `outputs` counts classes or predicted numbers.

    Raises LocalError when the task is not known, a size is below 1, or the model has over PARAMETERS_MAX parameters.
    """
    if task not in TASKS:
        raise LocalError(f"task {task!r} is not known; choose {' or '.join(TASKS)}")
    for what, value in (("width", width), ("outputs", outputs), ("batch", batch)):
        if value < 1:
            raise LocalError(f"{what} {value} must be at least 1")
    shapes = model.shapes(width, outputs)
    count = parameter_count(shapes)
    if count > PARAMETERS_MAX:
        raise LocalError(f"model {model.spec} has {count} parameters, over {PARAMETERS_MAX}; use smaller layers")

    def loss(parameters: Tensors, rows: Tensors) -> Tensor:
        scores = model.training_scores(parameters, rows["x"])
        return cross_entropy(scores, rows["y"]) if task == "classify" else mse(scores, rows["y"])

    specs = {name: Spec(shape) for name, shape in shapes.items()}
    rows = {"x": f32(batch, width), "y": i32(batch) if task == "classify" else f32(batch, outputs)}
    return JobGraphs(
        step=training_step(loss, specs, rows, optimizer),
        predict=predict_graph(model, width=width, outputs=outputs, rows=PREDICT_ROWS),
        parameters=shapes,
        optimizer_init=initial_state(optimizer, specs),
    )


def predict_graph(model: Model, *, width: int, outputs: int, rows: int) -> Graph:
    """Return the graph from parameters and x (rows, width) to "scores" (rows, outputs), which is checked."""
    builder = Builder()
    inputs = {name: builder.input(name, Spec(shape)) for name, shape in model.shapes(width, outputs).items()}
    scores = model.scores(inputs, builder.input("x", f32(rows, width)))
    return builder.finish({SCORES: scores}, checked=[SCORES])


def probability_graph(rows: int, classes: int) -> Graph:
    """Return the graph from "scores" (rows, classes) to "probabilities" (softmax) and "label" (rows,) i32."""

    def read_scores(scores: Tensor) -> Tensors:
        return {"probabilities": softmax(scores), "label": scores.argmax(1)}

    return trace(read_scores, {SCORES: f32(rows, classes)}, checked=["probabilities"])


def parameter_count(shapes: dict[str, Shape]) -> int:
    """Return how many numbers a model trains."""
    return sum(math.prod(shape) for shape in shapes.values())
