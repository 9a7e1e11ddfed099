"""The graphs of a network: one training step, and the way from rows to scores."""

from collections.abc import Mapping, Sequence

import msgspec

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.optimizers import LOSS, Optimizer, initial_state
from synaptic_mesh.engine.trace import Builder, Spec, Tensor, f32, spec_of
from synaptic_mesh.models.graphs import SCORES
from synaptic_mesh.models.losses import METRICS, Loss, total_loss
from synaptic_mesh.models.model import PARAMETERS_MAX
from synaptic_mesh.models.scope import Network, Parameter, Record, Scope

READING = "reading"
"""Probabilities, or values, beside "scores"."""
METRIC = "metric/"


class StepGraph(msgspec.Struct, frozen=True):
    """One training step. Inputs: parameters, network state, optimizer state, "x", "y" and, when weighted, "weight"
    (rows,). Outputs: "loss" (checked), "metric/<name>" (sums over the rows), and everything that is carried.
    """

    graph: Graph
    parameters: dict[str, Parameter]
    state: dict[str, Array]
    optimizer_state: dict[str, Array]


class ForwardGraph(msgspec.Struct, frozen=True):
    """From "x" to "scores" (checked) and "reading", or from "x" and "y" to "scores" and figures of each row (rows,).

    Inputs are parameters and state too.
    """

    graph: Graph
    parameters: dict[str, Parameter]
    state: dict[str, Array]
    trail: tuple[tuple[str, str, tuple[int, ...]], ...]


def network_step(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    x: Spec,
    y: Spec,
    *,
    metrics: Sequence[str] = (),
    weighted: bool = False,
    seed: int | bytes = 0,
) -> StepGraph:
    """Return the training step for batches of these shapes. Raises LocalError naming what does not fit."""
    builder = Builder()
    scope = Scope(builder, is_training=True, seed=seed)
    rows, targets = builder.input("x", x), builder.input("y", y)
    weights = builder.input("weight", f32(x.shape[0])) if weighted else None
    scores = _scores(network, scope, rows)
    total = total_loss(loss.rows(scores, targets), weights)
    record = scope.record
    check_parameters(record)
    specs = {name: Spec(parameter.shape) for name, parameter in record.parameters.items()}
    before = {name: record.tensors[name] for name in specs}
    found = dict(zip(before, gradients(total, list(before.values())), strict=True))
    start = initial_state(optimizer, specs)
    memory = {name: builder.input(name, spec_of(value)) for name, value in start.items()}
    moved, after = optimizer.update(before, found, memory)
    sums = {f"{METRIC}{name}": METRICS[name](scores, targets).sum() for name in metrics}
    kept = {name: record.after.get(name, record.tensors[name]) for name in record.state}
    carried = {**moved, **kept, **after}
    graph = builder.finish({LOSS: total, **sums, **carried}, carried={name: name for name in carried}, checked=[LOSS])
    return StepGraph(graph, record.parameters, record.state, start)


def network_forward(
    network: Network,
    loss: Loss,
    x: Spec,
    y: Spec | None = None,
    *,
    metrics: Sequence[str] = (),
    is_read: bool = True,
) -> ForwardGraph:
    """Return the graph of answers for x: scores, and what the loss reads from them if `is_read`; with targets y "loss"
    and metrics of each row instead of that."""
    builder = Builder()
    scope = Scope(builder)
    scores = _scores(network, scope, builder.input("x", x))
    outputs: dict[str, Tensor] = {SCORES: scores}
    if y is None and is_read:
        outputs[READING] = loss.read(scores)
    if y is not None:
        targets = builder.input("y", y)
        outputs[LOSS] = loss.rows(scores, targets)
        outputs |= {f"{METRIC}{name}": METRICS[name](scores, targets) for name in metrics}
    check_parameters(scope.record)
    graph = builder.finish(outputs, checked=[SCORES])
    return ForwardGraph(graph, scope.record.parameters, scope.record.state, tuple(scope.record.trail))


def initial_values(parameters: Mapping[str, Parameter], seed: int | bytes) -> dict[str, Array]:
    """Return every parameter's values before the first step."""
    return {name: parameter.initializer(seed, name, parameter.shape) for name, parameter in parameters.items()}


def _scores(network: Network, scope: Scope, x: Tensor) -> Tensor:
    """Raises LocalError unless there is one answer for each row."""
    found = network(scope, x)
    if not isinstance(found, Tensor):
        raise LocalError(f"the network returns {type(found).__name__} and no tensor")
    if found.shape[:1] != x.shape[:1]:
        raise LocalError(f"the network turns {x.shape} into {found.shape}; answers come row by row, rows first")
    return found


def check_parameters(record: Record) -> None:
    """Raise LocalError when a network has over PARAMETERS_MAX parameters."""
    count = sum(spec.size for spec in record.parameters.values())
    if count > PARAMETERS_MAX:
        raise LocalError(f"the network has {count} parameters, over {PARAMETERS_MAX}; use smaller layers")
