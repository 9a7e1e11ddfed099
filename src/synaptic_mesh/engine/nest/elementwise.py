"""Loop nests of fused elementwise kernels: collapse axes, then walk the last one a vector at a time."""

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.nest.builder import Body, Builder, Part, Walk, parts_of
from synaptic_mesh.engine.nest.chain import Chain, Strides

H = TypeVar("H")


def collapse(shape: Shape, strides: list[Strides]) -> tuple[Shape, dict[Strides, Strides]]:
    """Join neighbouring axes that every tensor walks as one, and drop axes of extent 1.
    Returns the joined extents (at least one axis) and each strides tuple over them."""
    kept = [axis for axis, extent in enumerate(shape) if extent != 1]
    groups: list[list[int]] = []
    for axis in kept:
        if groups and all(s[groups[-1][-1]] == s[axis] * shape[axis] for s in strides):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if not groups:
        return (1,), dict.fromkeys(strides, (1,))
    extents = tuple(math.prod(shape[axis] for axis in group) for group in groups)
    return extents, {s: tuple(s[group[-1]] for group in groups) for s in strides}


def emit_elementwise(b: Builder[H], chain: Chain[H]) -> None:
    """Build the whole kernel for a shape without zero extents."""
    extents, change = collapse(chain.kernel.shape, chain.classes())
    chain.restride(change)
    start = chain.start()
    state = start[0].initial if start else None
    chain.finish(_Nest(b, chain, extents).outer(0, chain.places, state))


class _Nest(Generic[H]):
    def __init__(self, b: Builder[H], chain: Chain[H], extents: Shape) -> None:
        self.b = b
        self.chain = chain
        self.extents = extents

    def outer(self, axis: int, places: list[H], state: H | None) -> H | None:
        """Walk the axes from `axis` on and return the state."""
        if axis == len(self.extents) - 1:
            return self.inner(places, state)

        def body(_: H, here: Sequence[H], values: Sequence[H]) -> list[H]:
            after = self.outer(axis + 1, list(here), values[0] if values else None)
            return [] if after is None else [after]

        return self._loop(self.extents[axis], 1, axis, places, state, body)

    def inner(self, places: list[H], state: H | None) -> H | None:
        """Walk a row."""
        schedule, chain = self.b.schedule, self.chain
        lanes, extent, done = schedule.lanes, self.extents[-1], 0
        zeros = (0,) * (len(self.extents) - 1)
        known = chain.hoist(places, lanes) if extent >= lanes else {}
        straight = extent // lanes <= (schedule.straight_max if chain.is_cheap else 1)
        for vectors in () if straight else (schedule.unroll, 1) if chain.is_cheap else (1,):
            step = vectors * lanes
            count = (extent - done) // step
            if count > 1 or vectors > 1:
                moved = self._moved(places, done)
                state = self._vectors(moved, state, known, count, vectors)
                done += count * step
        for part in parts_of(extent - done, lanes):
            leaves = known if part.width == lanes else chain.hoist(places, part.width)
            state = chain.emit(places, (*zeros, done), part, state, leaves)
        return state

    def _vectors(self, places: list[H], state: H | None, known: dict[int, H], count: int, vectors: int) -> H | None:
        lanes, zeros = self.b.schedule.lanes, (0,) * (len(self.extents) - 1)

        def body(_: H, here: Sequence[H], values: Sequence[H]) -> list[H]:
            now = values[0] if values else None
            for vector in range(vectors):
                now = self.chain.emit(list(here), (*zeros, vector * lanes), Part(0, lanes, lanes), now, known)
            return [] if now is None else [now]

        return self._loop(count, vectors * lanes, -1, places, state, body)

    def _loop(self, count: int, step: int, axis: int, places: list[H], state: H | None, body: Body[H]) -> H | None:
        """Run the body with addresses that advance `step` elements of an axis; what does not move is not walked."""
        moving = [number for number, strides in enumerate(self.chain.strides) if strides[axis]]
        walks = [Walk(places[number], 4 * self.chain.strides[number][axis] * step) for number in moving]

        def with_places(position: H, here: Sequence[H], values: Sequence[H]) -> Sequence[H]:
            at = list(places)
            for number, place in zip(moving, here, strict=True):
                at[number] = place
            return body(position, at, values)

        after = self.b.loop(count, with_places, walks, self.chain.carry(state), step)
        return after[0] if after else None

    def _moved(self, places: list[H], done: int) -> list[H]:
        if not done:
            return places
        return [self.b.at(p, 4 * s[-1] * done) for p, s in zip(places, self.chain.strides, strict=True)]
