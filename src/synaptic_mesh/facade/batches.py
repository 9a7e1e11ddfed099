"""Rows cut into batches, in an order that a seed and the epoch decide."""

from collections.abc import Iterator

import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.initializers import random_u32


class Batches:
    """Rows with targets and weights, cut into batches; the last one may be shorter."""

    def __init__(self, x: F32, y: Array, weight: F32 | None, size: int) -> None:
        self.x, self.y, self.weight, self.size = x, y, weight, size
        self.count = -(-len(x) // size)

    def walk(self, order: Array) -> Iterator[tuple[F32, Array, F32 | None]]:
        """Yield the batches of an order of rows."""
        for start in range(0, len(order), self.size):
            chosen = order[start : start + self.size]
            yield self.x[chosen], self.y[chosen], None if self.weight is None else self.weight[chosen]

    def split(self, share: float) -> "tuple[Batches, tuple[F32, Array]]":
        """Return the first rows, and the last `share` of them held out. Raises LocalError when one side is empty."""
        kept = len(self.x) - int(len(self.x) * share)
        if not 0 < kept < len(self.x):
            raise LocalError(f"validation_split {share} of {len(self.x)} rows leaves nothing on one side")
        weight = None if self.weight is None else self.weight[:kept]
        return Batches(self.x[:kept], self.y[:kept], weight, self.size), (self.x[kept:], self.y[kept:])


def row_order(seed: int, epoch: int, rows: int) -> Array:
    """Return the order of rows in an epoch: sorted by the words of stream (seed, "fit/order", epoch), ties by row."""
    return np.argsort(random_u32(seed, "fit/order", rows, epoch), kind="stable")
