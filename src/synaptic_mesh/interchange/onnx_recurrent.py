"""ONNX operators over time: RNN, GRU and LSTM. Gates stand in ONNX's order: z r h, and i o f c.

Directions, activation functions with their constants, clipping, coupled gates, peepholes and lengths of sequences are
those of the specification. A sequence that has ended keeps its states and gives 0.
"""

from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import relu
from synaptic_mesh.engine.functions import activations, elementwise
from synaptic_mesh.engine.functions.movement import stack
from synaptic_mesh.engine.functions.recurrence import scan
from synaptic_mesh.engine.trace import Tensor, sigmoid, tanh, where
from synaptic_mesh.interchange.onnx_shapes import Handler
from synaptic_mesh.interchange.onnx_values import Call, Value, truth

Function = Callable[[Tensor], Tensor]
FUNCTIONS: dict[str, tuple[float, float, Callable[[Tensor, float, float], Tensor]]] = {
    "Sigmoid": (0, 0, lambda x, _a, _b: sigmoid(x)),
    "Tanh": (0, 0, lambda x, _a, _b: tanh(x)),
    "Relu": (0, 0, lambda x, _a, _b: relu(x)),
    "Softsign": (0, 0, lambda x, _a, _b: activations.softsign(x)),
    "Softplus": (0, 0, lambda x, _a, _b: activations.softplus(x)),
    "Affine": (1.0, 0.0, lambda x, a, b: x * a + b),
    "LeakyRelu": (0.01, 0, lambda x, a, _b: activations.leaky_relu(x, a)),
    "ThresholdedRelu": (1.0, 0, lambda x, a, _b: activations.threshold_relu(x, a)),
    "ScaledTanh": (1.0, 1.0, lambda x, a, b: tanh(x * b) * a),
    "HardSigmoid": (0.2, 0.5, activations.hard_sigmoid),
    "Elu": (1.0, 0, lambda x, a, _b: activations.elu(x, a)),
}
"""Name -> (alpha, beta, function of x and both) with the defaults of the specification."""
DEFAULTS = {1: ["Tanh"], 3: ["Sigmoid", "Tanh"], 4: ["Sigmoid", "Tanh", "Tanh"]}
"""Gates -> the activations of one direction."""
States = tuple[Tensor, ...]
Cell = Callable[["Weights", Tensor, States], States]


class Weights:
    """One direction of a node: w (gates * hidden, inputs), r (gates * hidden, hidden), and biases of both."""

    def __init__(self, call: Call, direction: int, gates: int) -> None:
        self.call = call
        self.w, self.r = call.floats(1)[direction], call.floats(2)[direction]
        self.hidden = self.r.shape[1]
        self.turned = self.r.transpose(1, 0)
        width = gates * self.hidden
        zeros = call.builder.constant(0.0, (width,))
        self.wb, self.rb = zeros, zeros
        if call.has(3):
            both = call.floats(3)[direction]
            self.wb, self.rb = both[:width], both[width:]
        self.peepholes = call.floats(7)[direction] if gates == 4 and call.has(7) else None
        self.functions = _functions(call, direction, DEFAULTS[gates])

    def part(self, joined: Tensor, gate: int) -> Tensor:
        """Return one gate of (n, gates * hidden)."""
        return joined[:, gate * self.hidden : (gate + 1) * self.hidden]

    def peep(self, cell: Tensor, gate: int) -> Tensor | float:
        """Return what a gate (i, o or f) sees of the cell."""
        if self.peepholes is None:
            return 0.0
        return cell * self.peepholes[gate * self.hidden : (gate + 1) * self.hidden]


def _functions(call: Call, direction: int, defaults: list[str]) -> list[Function]:
    """Return the activations of one direction, each cut at `clip` before."""
    count = len(defaults)
    names = call.get("activations") or defaults * 2
    chosen = names[direction * count : (direction + 1) * count]
    constants = {key: list(call.get(f"activation_{key}") or []) for key in ("alpha", "beta")}
    for name in names[: direction * count]:  # constants are handed out in the order of the functions that take them
        _constants(name, constants)
    limit = call.get("clip")
    found = []
    for name in chosen:
        if name not in FUNCTIONS:
            raise LocalError(f"activation {name} is not computed in {call.op}; there are {', '.join(FUNCTIONS)}")
        alpha, beta = _constants(name, constants)
        found.append(_activation(name, alpha, beta, limit))
    return found


def _constants(name: str, given: dict[str, list[float]]) -> tuple[float, float]:
    alpha, beta, _ = FUNCTIONS.get(name, (0, 0, None))
    takes_alpha = name in ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")
    takes_beta = name in ("Affine", "ScaledTanh", "HardSigmoid")
    return (
        given["alpha"].pop(0) if takes_alpha and given["alpha"] else alpha,
        given["beta"].pop(0) if takes_beta and given["beta"] else beta,
    )


def _activation(name: str, alpha: float, beta: float, limit: float | None) -> Function:
    function = FUNCTIONS[name][2]
    if limit is None:
        return lambda x: function(x, alpha, beta)
    return lambda x: function(elementwise.clip(x, -limit, limit), alpha, beta)


def _rnn_cell(weights: Weights, gates: Tensor, states: States) -> States:
    recurrent = states[0] @ weights.turned + weights.rb
    return (weights.functions[0](gates + recurrent),)


def _gru_cell(weights: Weights, gates: Tensor, states: States) -> States:
    (h,) = states
    squash, bend = weights.functions
    size = weights.hidden
    both = h @ weights.turned[:, : 2 * size] + weights.rb[: 2 * size]
    update = squash(weights.part(gates, 0) + weights.part(both, 0))
    reset = squash(weights.part(gates, 1) + weights.part(both, 1))
    own, bias = weights.turned[:, 2 * size :], weights.rb[2 * size :]
    if weights.call.get("linear_before_reset", 0):
        new = bend(weights.part(gates, 2) + reset * (h @ own + bias))
    else:
        new = bend(weights.part(gates, 2) + (reset * h) @ own + bias)
    return ((1.0 - update) * new + update * h,)


def _lstm_cell(weights: Weights, gates: Tensor, states: States) -> States:
    h, c = states
    squash, bend, last = weights.functions
    joined = gates + h @ weights.turned + weights.rb
    enter = squash(_plus(weights.part(joined, 0), weights.peep(c, 0)))
    keep = squash(_plus(weights.part(joined, 2), weights.peep(c, 2)))
    if weights.call.get("input_forget", 0):
        keep = 1.0 - enter
    cell = keep * c + enter * bend(weights.part(joined, 3))
    return squash(_plus(weights.part(joined, 1), weights.peep(cell, 1))) * last(cell), cell


def _plus(x: Tensor, seen: Tensor | float) -> Tensor:
    return x + seen if isinstance(seen, Tensor) else x


def _recurrence(cell: Cell, gates: int, states: int) -> Handler:
    def build(call: Call) -> list[Value]:
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
    """One direction over (time, n, inputs): its outputs (time, n, hidden) and last states."""
    length, rows, width = x.shape
    flat = x.reshape(length * rows, width) @ weights.w.transpose(1, 0) + weights.wb
    sequences = {"gates": flat.reshape(length, rows, flat.shape[1])}
    lives = _lives(call, length, rows, weights.hidden)
    if lives is not None:
        sequences["lives"] = lives
    starts = {str(i): _start(call, 5 + i, direction, rows, weights.hidden) for i in range(count)}

    def step(now: dict[str, Tensor], slices: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        before = tuple(now[str(i)] for i in range(count))
        after = cell(weights, slices["gates"], before)
        shown = after[0]
        if "lives" in slices:
            is_alive = slices["lives"] == 1
            after = tuple(where(is_alive, new, old) for new, old in zip(after, before, strict=True))
            shown = where(is_alive, shown, 0.0)
        return {str(i): state for i, state in enumerate(after)}, {"shown": shown}

    done = scan(step, starts, sequences, reverse=is_reverse)
    return done.outputs["shown"], tuple(done.states[str(i)] for i in range(count))


def _start(call: Call, index: int, direction: int, rows: int, hidden: int) -> Tensor:
    if not call.has(index):
        return call.builder.constant(0.0, (rows, hidden))
    given = call.floats(index)
    return given[:, direction] if call.get("layout", 0) else given[direction]


def _lives(call: Call, length: int, rows: int, hidden: int) -> Tensor | None:
    """i32 (time, n, hidden), 1 while a sequence has not ended; None where all go to the end."""
    if not call.has(4):
        return None
    given = call.value(4)
    if given.array is not None and (given.array >= length).all():
        return None
    time = call.builder.array(np.arange(length, dtype=np.int32)).reshape(length, 1, 1)
    shape = (length, rows, hidden)
    return truth(time.broadcast_to(shape) < call.tensor(4).reshape(1, rows, 1).broadcast_to(shape))


RECURRENT: dict[str, Handler] = {
    "RNN": _recurrence(_rnn_cell, 1, 1),
    "GRU": _recurrence(_gru_cell, 3, 1),
    "LSTM": _recurrence(_lstm_cell, 4, 2),
}
