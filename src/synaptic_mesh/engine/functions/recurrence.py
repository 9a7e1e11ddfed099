"""The LSTM and GRU cells over a scan."""

from collections.abc import Sequence
from typing import NamedTuple

from synaptic_mesh.engine.functions.movement import split
from synaptic_mesh.engine.functions.scan import Scanned, Step, Tensors, scan
from synaptic_mesh.engine.trace import Tensor, sigmoid, tanh

__all__ = ["GruWeights", "LstmWeights", "Scanned", "Step", "gru", "lstm", "scan"]


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
