"""Golden cases of whole training steps, run three times."""

import itertools
import math
from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.composites import cross_entropy, dense, mse, relu
from synaptic_mesh.engine.functions.activations import gelu
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.functions.convolution import conv2d
from synaptic_mesh.engine.functions.indexing import embedding
from synaptic_mesh.engine.functions.losses import softmax_cross_entropy
from synaptic_mesh.engine.functions.normalization import layer_norm
from synaptic_mesh.engine.functions.pooling import max_pool
from synaptic_mesh.engine.functions.random import dropout, stream_key
from synaptic_mesh.engine.functions.recurrence import LstmWeights, lstm
from synaptic_mesh.engine.golden_case import Builders, Case, Tensors
from synaptic_mesh.engine.golden_inputs import Inputs, floats
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Optimizer, initial_state, training_step
from synaptic_mesh.engine.trace import Spec, Tensor, matmul, sigmoid, spec_of, tanh


def training_cases() -> Builders:
    """Return what makes each of them, by name, always the same."""
    return {
        "classifier_sgd": lambda: _classifier("classifier_sgd", SGD(0.05), hidden=True),
        "linear_adamw": lambda: _classifier("linear_adamw", AdamW(0.01), hidden=False),
        "regressor_momentum": lambda: _regressor("regressor_momentum", Momentum(0.05, 0.9)),
        "convolutional_sgd": lambda: _step(
            "convolutional_sgd", SGD(0.05), _convolutional_loss, CONVOLUTIONAL, _image_batch()
        ),
        "recurrent_momentum": lambda: _step(
            "recurrent_momentum", Momentum(0.05, 0.9), _recurrent_loss, RECURRENT, _sequence_batch()
        ),
        "transformer_adamw": lambda: _step(
            "transformer_adamw", AdamW(0.01), _transformer_loss, TRANSFORMER, _token_batch()
        ),
    }


CONVOLUTIONAL: dict[str, Shape] = {"w": (4, 1, 3, 3), "b": (4,), "v": (36, 5), "c": (5,)}
RECURRENT: dict[str, Shape] = {"w": (3, 24), "u": (6, 24), "b": (24,), "v": (6, 4)}
TRANSFORMER: dict[str, Shape] = {
    "e": (11, 8),
    "q": (8, 24),
    "o": (8, 8),
    "s": (8,),
    "t": (8,),
    "f": (8, 16),
    "g": (16, 8),
}


def _classifier_loss(p: Tensors, batch: Tensors) -> Tensor:
    hidden = relu(dense(batch["x"], p["w1"], p["b1"]))
    return cross_entropy(dense(hidden, p["w2"], p["b2"]), batch["y"])


def _linear_loss(p: Tensors, batch: Tensors) -> Tensor:
    return cross_entropy(dense(batch["x"], p["w1"], p["b1"]), batch["y"])


def _regressor_loss(p: Tensors, batch: Tensors) -> Tensor:
    hidden = tanh(dense(batch["x"], p["w1"], p["b1"]))
    return mse(sigmoid(dense(hidden, p["w2"], p["b2"])), batch["y"])


def _convolutional_loss(p: Tensors, batch: Tensors) -> Tensor:
    maps = max_pool(relu(conv2d(batch["x"], p["w"], p["b"], padding=1)), (2, 2))
    flat = maps.reshape(maps.shape[0], 36)
    return cross_entropy(dense(flat, p["v"], p["c"]), batch["y"])


def _recurrent_loss(p: Tensors, batch: Tensors) -> Tensor:
    start = batch["x"].builder.constant(0.0, (batch["x"].shape[1], 6))
    _, last, _ = lstm(batch["x"], start, start, LstmWeights(p["w"], p["u"], p["b"]))
    return softmax_cross_entropy(last @ p["v"], batch["y"], label_smoothing=0.1)


def _transformer_loss(p: Tensors, batch: Tensors) -> Tensor:
    x = dropout(embedding(p["e"], batch["tokens"]), 0.2, stream_key(0, "golden/dropout"), batch["step"])
    joined = (layer_norm(x, p["s"], p["t"]) @ p["q"]).reshape(2, 5, 3, 2, 4).transpose(2, 0, 3, 1, 4)
    seen = attention(joined[0], joined[1], joined[2], causal=True)
    x = x + seen.transpose(0, 2, 1, 3).reshape(2, 5, 8) @ p["o"]
    x = x + gelu(x @ p["f"]) @ p["g"]
    scores = matmul(x.reshape(10, 8), p["e"], transpose_right=True)
    return softmax_cross_entropy(scores, batch["next"].reshape(10), ignore_index=0)


def _step(
    name: str,
    optimizer: Optimizer,
    loss: Callable[[Tensors, Tensors], Tensor],
    shapes: dict[str, Shape],
    batch: Inputs,
) -> Case:
    specs = {key: Spec(shape) for key, shape in shapes.items()}
    graph = training_step(loss, specs, {key: spec_of(array) for key, array in batch.items()}, optimizer)
    parameters = {key: uniform(0, f"golden/{name}/{key}", shape, 0.5) for key, shape in shapes.items()}
    return Case(name, graph, {**parameters, **initial_state(optimizer, specs), **batch}, runs=3)


def _image_batch() -> Inputs:
    return {"x": floats("images", (3, 1, 6, 6)), "y": _labels("images/y", (3,), 5)}


def _sequence_batch() -> Inputs:
    return {"x": floats("sequences", (4, 3, 3)), "y": _labels("sequences/y", (3,), 4)}


def _token_batch() -> Inputs:
    tokens = {key: _labels(f"tokens/{key}", (2, 5), 11) for key in ("tokens", "next")}
    return {**tokens, "step": np.array(3, np.uint32)}


def _labels(name: str, shape: Shape, classes: int) -> Array:
    drawn = random_u32(0, f"golden/{name}", math.prod(shape)) % np.uint32(classes)
    labels: Array = drawn.astype(np.int32).reshape(shape)
    return labels


def _training(
    name: str, loss: Callable[[Tensors, Tensors], Tensor], optimizer: Optimizer, sizes: Shape, batch: Inputs
) -> Case:
    shapes: dict[str, Shape] = {}
    for i, (inner, outer) in enumerate(itertools.pairwise(sizes), 1):
        shapes |= {f"w{i}": (inner, outer), f"b{i}": (outer,)}
    return _step(name, optimizer, loss, shapes, batch)


def _classifier(name: str, optimizer: Optimizer, hidden: bool) -> Case:
    labels = (random_u32(0, f"golden/{name}/y", 9) % np.uint32(5)).astype(np.int32)
    batch: Inputs = {"x": floats(f"{name}/x", (9, 21)), "y": labels}
    loss, sizes = (_classifier_loss, (21, 18, 5)) if hidden else (_linear_loss, (21, 5))
    return _training(name, loss, optimizer, sizes, batch)


def _regressor(name: str, optimizer: Optimizer) -> Case:
    batch: Inputs = {"x": floats(f"{name}/x", (8, 5)), "y": uniform(0, f"golden/{name}/y", (8, 3), 1.0)}
    return _training(name, _regressor_loss, optimizer, (5, 16, 3), batch)
