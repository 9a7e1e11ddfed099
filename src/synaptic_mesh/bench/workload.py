"""The work that everyone is given: the same shapes, the same numbers, and our graph for it."""

import enum

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.engine.composites import cross_entropy, dense, relu
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.optimizers import SGD, Tensors, training_step
from synaptic_mesh.engine.trace import Spec, Tensor, f32, i32, trace

RATE = 0.05
PARAMETERS = ("w1", "b1", "w2", "b2")


class Kind(enum.Enum):
    """What is computed."""

    GEMM = "gemm"
    FORWARD = "forward"
    TRAIN = "train"


class Workload(msgspec.Struct, frozen=True):
    """GEMM: sizes (n, k, m), out = a (n, k) @ b (k, m). FORWARD: logits of the classifier of sizes (d, h, c): dense,
    relu, dense. TRAIN: one step of it with softmax cross-entropy and SGD at `RATE`. `rows`: of the batch."""

    kind: Kind
    sizes: tuple[int, int, int]
    rows: int = 0

    @property
    def label(self) -> str:
        """Like "gemm 64" and "train 784-128-10 batch 32"."""
        if self.kind is Kind.GEMM:
            text = str(self.sizes[0]) if len(set(self.sizes)) == 1 else "x".join(map(str, self.sizes))
        else:
            text = "-".join(map(str, self.sizes)) + f" batch {self.rows}"
        return f"{self.kind.value} {text}"

    def graph(self) -> Graph:
        """Return our graph; outputs are `output`, or `loss` and the parameters, which are carried."""
        first, second, third = self.sizes
        if self.kind is Kind.GEMM:
            return trace(lambda a, b: a @ b, {"a": f32(first, second), "b": f32(second, third)})
        parameters = {"w1": f32(first, second), "b1": f32(second), "w2": f32(second, third), "b2": f32(third)}
        x = f32(self.rows, first)
        if self.kind is Kind.FORWARD:
            return trace(_logits, {"x": x, **parameters})
        return _train(parameters, {"x": x, "y": i32(self.rows)})

    def parameters(self) -> dict[str, F32]:
        """Return what stays in place between calls, always the same values: float32; nothing for a product."""
        if self.kind is Kind.GEMM:
            return {}
        random = np.random.default_rng(2)
        first, second, third = self.sizes
        shapes = {"w1": (first, second), "b1": (second,), "w2": (second, third), "b2": (third,)}
        return {name: random.standard_normal(shape, np.float32) * np.float32(0.05) for name, shape in shapes.items()}

    def inputs(self) -> dict[str, Array]:
        """Return what each call brings, always the same values: a and b, or x, or x and labels y (int32)."""
        random = np.random.default_rng(3)
        first, second, third = self.sizes
        if self.kind is Kind.GEMM:
            shapes = {"a": (first, second), "b": (second, third)}
            return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        x = random.standard_normal((self.rows, first), np.float32)
        if self.kind is Kind.FORWARD:
            return {"x": x}
        return {"x": x, "y": random.integers(0, third, self.rows).astype(np.int32)}

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a call brings back to the user: the output, or the loss."""
        return ("loss",) if self.kind is Kind.TRAIN else ("output",)


def _logits(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return dense(relu(dense(x, w1, b1)), w2, b2)


def _train(parameters: dict[str, Spec], batch: dict[str, Spec]) -> Graph:
    def loss(p: Tensors, b: Tensors) -> Tensor:
        return cross_entropy(_logits(b["x"], p["w1"], p["b1"], p["w2"], p["b2"]), b["y"])

    return training_step(loss, parameters, batch, SGD(RATE))
