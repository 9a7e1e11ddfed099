"""The graphs and inputs behind the golden digests."""

from collections.abc import Callable, Iterator

from synaptic_mesh.engine.golden_case import Builders, Case
from synaptic_mesh.engine.golden_primitives import primitive_cases


def cases() -> Iterator[Case]:
    """Yield every golden case, always the same."""
    for family in FAMILIES:
        for build in family().values():
            yield build()


def build_case(name: str) -> Case:
    """Return the case of that name; a family is imported only when none before it has the name."""
    for family in FAMILIES:
        build = family().get(name)
        if build is not None:
            return build()
    raise KeyError(name)


def _breadth() -> Builders:
    from synaptic_mesh.engine.golden_breadth import breadth_cases  # most of the engine's functions

    return breadth_cases()


def _training() -> Builders:
    from synaptic_mesh.engine.golden_training import training_cases  # the same, and the optimizers

    return training_cases()


def _loops() -> Builders:
    from synaptic_mesh.engine.golden_loops import loop_cases  # recurrences, losses and optimizers

    return loop_cases()


FAMILIES: tuple[Callable[[], Builders], ...] = (primitive_cases, _breadth, _training, _loops)
