"""Three networks that people bring: shapes, values and our graph of each. The rivals' forms are in `networks_torch`,
`networks_jax` and `networks_onnx`.

All are classifiers of ten classes, trained with softmax cross-entropy and SGD. cnn: images 28x28, 8 kernels 3x3, ReLU,
maximum of 2x2, dense. lstm: 16 steps of 32 features, 64 hidden, dense on the last state. transformer: 32 tokens of 64
features, two blocks (layer norm, attention of 4 heads, layer norm, GELU network of 256), mean over tokens, dense.
"""

import enum

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.bench.workload import RATE, Kind
from synaptic_mesh.engine.composites import dense, relu
from synaptic_mesh.engine.functions.activations import gelu
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.functions.convolution import conv2d
from synaptic_mesh.engine.functions.losses import softmax_cross_entropy
from synaptic_mesh.engine.functions.normalization import layer_norm, mean_over
from synaptic_mesh.engine.functions.pooling import max_pool
from synaptic_mesh.engine.functions.recurrence import LstmWeights, lstm
from synaptic_mesh.engine.ir import Graph, Shape
from synaptic_mesh.engine.optimizers import SGD, Tensors, training_step
from synaptic_mesh.engine.trace import Spec, Tensor, i32, trace

CLASSES = 10
SIDE, KERNELS, KERNEL, POOL = 28, 8, 3, 2
POOLED = (SIDE - KERNEL + 1) // POOL
STEPS, FEATURES, HIDDEN = 16, 32, 64
TOKENS, WIDTH, HEADS, INNER, BLOCKS = 32, 64, 4, 256, 2


class Network(enum.Enum):
    """Which of the three."""

    CNN = "cnn"
    LSTM = "lstm"
    TRANSFORMER = "transformer"


class NetworkWork(msgspec.Struct, frozen=True):
    """`kind`: FORWARD gives `output`, the logits; TRAIN the loss and the parameters. `rows`: of the batch."""

    kind: Kind
    network: Network
    rows: int

    @property
    def label(self) -> str:
        """Like "forward cnn batch 1"."""
        return f"{self.kind.value} {self.network.value} batch {self.rows}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a call brings back to the user."""
        return ("loss",) if self.kind is Kind.TRAIN else ("output",)

    def graph(self) -> Graph:
        """Return our graph; when training, the parameters are carried."""
        parameters = {name: Spec(shape) for name, shape in SHAPES[self.network].items()}
        x = Spec(input_shape(self.network, self.rows))
        if self.kind is Kind.FORWARD:
            return trace(lambda x, **p: logits(self.network, p, x), {"x": x, **parameters})

        def loss(p: Tensors, batch: Tensors) -> Tensor:
            return softmax_cross_entropy(logits(self.network, p, batch["x"]), batch["y"])

        return training_step(loss, parameters, {"x": x, "y": i32(self.rows)}, SGD(RATE))

    def parameters(self) -> dict[str, F32]:
        """Return what stays in place between calls, always the same values: float32."""
        random = np.random.default_rng(2)
        drawn = {}
        for name, shape in SHAPES[self.network].items():
            scale = np.float32(0.5 / max(1, shape[0]) ** 0.5 if len(shape) > 1 else 0.05)
            drawn[name] = random.standard_normal(shape, np.float32) * scale
            if name.endswith("scale"):
                drawn[name] += np.float32(1)
        return drawn

    def inputs(self) -> dict[str, Array]:
        """Return what each call brings, always the same values: x float32, and when training labels y int32."""
        random = np.random.default_rng(3)
        x = random.standard_normal(input_shape(self.network, self.rows), np.float32)
        if self.kind is Kind.FORWARD:
            return {"x": x}
        return {"x": x, "y": random.integers(0, CLASSES, self.rows).astype(np.int32)}


def input_shape(network: Network, rows: int) -> Shape:
    """Return the shape of x; time comes first for the recurrent network, as in torch."""
    shapes = {
        Network.CNN: (rows, 1, SIDE, SIDE),
        Network.LSTM: (STEPS, rows, FEATURES),
        Network.TRANSFORMER: (rows, TOKENS, WIDTH),
    }
    return shapes[network]


def _block_shapes(block: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        "norm1.scale": (WIDTH,),
        "norm1.shift": (WIDTH,),
        "qkv": (WIDTH, 3 * WIDTH),
        "qkv.bias": (3 * WIDTH,),
        "join": (WIDTH, WIDTH),
        "join.bias": (WIDTH,),
        "norm2.scale": (WIDTH,),
        "norm2.shift": (WIDTH,),
        "up": (WIDTH, INNER),
        "up.bias": (INNER,),
        "down": (INNER, WIDTH),
        "down.bias": (WIDTH,),
    }
    return {f"block{block}.{name}": shape for name, shape in shapes.items()}


SHAPES: dict[Network, dict[str, Shape]] = {
    Network.CNN: {
        "conv": (KERNELS, 1, KERNEL, KERNEL),
        "conv.bias": (KERNELS,),
        "head": (KERNELS * POOLED * POOLED, CLASSES),
        "head.bias": (CLASSES,),
    },
    Network.LSTM: {
        "w": (FEATURES, 4 * HIDDEN),
        "u": (HIDDEN, 4 * HIDDEN),
        "bias": (4 * HIDDEN,),
        "head": (HIDDEN, CLASSES),
        "head.bias": (CLASSES,),
    },
    Network.TRANSFORMER: {
        **{name: shape for block in range(BLOCKS) for name, shape in _block_shapes(block).items()},
        "head": (WIDTH, CLASSES),
        "head.bias": (CLASSES,),
    },
}
"""Parameters by name, in the order in which every contestant is given them. Products take weights as (in, out)."""


def logits(network: Network, p: Tensors, x: Tensor) -> Tensor:
    """Return (rows, CLASSES)."""
    body = {Network.CNN: _cnn, Network.LSTM: _lstm, Network.TRANSFORMER: _transformer}[network]
    return dense(body(p, x), p["head"], p["head.bias"])


def _cnn(p: Tensors, x: Tensor) -> Tensor:
    maps = max_pool(relu(conv2d(x, p["conv"], p["conv.bias"])), (POOL, POOL))
    return maps.reshape(x.shape[0], KERNELS * POOLED * POOLED)


def _lstm(p: Tensors, x: Tensor) -> Tensor:
    start = x.builder.constant(0.0, (x.shape[1], HIDDEN))
    _, last, _ = lstm(x, start, start, LstmWeights(p["w"], p["u"], p["bias"]))
    return last


def _transformer(p: Tensors, x: Tensor) -> Tensor:
    for block in range(BLOCKS):
        x = _block({name.split(".", 1)[1]: value for name, value in p.items() if name.startswith(f"block{block}.")}, x)
    return mean_over(x, (1,))


def _block(p: Tensors, x: Tensor) -> Tensor:
    rows = x.shape[0]
    joined = layer_norm(x, p["norm1.scale"], p["norm1.shift"]) @ p["qkv"] + p["qkv.bias"]
    parts = joined.reshape(rows, TOKENS, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
    seen = attention(parts[0], parts[1], parts[2]).transpose(0, 2, 1, 3).reshape(rows, TOKENS, WIDTH)
    x = x + seen @ p["join"] + p["join.bias"]
    hidden = gelu(layer_norm(x, p["norm2.scale"], p["norm2.shift"]) @ p["up"] + p["up.bias"])
    return x + hidden @ p["down"] + p["down.bias"]
