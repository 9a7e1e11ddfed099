"""The graphs and inputs behind the golden digests."""

from collections.abc import Iterator

from synaptic_mesh.engine.golden_breadth import breadth_cases
from synaptic_mesh.engine.golden_case import Case
from synaptic_mesh.engine.golden_primitives import primitive_cases
from synaptic_mesh.engine.golden_training import training_cases


def cases() -> Iterator[Case]:
    """Yield every golden case, always the same."""
    yield from primitive_cases()
    yield from breadth_cases()
    yield from training_cases()
