"""Recurrences: a loop over time written out into the graph, and the LSTM and GRU cells over it.

A scan is unrolled while tracing: the graph holds every step, so its gradient, its limits and its order are those of any
graph. The operation limit bounds the length: an LSTM with its gradient takes about 60 operations a step. Backends share
one function between kernels of one form, so the code does not grow with the length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import axis_of, narrow, split, stack
from synaptic_mesh.engine.trace import Tensor, sigmoid, tanh

Tensors = dict[str, Tensor]
Step = Callable[[Tensors, Tensors], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
"""(states, slices of the inputs) -> (new states, outputs of this step)."""


class Scanned(NamedTuple):
    """The states after the last step, and each output stacked along the time axis."""

    states: Tensors
    outputs: Tensors


def scan(
    step: Step, states: Mapping[str, Tensor], inputs: Mapping[str, Tensor], *, axis: int = 0, reverse: bool = False
) -> Scanned:
    """Run `step` once for every index of `axis` of the inputs, whose slices lose that axis; reverse: from the last.

    Outputs are stacked at `axis`, always in the order of the inputs. Raises LocalError when lengths differ or are 0, or
    when a state changes its shape or dtype.
    """
    lengths = {name: x.shape[axis_of(x, axis)] for name, x in inputs.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise LocalError(f"scan needs inputs of one length of at least 1, not {lengths}")
    length = next(iter(lengths.values()))
    current: Tensors = dict(states)
    collected: list[Mapping[str, Tensor]] = []
    for t in reversed(range(length)) if reverse else range(length):
        slices = {name: _at(x, axis, t) for name, x in inputs.items()}
        after, outputs = step(current, slices)
        _need_same(current, after)
        current = dict(after)
        collected.append(outputs)
    if reverse:
        collected.reverse()
    stacked = {name: stack([outputs[name] for outputs in collected], axis) for name in collected[0]}
    return Scanned(current, stacked)


class LstmWeights(NamedTuple):
    """w: (inputs, 4 h), u: (h, 4 h), bias: (4 h,); gates stand in torch's order input, forget, cell, output."""

    w: Tensor
    u: Tensor
    bias: Tensor


def lstm(
    x: Tensor, h: Tensor, c: Tensor, weights: LstmWeights, *, reverse: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM over (time, n, inputs) from states (n, h): outputs (time, n, h) and the last h and c.

    c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c'). Hochreiter and Schmidhuber 1997. The inputs' part
    of all gates is one product before the loop.
    """
    gates = x @ weights.w + weights.bias

    def step(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        parts = _gates(slices["gates"] + states["h"] @ weights.u, 4)
        cell = sigmoid(parts[1]) * states["c"] + sigmoid(parts[0]) * tanh(parts[2])
        hidden = sigmoid(parts[3]) * tanh(cell)
        return {"h": hidden, "c": cell}, {"h": hidden}

    done = scan(step, {"h": h, "c": c}, {"gates": gates}, reverse=reverse)
    return done.outputs["h"], done.states["h"], done.states["c"]


class GruWeights(NamedTuple):
    """w: (inputs, 3 h), u: (h, 3 h), bias and recurrent bias: (3 h,); torch's order reset, update, new."""

    w: Tensor
    u: Tensor
    bias: Tensor
    recurrent_bias: Tensor


def gru(x: Tensor, h: Tensor, weights: GruWeights, *, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Run a GRU over (time, n, inputs) from state (n, h): outputs (time, n, h) and the last h.

    n = tanh(xn + sigmoid(r) hn); h' = (1 - z) n + z h, z = sigmoid(update). Cho et al. 2014, arXiv:1406.1078, with the
    reset after the product, as in torch.
    """
    gates = x @ weights.w + weights.bias

    def step(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        hidden = states["h"]
        ours, theirs = _gates(slices["gates"], 3), _gates(hidden @ weights.u + weights.recurrent_bias, 3)
        reset, update = sigmoid(ours[0] + theirs[0]), sigmoid(ours[1] + theirs[1])
        new = tanh(ours[2] + reset * theirs[2])
        after = (1.0 - update) * new + update * hidden
        return {"h": after}, {"h": after}

    done = scan(step, {"h": h}, {"gates": gates}, reverse=reverse)
    return done.outputs["h"], done.states["h"]


def _gates(joined: Tensor, count: int) -> Sequence[Tensor]:
    return split(joined, [joined.shape[-1] // count] * count, -1)


def _at(x: Tensor, axis: int, t: int) -> Tensor:
    at = axis_of(x, axis)
    return narrow(x, at, t, 1).reshape(*x.shape[:at], *x.shape[at + 1 :])


def _need_same(before: Tensors, after: Mapping[str, Tensor]) -> None:
    kinds = [{name: (x.dtype.value, x.shape) for name, x in group.items()} for group in (before, after)]
    if kinds[0] != kinds[1]:
        raise LocalError(f"scan states {kinds[0]} became {kinds[1]}")
