"""What a golden case is."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from synaptic_mesh.engine.golden_inputs import Inputs
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.trace import Tensor, spec_of, trace

Tensors = dict[str, Tensor]


class Case(msgspec.Struct, frozen=True):
    """A graph, its inputs, and how often it runs before its outputs are read."""

    name: str
    graph: Graph
    inputs: Inputs
    runs: int = 1


Builders = dict[str, Callable[[], Case]]
"""What makes each case of a family, by name. Drawing inputs and tracing take time: only what is asked for is made."""


def make_case(
    name: str, function: Callable[..., Mapping[str, Tensor]], inputs: Inputs, checked: Sequence[str] = ()
) -> Case:
    """Return the case of a traced function."""
    specs = {key: spec_of(array) for key, array in inputs.items()}
    return Case(name, trace(function, specs, checked=checked), inputs)


def draw_case(name: str, function: Callable[..., Mapping[str, Tensor]], inputs: Callable[[], Inputs]) -> Case:
    """The same with inputs that are drawn only now."""
    return make_case(name, function, inputs())
