"""The networks' forward passes in ONNX, with the operators that its runtimes are made for: Conv, LSTM,
LayerNormalization, Gelu."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.bench.networks import (
    BLOCKS,
    CLASSES,
    HEADS,
    HIDDEN,
    KERNELS,
    POOL,
    POOLED,
    TOKENS,
    WIDTH,
    Network,
    input_shape,
)

OPSET = 20
IR_VERSION = 9
"""What goes with opset 20 (onnx/docs/Versioning.md)."""
EPSILON = 1e-5


class _Writer:
    """Nodes and constants as they are added; values are named by number."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Return the name of the output, or the names."""
        names = [f"v{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Array) -> str:
        """Return the name of a constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        """Return the name of a list of integers."""
        return self.constant(np.array(values, np.int64))


def onnx_network(network: Network, parameters: Mapping[str, F32], rows: int) -> bytes:
    """Return the model from x to output."""
    w = _Writer()
    body = {Network.CNN: _cnn, Network.LSTM: _lstm, Network.TRANSFORMER: _transformer}[network](w, parameters, rows)
    head = [w.constant(parameters[name]) for name in ("head", "head.bias")]
    w.nodes.append(helper.make_node("Gemm", [body, *head], ["output"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape(network, rows))
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [rows, CLASSES])
    graph = helper.make_graph(w.nodes, network.value, [x], [out], w.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _cnn(w: _Writer, p: Mapping[str, F32], rows: int) -> str:
    maps = w.add("Conv", "x", w.constant(p["conv"]), w.constant(p["conv.bias"]))
    pooled = w.add("MaxPool", w.add("Relu", maps), kernel_shape=[POOL, POOL], strides=[POOL, POOL])
    flat: str = w.add("Reshape", pooled, w.integers(rows, KERNELS * POOLED * POOLED))
    return flat


def _lstm(w: _Writer, p: Mapping[str, F32], rows: int) -> str:
    """ONNX has the gates in the order input, output, forget, cell; ours is input, forget, cell, output."""

    def turned(array: F32) -> F32:
        i, f, g, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, o, f, g], axis=-1)

    weights = [w.constant(np.ascontiguousarray(turned(p[name]).T)[None]) for name in ("w", "u")]
    bias = w.constant(np.concatenate([turned(p["bias"]), np.zeros(4 * HIDDEN, np.float32)])[None])
    _, last, _ = w.add("LSTM", "x", *weights, bias, outputs=3, hidden_size=HIDDEN)
    flat: str = w.add("Reshape", last, w.integers(rows, HIDDEN))
    return flat


def _transformer(w: _Writer, p: Mapping[str, F32], rows: int) -> str:
    x = "x"
    for block in range(BLOCKS):
        prefix = f"block{block}."
        x = _block(
            w, {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}, x, rows
        )
    mean: str = w.add("ReduceMean", x, w.integers(1), keepdims=0)
    return mean


def _block(w: _Writer, p: Mapping[str, F32], x: str, rows: int) -> str:
    def dense(x: str, name: str) -> str:
        return str(w.add("Add", w.add("MatMul", x, w.constant(p[name])), w.constant(p[f"{name}.bias"])))

    def norm(x: str, name: str) -> str:
        scale, shift = w.constant(p[f"{name}.scale"]), w.constant(p[f"{name}.shift"])
        return str(w.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=EPSILON))

    def heads(x: str, order: list[int]) -> str:
        return str(w.add("Transpose", w.add("Reshape", x, w.integers(rows, TOKENS, HEADS, WIDTH // HEADS)), perm=order))

    parts = w.add("Split", dense(norm(x, "norm1"), "qkv"), outputs=3, axis=-1, num_outputs=3)
    q, k, v = heads(parts[0], [0, 2, 1, 3]), heads(parts[1], [0, 2, 3, 1]), heads(parts[2], [0, 2, 1, 3])
    scale = w.constant(np.array((WIDTH // HEADS) ** -0.5, np.float32))
    shares = w.add("Softmax", w.add("Mul", w.add("MatMul", q, k), scale), axis=-1)
    seen = w.add("Transpose", w.add("MatMul", shares, v), perm=[0, 2, 1, 3])
    x = w.add("Add", x, dense(w.add("Reshape", seen, w.integers(rows, TOKENS, WIDTH)), "join"))
    return str(w.add("Add", x, dense(w.add("Gelu", dense(norm(x, "norm2"), "up")), "down")))
