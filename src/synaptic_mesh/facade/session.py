"""A network with its values and its compiled programs: what a Model computes with.

Values (parameters, network state, optimizer state) are named arrays. While training they live in one program; reading
or changing programs brings them back, so nothing is copied between batches of one size.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.engine.backend import Backend, Program
from synaptic_mesh.engine.optimizers import LOSS, Optimizer
from synaptic_mesh.engine.trace import Spec, f32, spec_of
from synaptic_mesh.models.graphs import SCORES
from synaptic_mesh.models.losses import Loss, check_metrics
from synaptic_mesh.models.network_graphs import (
    METRIC,
    READING,
    ForwardGraph,
    initial_values,
    network_forward,
    network_step,
)
from synaptic_mesh.models.scope import Network

FORWARD_ROWS_MAX = 256
"""Rows of one run of a forward program; fewer rows take the next power of two."""


class Session:
    """`begin` once the shape of a row is known; then `train`, `forward` and `judge` on batches."""

    def __init__(
        self, network: Network, loss: Loss, optimizer: Optimizer, metrics: Sequence[str], backend: Backend, seed: int
    ) -> None:
        check_metrics(metrics)
        self.network, self.loss, self.optimizer, self.metrics = network, loss, optimizer, tuple(metrics)
        self.backend, self.seed = backend, seed
        self.row: tuple[int, ...] = ()
        self.shape: ForwardGraph | None = None
        self._values: dict[str, Array] = {}
        self._live: Program | None = None
        self._steps: dict[tuple[int, bool], Program] = {}
        self._forwards: dict[tuple[int, bool], Program] = {}

    @property
    def is_begun(self) -> bool:
        """True once parameters exist."""
        return self.shape is not None

    def begin(self, row: tuple[int, ...], values: Mapping[str, Array] | None = None) -> None:
        """Trace the network for rows of this shape; parameters begin by the seed, or as `values`."""
        shape = network_forward(self.network, self.loss, f32(1, *row))
        self.row, self.shape = row, shape
        self._values = {**initial_values(shape.parameters, self.seed), **shape.state, **(values or {})}

    def forget(self) -> None:
        """Return to where no row has been seen."""
        self.row, self.shape, self._values = (), None, {}
        self._live = None
        self._steps.clear()
        self._forwards.clear()

    def scores_shape(self, rows: int) -> tuple[int, ...]:
        """Return the shape of the scores of so many rows."""
        if self.shape is None:
            return ()
        graph = self.shape.graph
        return (rows, *graph.nodes[graph.outputs[SCORES]].shape[1:])

    def values(self) -> dict[str, Array]:
        """Return copies of all values: parameters, network state, optimizer state."""
        self._settle()
        return {name: value.copy() for name, value in self._values.items()}

    def replace(self, values: Mapping[str, Array]) -> None:
        """Replace values by name."""
        self._settle()
        self._values.update(values)

    def retune(self, optimizer: Optimizer) -> None:
        """Go on with another optimizer: its state stays where names agree."""
        self._settle()
        self.optimizer = optimizer
        self._steps.clear()

    def train(self, x: F32, y: Array, weight: F32 | None) -> dict[str, float]:
        """Take one step on a batch; return its loss and metrics (means over rows). Raises StepInvalid."""
        program = self._step(x, y, weight)
        program.write("x", x)
        program.write("y", y)
        if weight is not None:
            program.write("weight", weight)
        program.run()
        figures = {LOSS: float(program.read(LOSS))}
        for name in self.metrics:
            figures[name] = float(program.read(f"{METRIC}{name}")) / len(x)
        return figures

    def forward(self, x: F32) -> tuple[F32, F32]:
        """Return (scores, reading) of all rows. Raises StepInvalid."""
        found = self._run_forward(x, None)
        return found[SCORES], found[READING]

    def judge(self, x: F32, y: Array) -> dict[str, Array]:
        """Return loss and metrics of each row. Raises StepInvalid."""
        found = self._run_forward(x, y)
        return {LOSS: found[LOSS], **{name: found[f"{METRIC}{name}"] for name in self.metrics}}

    def _step(self, x: F32, y: Array, weight: F32 | None) -> Program:
        key = (len(x), weight is not None)
        if key not in self._steps:
            step = network_step(
                self.network,
                self.loss,
                self.optimizer,
                Spec(x.shape),
                spec_of(y),
                metrics=self.metrics,
                weighted=weight is not None,
                seed=self.seed,
            )
            self._settle()
            self._values = {**step.optimizer_state, **self._values}
            self._steps[key] = self.backend.compile(step.graph)
        program = self._steps[key]
        if program is not self._live:
            self._settle()
            for name in program.graph.carried:
                program.write(name, self._values[name])
            self._live = program
        return program

    def _settle(self) -> None:
        """Bring the values out of the program that trains."""
        if self._live is not None:
            self._values.update({name: self._live.read(name) for name in self._live.graph.carried})
            self._live = None

    def _run_forward(self, x: F32, y: Array | None) -> dict[str, Array]:
        self._settle()
        size = min(FORWARD_ROWS_MAX, 1 << (len(x) - 1).bit_length())
        program = self._forward_program(size, y)
        for name in program.graph.inputs:
            if name in self._values:
                program.write(name, self._values[name])
        parts: dict[str, list[Array]] = {name: [] for name in program.graph.outputs}
        for start in range(0, len(x), size):
            rows = min(size, len(x) - start)
            program.write("x", _padded(x[start : start + rows], size))
            if y is not None:
                program.write("y", _padded(y[start : start + rows], size))
            program.run()
            for name, found in parts.items():
                found.append(program.read(name)[:rows])
        return {name: np.concatenate(found) for name, found in parts.items()}

    def _forward_program(self, size: int, y: Array | None) -> Program:
        key = (size, y is not None)
        if key not in self._forwards:
            targets = None if y is None else spec_of(y[:1])
            wanted = None if targets is None else Spec((size, *targets.shape[1:]), targets.dtype)
            graph = network_forward(self.network, self.loss, f32(size, *self.row), wanted, metrics=self.metrics).graph
            self._forwards[key] = self.backend.compile(graph)
        return self._forwards[key]


def _padded(rows: Array, size: int) -> Array:
    """Fill up with the last row, whose further answers are cut off. Zeros would be rows that nobody gave: a network
    that divides by a row's length has no answer for them, and the whole run would be invalid."""
    if len(rows) == size:
        return np.ascontiguousarray(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
