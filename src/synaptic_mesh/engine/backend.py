"""What a backend promises: it compiles a graph into a program whose outputs have the bits of the semantics page.

The reference interpreter (`reference.py`) is the definition; the runtimes in `workers` are the fast ones. Whoever needs
to execute a graph takes a `Backend` as an argument, so cores never import a runtime.
"""

import enum
from collections.abc import Mapping
from typing import Protocol

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import MeshError
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
    """


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
