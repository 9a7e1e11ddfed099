"""ONNX operators over time: RNN, GRU and LSTM. Gates stand in ONNX's order: z r h, and i o f c.

A loop is written out into the graph. Directions and activation functions are those of the specification; peepholes,
clipping and sequences of different lengths are not computed.
"""

from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions.movement import concat, stack
from synaptic_mesh.engine.trace import Tensor, sigmoid, tanh
from synaptic_mesh.interchange.onnx_shapes import Handler
from synaptic_mesh.interchange.onnx_values import Call, Value

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"Sigmoid": sigmoid, "Tanh": tanh, "Relu": relu}
States = tuple[Tensor, ...]
Cell = Callable[["Weights", Tensor, States], States]


class Weights:
    """One direction of a node: w (gates * hidden, inputs), r (gates * hidden, hidden), and biases of both."""

    def __init__(self, call: Call, direction: int, gates: int) -> None:
        self.call = call
        self.w, self.r = call.floats(1)[direction], call.floats(2)[direction]
        self.hidden = self.r.shape[1]
        width = gates * self.hidden
        zeros = call.builder.constant(0.0, (width,))
        self.wb, self.rb = zeros, zeros
        if call.has(3):
            both = call.floats(3)[direction]
            self.wb, self.rb = both[:width], both[width:]
        names = call.get("activations") or []
        count = {1: 1, 3: 2, 4: 3}[gates]
        chosen = (
            names[direction * count : (direction + 1) * count] or ["Tanh"]
            if count == 1
            else names[direction * count : (direction + 1) * count] or ["Sigmoid", "Tanh", "Tanh"][:count]
        )
        for name in chosen:
            if name not in FUNCTIONS:
                raise LocalError(f"activation {name} is not computed in {call.op}; there are {', '.join(FUNCTIONS)}")
        self.functions = [FUNCTIONS[name] for name in chosen]

    def part(self, joined: Tensor, gate: int) -> Tensor:
        """Return one gate of (n, gates * hidden)."""
        return joined[:, gate * self.hidden : (gate + 1) * self.hidden]


def _rnn_cell(weights: Weights, gates: Tensor, states: States) -> States:
    recurrent = states[0] @ weights.r.transpose(1, 0) + weights.rb
    return (weights.functions[0](gates + recurrent),)


def _gru_cell(weights: Weights, gates: Tensor, states: States) -> States:
    (h,) = states
    squash, bend = weights.functions
    size = weights.hidden
    turned = weights.r.transpose(1, 0)
    both = h @ turned[:, : 2 * size] + weights.rb[: 2 * size]
    update = squash(weights.part(gates, 0) + weights.part(both, 0))
    reset = squash(weights.part(gates, 1) + weights.part(both, 1))
    own, bias = turned[:, 2 * size :], weights.rb[2 * size :]
    if weights.call.get("linear_before_reset", 0):
        new = bend(weights.part(gates, 2) + reset * (h @ own + bias))
    else:
        new = bend(weights.part(gates, 2) + (reset * h) @ own + bias)
    return ((1.0 - update) * new + update * h,)


def _lstm_cell(weights: Weights, gates: Tensor, states: States) -> States:
    h, c = states
    squash, bend, last = weights.functions
    joined = gates + h @ weights.r.transpose(1, 0) + weights.rb
    cell = squash(weights.part(joined, 2)) * c + squash(weights.part(joined, 0)) * bend(weights.part(joined, 3))
    return squash(weights.part(joined, 1)) * last(cell), cell


def _recurrence(cell: Cell, gates: int, states: int) -> Handler:
    def build(call: Call) -> list[Value]:
        _check(call)
        x = call.floats(0)
        is_batch_first = bool(call.get("layout", 0))
        x = x.transpose(1, 0, 2) if is_batch_first else x
        mode = call.get("direction", "forward")
        ways = [False, True] if mode == "bidirectional" else [mode == "reverse"]
        runs = [
            _run(call, cell, Weights(call, d, gates), x, d, is_reverse, states) for d, is_reverse in enumerate(ways)
        ]
        y = stack([run[0] for run in runs], 1)  # (time, directions, n, hidden)
        lasts = [stack([run[1][i] for run in runs], 0) for i in range(states)]  # (directions, n, hidden)
        if is_batch_first:
            y, lasts = y.transpose(2, 0, 1, 3), [t.transpose(1, 0, 2) for t in lasts]
        return [call.result(t) for t in (y, *lasts)][: call.outputs]

    return build


def _run(
    call: Call, cell: Cell, weights: Weights, x: Tensor, direction: int, is_reverse: bool, count: int
) -> tuple[Tensor, States]:
    length, rows, width = x.shape
    flat = x.reshape(length * rows, width) @ weights.w.transpose(1, 0) + weights.wb
    gates = flat.reshape(length, rows, flat.shape[1])
    states: States = tuple(_start(call, 5 + i, direction, rows, weights.hidden) for i in range(count))
    found: list[Tensor] = []
    for t in reversed(range(length)) if is_reverse else range(length):
        states = cell(weights, gates[t], states)
        found.append(states[0])
    if is_reverse:
        found.reverse()
    return concat([step.reshape(1, *step.shape) for step in found], 0), states


def _start(call: Call, index: int, direction: int, rows: int, hidden: int) -> Tensor:
    if not call.has(index):
        return call.builder.constant(0.0, (rows, hidden))
    given = call.floats(index)
    return given[:, direction] if call.get("layout", 0) else given[direction]


def _check(call: Call) -> None:
    if call.has(7):
        raise LocalError("an LSTM with peepholes is not computed")
    if call.get("clip") is not None or call.get("input_forget", 0):
        raise LocalError(f"{call.op} with clip or input_forget is not computed")
    if call.has(4):
        lengths = call.static(4)
        steps = call.value(0).shape[1 if call.get("layout", 0) else 0]
        if (lengths != steps).any():
            raise LocalError(f"{call.op} of sequences with different lengths {lengths.tolist()[:8]} is not computed")


RECURRENT: dict[str, Handler] = {
    "RNN": _recurrence(_rnn_cell, 1, 1),
    "GRU": _recurrence(_gru_cell, 3, 1),
    "LSTM": _recurrence(_lstm_cell, 4, 2),
}
