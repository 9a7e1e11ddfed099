"""What a backend promises: it compiles a graph into a program whose outputs have the bits of the semantics page.

The reference interpreter (`reference.py`) is the definition; the runtimes in `workers` are the fast ones. Whoever needs
to execute a graph takes a `Backend` as an argument, so cores never import a runtime.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import MeshError, ResourceError
from synaptic_mesh.engine.ir import Graph


class Trust(enum.Enum):
    """How far a backend's bits can be relied on. Always shown with a result."""

    EXACT = "exact"
    EXACT_INT = "exact-int"
    TOLERANT = "tolerant"


class StepInvalid(MeshError):
    """A run computed a non-finite value in a checked output, or met an index out of range.

    It is a property of graph and inputs, so every exact backend raises it for the same runs: a job whose step is
    invalid is refused with a reason, nobody is at fault locally and no peer is to blame for the raise itself.
    `completed`: steps of the same call that were carried out before, where the call was `run_feed`.
    """

    def __init__(self, message: str, completed: int = 0) -> None:
        super().__init__(message)
        self.completed = completed


class ProgramLost(ResourceError):
    """What executed a program is gone, and the values of its inputs with it. The program can be used again: as a new
    one, its inputs zero. Whoever has the task begins it again; the bits do not depend on where it is carried out."""


class Program(Protocol):
    """A compiled graph with its memory. Not thread-safe: one program per thread.

    Inputs are zero until written and keep their values between runs. A *carried* input (`graph.carried`: input name ->
    output name) holds, after `run`, the value of its output, so a training step is `write` once, then
    `write(batch)`/`run` many times without copying parameters.
    """

    graph: Graph

    def write(self, name: str, array: Array) -> None:
        """Copy `array` into input `name`. Raises LocalError when dtype or shape differ from the graph's."""

    def run(self) -> None:
        """Execute the graph once over the current inputs. Raises StepInvalid when a checked output is not finite or an
        index is out of range (semantics rules 8 and 9)."""

    def read(self, name: str) -> Array:
        """Return a copy of output (or input) `name`."""

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""


class Backend(Protocol):
    """A way to execute graphs."""

    name: str
    trust: Trust

    def compile(self, graph: Graph) -> Program:
        """Return a program for `graph`. Raises LocalError when it breaks the IR's law or the admission limits."""


def run_feed(program: Program, feed: Mapping[str, Array]) -> None:
    """Execute one step for each row of the arrays of `feed`, which become the values of these inputs one after another.

    feed: arrays of shape (steps, *shape of the input), at least one. The bits are those of `step_by_step`; a program
    that has a `run_feed` of its own may carry out many steps at once. Raises as writing and running does, StepInvalid
    with the number of steps that were completed.
    """
    getattr(program, "run_feed", partial(step_by_step, program))(feed)


def step_by_step(program: Program, feed: Mapping[str, Array]) -> None:
    """Do what `run_feed` says with writes and runs: its definition."""
    for step in range(len(next(iter(feed.values())))):
        for name, values in feed.items():
            program.write(name, values[step])
        try:
            program.run()
        except StepInvalid as error:
            error.completed = step
            raise


def prepared_call(program: Program, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[..., list[Array]]:
    """Return a function that takes the arrays of `inputs` in this order, runs once and returns copies of `outputs`; the
    other inputs keep what they hold. It raises what `write`, `run` and `read` raise. A program that has a `function` of
    its own may do all that without looking names up."""
    if hasattr(program, "function"):
        prepare: Callable[[Sequence[str], Sequence[str]], Callable[..., list[Array]]] = program.function
        return prepare(inputs, outputs)

    def call(*arrays: Array) -> list[Array]:
        for name, array in zip(inputs, arrays, strict=True):
            program.write(name, array)
        program.run()
        return [program.read(name) for name in outputs]

    return call
