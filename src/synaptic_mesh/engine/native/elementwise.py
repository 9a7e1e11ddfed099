"""Loop nests of fused elementwise kernels: collapse axes, then walk the last one a vector at a time."""

from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.native.chain import Chain, Part, Strides, parts_of
from synaptic_mesh.engine.native.function import Function, Index
from synaptic_mesh.engine.native.values import Value
from synaptic_mesh.engine.wasm.chain import is_cheap
from synaptic_mesh.engine.wasm.elementwise import collapse

UNROLL = 4
STRAIGHT_MAX = 8
"""Vectors of a row that are emitted one after another instead of as a loop."""


def emit_elementwise(f: Function, chain: Chain, flags: str) -> None:
    """Emit the whole kernel for a shape without zero extents."""
    extents, change = collapse(chain.kernel.shape, chain.classes())
    chain.restride(change)
    nest = _Nest(f, chain, extents)
    chain.finish(flags, nest.outer(0, dict.fromkeys(chain.classes(), 0), chain.start()))


class _Nest:
    def __init__(self, f: Function, chain: Chain, extents: Shape) -> None:
        self.f = f
        self.chain = chain
        self.extents = extents
        self.cheap = is_cheap(chain.graph, chain.kernel)

    def outer(self, axis: int, offsets: dict[Strides, Index], state: str) -> str:
        """Walk the axes from `axis` on and return the state."""
        if axis == len(self.extents) - 1:
            return self.inner(offsets, state)

        def body(position: str, values: list[str]) -> list[str]:
            here = {s: self.f.add(o, self.f.mul(position, 4 * s[axis])) for s, o in offsets.items()}
            return self._carried(self.outer(axis + 1, here, self._state(values, state)))

        return self._state(self.f.loop(0, self.extents[axis], 1, body, self._carry(state)), state)

    def inner(self, offsets: dict[Strides, Index], state: str) -> str:
        """Walk a row."""
        lanes, extent, done = self.chain.profile.lanes, self.extents[-1], 0
        known = self.chain.hoist(offsets, lanes) if extent >= lanes else {}
        straight = extent // lanes <= (STRAIGHT_MAX if self.cheap else 1)
        for vectors in () if straight else (UNROLL, 1) if self.cheap else (1,):
            step = vectors * lanes
            whole = (extent - done) // step * step
            if whole:
                state = self._vectors(offsets, state, known, done, whole, vectors)
            done += whole
        for part in parts_of(extent - done, lanes):
            leaves = known if part.width == lanes else self.chain.hoist(offsets, part.width)
            state = self.chain.emit(offsets, part._replace(first=done + part.first), state, leaves)
        return state

    def _vectors(
        self,
        offsets: dict[Strides, Index],
        state: str,
        known: dict[int, Value],
        first: int,
        count: int,
        vectors: int,
    ) -> str:
        lanes = self.chain.profile.lanes

        def body(position: str, values: list[str]) -> list[str]:
            here = {s: self.f.add(o, self.f.mul(position, 4 * s[-1])) for s, o in offsets.items()}
            now = self._state(values, state)
            for vector in range(vectors):
                now = self.chain.emit(here, Part(vector * lanes, lanes, lanes), now, known)
            return self._carried(now)

        carry = self._carry(state)
        return self._state(self.f.loop(first, first + count, vectors * lanes, body, carry), state)

    def _carry(self, state: str) -> list[tuple[str, str]]:
        return [(self.chain.state_kind, state)] if self.chain.checked else []

    def _carried(self, state: str) -> list[str]:
        return [state] if self.chain.checked else []

    def _state(self, values: list[str], state: str) -> str:
        return values[0] if values else state
