"""A network with its values and its compiled programs: what a Model computes with.

Values (parameters, network state, optimizer state) are named arrays. While training they live in one program; reading
or changing programs brings them back, so nothing is copied between batches of one size. Programs that answer are given
the values when they have changed, not for each answer.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.engine.backend import Backend, Program, ProgramLost, StepInvalid, prepared_call
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


class _Answering:
    """A program that answers for so many rows: `call` takes them and returns `names`."""

    def __init__(self, program: Program, inputs: Sequence[str], values: Mapping[str, Array]) -> None:
        self.program = program
        self.names = tuple(program.graph.outputs)
        self.call = prepared_call(program, inputs, self.names)
        self.parameters = [name for name in program.graph.inputs if name in values]
        self.version: int | None = None
        """Of the values that the program holds."""

    def update(self, values: Mapping[str, Array], version: int) -> None:
        """Give the program the values of this version, if it has others."""
        if self.version != version:
            self.version = None
            for name in self.parameters:
                self.program.write(name, values[name])
            self.version = version


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
        self._version = 0
        """Raised whenever `_values` change."""
        self._live: Program | None = None
        self._steps: dict[tuple[int, bool], tuple[Program, Callable[..., list[Array]]]] = {}
        self._forwards: dict[tuple[int, bool], _Answering] = {}

    @property
    def is_begun(self) -> bool:
        """True once parameters exist."""
        return self.shape is not None

    def begin(self, row: tuple[int, ...], values: Mapping[str, Array] | None = None) -> None:
        """Trace the network for rows of this shape; parameters begin by the seed, or as `values`."""
        shape = network_forward(self.network, self.loss, f32(1, *row))
        self.row, self.shape = row, shape
        self._values = {**initial_values(shape.parameters, self.seed), **shape.state, **(values or {})}
        self._version += 1

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
        self._version += 1

    def retune(self, optimizer: Optimizer) -> None:
        """Go on with another optimizer: its state stays where names agree."""
        self._settle()
        self.optimizer = optimizer
        self._steps.clear()

    def train(self, x: F32, y: Array, weight: F32 | None) -> dict[str, float]:
        """Take one step on a batch; return its loss and metrics (means over rows). Raises StepInvalid; the values are
        then those of the last time that anybody asked for them or for an answer, on every backend."""
        step = self._step(x, y, weight)
        try:
            loss, *sums = step(x, y) if weight is None else step(x, y, weight)
        except (StepInvalid, ProgramLost):
            self._live = None  # what it holds now is nobody's; the values that were read from it last are
            raise
        rows = len(x)
        return {LOSS: float(loss), **{name: float(at) / rows for name, at in zip(self.metrics, sums, strict=True)}}

    def forward(self, x: F32) -> tuple[F32, F32]:
        """Return (scores, reading) of all rows. Raises StepInvalid."""
        found = self._run_forward(x, None)
        return found[SCORES], found[READING]

    def prepared(self, rows: int) -> Callable[[F32], F32]:
        """Return a function of exactly so many rows with the values of this moment, in a program of its own."""
        self._settle()
        graph = network_forward(self.network, self.loss, f32(rows, *self.row), is_read=False).graph
        answering = _Answering(self.backend.compile(graph), ["x"], self._values)
        values = {name: self._values[name].copy() for name in answering.parameters}
        answering.update(values, 0)
        call = answering.call

        def answer(x: F32) -> F32:
            try:
                return call(x)[0]
            except ProgramLost:
                answering.version = None
                answering.update(values, 0)
                raise

        return answer

    def judge(self, x: F32, y: Array) -> dict[str, Array]:
        """Return loss and metrics of each row. Raises StepInvalid."""
        found = self._run_forward(x, y)
        return {LOSS: found[LOSS], **{name: found[f"{METRIC}{name}"] for name in self.metrics}}

    def _step(self, x: F32, y: Array, weight: F32 | None) -> Callable[..., list[Array]]:
        """Return what takes a batch and gives loss and metrics, in the program that holds the values."""
        key = (len(x), weight is not None)
        program, call = self._steps.get(key) or self._new_step(key, x, y)
        if program is not self._live:
            self._settle()
            for name in program.graph.carried:
                program.write(name, self._values[name])
            self._live = program
        return call

    def _new_step(self, key: tuple[int, bool], x: F32, y: Array) -> tuple[Program, Callable[..., list[Array]]]:
        _, weighted = key
        step = network_step(
            self.network,
            self.loss,
            self.optimizer,
            Spec(x.shape),
            spec_of(y),
            metrics=self.metrics,
            weighted=weighted,
            seed=self.seed,
        )
        self._settle()
        self._values = {**step.optimizer_state, **self._values}
        program = self.backend.compile(step.graph)
        inputs = ["x", "y", "weight"] if weighted else ["x", "y"]
        call = prepared_call(program, inputs, [LOSS, *(f"{METRIC}{name}" for name in self.metrics)])
        self._steps[key] = program, call
        return program, call

    def _settle(self) -> None:
        """Bring the values out of the program that trains."""
        if self._live is not None:
            self._values.update({name: self._live.read(name) for name in self._live.graph.carried})
            self._version += 1
            self._live = None

    def _run_forward(self, x: F32, y: Array | None) -> dict[str, Array]:
        self._settle()
        count = len(x)
        size = min(FORWARD_ROWS_MAX, 1 << (count - 1).bit_length())
        answering = self._forwards.get((size, y is not None)) or self._new_answering(size, y)
        if count == size:
            return dict(zip(answering.names, self._answer(answering, x, y), strict=True))
        found = []
        for start in range(0, count, size):
            here = slice(start, min(start + size, count))
            rows = None if y is None else _padded(y[here], size)
            answers = self._answer(answering, _padded(x[here], size), rows)
            found.append([answer[: here.stop - start] for answer in answers])
        return {
            name: np.concatenate(parts) for name, parts in zip(answering.names, zip(*found, strict=True), strict=True)
        }

    def _answer(self, answering: _Answering, x: F32, y: Array | None) -> list[Array]:
        """Return the answers for as many rows as the program takes."""
        answering.update(self._values, self._version)
        try:
            return answering.call(x) if y is None else answering.call(x, y)
        except ProgramLost:
            answering.version = None
            raise

    def _new_answering(self, size: int, y: Array | None) -> _Answering:
        targets = None if y is None else spec_of(y[:1])
        wanted = None if targets is None else Spec((size, *targets.shape[1:]), targets.dtype)
        graph = network_forward(self.network, self.loss, f32(size, *self.row), wanted, metrics=self.metrics).graph
        inputs = ["x"] if y is None else ["x", "y"]
        answering = _Answering(self.backend.compile(graph), inputs, self._values)
        self._forwards[size, y is not None] = answering
        return answering


def _padded(rows: Array, size: int) -> Array:
    """Fill up with the last row, whose further answers are cut off. Zeros would be rows that nobody gave: a network
    that divides by a row's length has no answer for them, and the whole run would be invalid."""
    if len(rows) == size:
        return np.ascontiguousarray(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
