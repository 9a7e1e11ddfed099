"""Golden cases of SCAN: what a loop carries, keeps and checks, its gradients, loops in loops, and a training step."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions.losses import softmax_cross_entropy
from synaptic_mesh.engine.functions.recurrence import GruWeights, LstmWeights, gru, lstm
from synaptic_mesh.engine.functions.scan import Scanned, scan
from synaptic_mesh.engine.golden_case import Builders, Case, Tensors, draw_case
from synaptic_mesh.engine.golden_inputs import Inputs, awkward, floats
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.optimizers import AdamW, initial_state, training_step
from synaptic_mesh.engine.trace import Spec, Tensor, gather, maximum, sigmoid, spec_of, tanh

STEPS = 9
GRU_SHAPES: dict[str, Shape] = {"x": (STEPS, 3, 5), "h": (3, 6), "w": (5, 18), "u": (6, 18), "b": (18,), "r": (18,)}
LSTM_SHAPES: dict[str, Shape] = {"w": (3, 24), "u": (6, 24), "b": (24,), "v": (6, 4)}


def loop_cases() -> Builders:
    """Return what makes each of them, by name, always the same."""
    makers: dict[str, tuple[Callable[..., Tensors], Callable[[], Inputs]]] = {
        "loops": (_loops, _loop_inputs),
        "integer_loop": (_integer_loop, lambda: {"i": _integers("integer_loop", (STEPS, 5), 1 << 32)}),
        "nested_loops": (_nested, lambda: {"x": floats("nested", (4, STEPS, 3)), "w": floats("nested/w", (3, 3))}),
        "loop_gradients": (
            _gru_gradients,
            lambda: {name: floats(f"gru/{name}", shape) for name, shape in GRU_SHAPES.items()},
        ),
        "loop_lookup": (_lookup, partial(_lookup_inputs, 6)),
        "loop_lookup_high": (_lookup, partial(_lookup_inputs, 7)),
    }
    cases: Builders = {name: partial(draw_case, name, *maker) for name, maker in makers.items()}
    return cases | {"loop_adamw": _training}


def _loops(x: Tensor, z: Tensor, w: Tensor) -> Tensors:
    """Two states, one of which is an output too, both ways; a fixed matrix; a view and a maximum in the step."""

    def step(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        mixed = tanh(states["a"] @ w) + slices["x"] * 0.5
        most = maximum(states["m"], slices["x"].sum(0))
        return {"a": mixed, "m": most}, {
            "a": mixed,
            "turned": mixed.transpose() * most.repeat(1, 3),
            "special": slices["z"] + mixed,
        }

    found: Tensors = {}
    for way, reverse in (("there", False), ("back", True)):
        done = scan(step, {"a": x[0], "m": x[1, 0]}, {"x": x, "z": z}, reverse=reverse, unroll=False)
        found |= _named(way, done)
    return found


def _loop_inputs() -> Inputs:
    shape = (STEPS, 3, 7)
    return {"x": floats("loops/x", shape), "z": awkward("loops/z", shape), "w": floats("loops/w", (7, 7))}


def _integer_loop(i: Tensor) -> Tensors:
    def step(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        after = (states["s"] * 1103515245 + slices["i"]) ^ (states["s"] >> 3)
        return {"s": after}, {"s": states["s"]}

    return _named("i", scan(step, {"s": i[0]}, {"i": i}, unroll=False))


def _nested(x: Tensor, w: Tensor) -> Tensors:
    """A loop over rows inside a loop over blocks, and the gradient back through both."""

    def outer(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        def inner(before: Tensors, rows: Tensors) -> tuple[Tensors, Tensors]:
            after = sigmoid((before["h"] @ w) + rows["row"].reshape(1, 3))
            return {"h": after}, {"h": after * states["h"]}

        done = scan(inner, {"h": states["h"]}, {"row": slices["block"]}, unroll=False)
        return {"h": done.states["h"]}, {"sum": done.outputs["h"].sum(0)}

    start = x.builder.constant(0.25, (1, 3))
    done = scan(outer, {"h": start}, {"block": x}, unroll=False)
    loss = (done.outputs["sum"] * done.outputs["sum"]).sum() + done.states["h"].sum()
    dx, dw = gradients(loss, [x, w])
    return {**_named("nested", done), "dx": dx, "dw": dw}


def _gru_gradients(**p: Tensor) -> Tensors:
    weights = GruWeights(p["w"], p["u"], p["b"], p["r"])
    found: Tensors = {}
    for way, reverse in (("there", False), ("back", True)):
        outputs, last = gru(p["x"], p["h"], weights, reverse=reverse)
        loss = (outputs * outputs).sum() + last.sum()
        wrt = sorted(p)
        grads = zip(wrt, gradients(loss, [p[name] for name in wrt]), strict=True)
        found |= {f"{way}/{name}": gradient for name, gradient in grads}
    return found


def _lookup(table: Tensor, at: Tensor) -> Tensors:
    """An index that only the step sees is checked in every step."""

    def step(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        return {"s": states["s"] * 0.5 + gather(table, slices["at"])}, {}

    return _named("lookup", scan(step, {"s": table[:2]}, {"at": at}, unroll=False))


def _training() -> Case:
    def loss(p: Tensors, batch: Tensors) -> Tensor:
        start = batch["x"].builder.constant(0.0, (3, 6))
        _, last, _ = lstm(batch["x"], start, start, LstmWeights(p["w"], p["u"], p["b"]))
        return softmax_cross_entropy(last @ p["v"], batch["y"])

    batch: Inputs = {"x": floats("loop_adamw", (STEPS, 3, 3)), "y": _integers("loop_adamw/y", (3,), 4)}
    specs = {key: Spec(shape) for key, shape in LSTM_SHAPES.items()}
    graph = training_step(loss, specs, {key: spec_of(array) for key, array in batch.items()}, AdamW(0.01))
    parameters = {key: uniform(0, f"golden/loop_adamw/{key}", shape, 0.5) for key, shape in LSTM_SHAPES.items()}
    return Case("loop_adamw", graph, {**parameters, **initial_state(AdamW(0.01), specs), **batch}, runs=3)


def _named(prefix: str, done: Scanned) -> Tensors:
    last = {f"{prefix}/last_{name}": x for name, x in done.states.items()}
    return last | {f"{prefix}/{name}": x for name, x in done.outputs.items()}


def _lookup_inputs(high: int) -> Inputs:
    at = _integers("lookup", (STEPS, 2), 6)
    at[STEPS - 1, 1] = high - 1
    return {"table": floats("lookup/table", (6, 4)), "at": at}


def _integers(name: str, shape: Shape, high: int) -> Array:
    drawn = random_u32(0, f"golden/{name}", math.prod(shape)).astype(np.uint64) % np.uint64(high)
    found: Array = drawn.astype(np.uint32).view(np.int32).reshape(shape)
    return found
