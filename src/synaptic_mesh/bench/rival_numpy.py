"""The same work in well-written numpy: products into arrays that exist, updates in place, no copies that numpy can
avoid. In place it is the same calls: numpy has no other way."""

from collections.abc import Callable

import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.bench.cases import Case
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.bench.networks import NetworkWork
from synaptic_mesh.bench.workload import PARAMETERS, RATE, Kind


class Entry:
    """numpy with whatever BLAS it brings."""

    name = "numpy"

    def prepare(self, case: Case) -> Prepared | None:
        """Return the case ready to be run, or None for a network: numpy brings no convolution to compare with."""
        if isinstance(case.work, NetworkWork):
            return None
        inputs, parameters = case.work.inputs(), case.work.parameters()
        if case.work.kind is Kind.TRAIN:
            step = NumpyStep(parameters, RATE, case.work.rows)
            return _repeat(case, lambda: step(inputs["x"], inputs["y"]), step.results)
        first, _, third = case.work.sizes
        rows = case.work.rows or first
        out = np.empty((rows, third), np.float32)
        if case.work.kind is Kind.GEMM:
            a, b = inputs["a"], inputs["b"]
            return _repeat(case, lambda: np.dot(a, b, out=out), lambda: {"output": out})
        x, w1, b1, w2, b2 = (inputs["x"], *(parameters[name] for name in PARAMETERS))
        hidden = np.empty((rows, len(b1)), np.float32)

        def forward() -> None:
            np.dot(x, w1, out=hidden)
            np.add(hidden, b1, out=hidden)
            np.maximum(hidden, 0, out=hidden)
            np.dot(hidden, w2, out=out)
            np.add(out, b2, out=out)

        return _repeat(case, forward, lambda: {"output": out})


class NumpyStep:
    """One training step of a 2-layer classifier: dense, relu, dense, softmax cross-entropy, backward, SGD. Tolerant
    bits.

    parameters: w1 (d, h), b1 (h,), w2 (h, c), b2 (c,), float32, updated in place; x: (n, d) float32; y: (n,) int32.
    """

    def __init__(self, parameters: dict[str, F32], rate: float, rows: int) -> None:
        self.w1, self.b1, self.w2, self.b2 = (parameters[name].copy() for name in ("w1", "b1", "w2", "b2"))
        self.rate = np.float32(rate)
        self.hidden = np.empty((rows, self.w1.shape[1]), np.float32)
        self.logits = np.empty((rows, self.w2.shape[1]), np.float32)
        self.back = np.empty_like(self.hidden)
        self.d_w1, self.d_w2 = np.empty_like(self.w1), np.empty_like(self.w2)
        self.index = np.arange(rows)
        self.loss = 0.0

    def __call__(self, x: F32, y: Array) -> float:
        """Update the parameters and return the loss before the update."""
        hidden, logits = self.hidden, self.logits
        np.dot(x, self.w1, out=hidden)
        hidden += self.b1
        np.maximum(hidden, 0, out=hidden)
        np.dot(hidden, self.w2, out=logits)
        logits += self.b2
        logits -= logits.max(axis=1, keepdims=True)
        picked = logits[self.index, y].sum()
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        loss = float((np.log(total).sum() - picked) / len(x))
        logits /= total
        logits[self.index, y] -= 1
        logits /= np.float32(len(x))
        np.dot(logits, self.w2.T, out=self.back)
        self.back *= hidden > 0
        np.dot(hidden.T, logits, out=self.d_w2)
        np.dot(x.T, self.back, out=self.d_w1)
        self.d_w1 *= self.rate
        self.d_w2 *= self.rate
        self.w1 -= self.d_w1
        self.w2 -= self.d_w2
        self.b1 -= self.rate * self.back.sum(axis=0)
        self.b2 -= self.rate * logits.sum(axis=0)
        self.loss = loss
        return loss

    def results(self) -> dict[str, Array]:
        """Return the last loss and the parameters."""
        return {"loss": np.array(self.loss, np.float32), "w1": self.w1, "b1": self.b1, "w2": self.w2, "b2": self.b2}


def _repeat(case: Case, step: Callable[[], object], results: Callable[[], dict[str, Array]]) -> Prepared:
    def run() -> None:
        for _ in range(case.steps):
            step()

    return Prepared(step if case.steps == 1 else run, results)
