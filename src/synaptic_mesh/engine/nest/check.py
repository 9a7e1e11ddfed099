"""The look at a checked output that no fused kernel wrote."""

from collections.abc import Sequence
from typing import TypeVar

from synaptic_mesh.engine.nest.builder import FLOAT, INT, Builder, Carried, Walk, parts_of
from synaptic_mesh.engine.nest.chain import exponents_full

H = TypeVar("H")


def emit_check(b: Builder[H], count: int, source: H) -> None:
    """Raise the flag when one of `count` f32 is NaN or infinite."""
    lanes = b.schedule.lanes
    ops = b.vectors(lanes)
    whole = count // lanes

    def vector(_: H, here: Sequence[H], states: Sequence[H]) -> Sequence[H]:
        return [ops.bit_or(states[0], exponents_full(ops, b.load(FLOAT, lanes, here[0])))]

    (state,) = b.loop(whole, vector, [Walk(source, 4 * lanes)], [Carried(INT, lanes, ops.constant(0))])
    for part in parts_of(count - whole * lanes, lanes):
        found = exponents_full(b.vectors(part.width), b.load(FLOAT, part.width, source, 4 * whole * lanes))
        state = ops.bit_or(state, b.keep_lanes(INT, part, found, 0, lanes))
    b.raise_if_negative(state)
