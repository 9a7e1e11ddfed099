"""Loop nests of fused elementwise kernels: collapse axes, then walk the last one a vector at a time."""

import math

from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.wasm.chain import LANES, Chain, is_cheap
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import advance, counted
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32 = ValueType.I32
UNROLL = 4
Strides = tuple[int, ...]


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


def emit_elementwise(f: Function, chain: Chain) -> None:
    """Emit the whole kernel for a shape without zero extents."""
    extents, change = collapse(chain.kernel.shape, chain.classes())
    chain.restride(change)
    offsets = {strides: f.local(I32) for strides in chain.classes()}
    for offset in offsets.values():
        f.i32(0)
        f.set(offset)
    _outer(f, chain, extents, 0, offsets)


def _outer(f: Function, chain: Chain, extents: Shape, axis: int, offsets: dict[Strides, Local]) -> None:
    if axis == len(extents) - 1:
        _inner(f, chain, extents, offsets)
        return
    position = f.local(I32)
    with counted(f, position, 0, extents[axis], 1):
        saved = {strides: f.local(I32) for strides in offsets}
        for strides, offset in offsets.items():
            f.get(offset)
            f.set(saved[strides])
        _outer(f, chain, extents, axis + 1, offsets)
        for strides, offset in offsets.items():
            f.get(saved[strides])
            f.i32(4 * strides[axis])
            f.emit("i32.add")
            f.set(offset)


def _inner(f: Function, chain: Chain, extents: Shape, offsets: dict[Strides, Local]) -> None:
    extent = extents[-1]
    done = 0
    chain.hoist(offsets)
    for vectors in (UNROLL if is_cheap(chain.graph, chain.kernel) else 1, 1):
        step = vectors * LANES
        whole = (extent - done) // step * step
        if whole >= 2 * step:
            position = f.local(I32)
            with counted(f, position, 0, whole, step):
                _vectors(f, chain, extents, offsets, vectors)
            done += whole
    while extent - done >= LANES:
        _vectors(f, chain, extents, offsets, 1)
        done += LANES
    if extent - done:
        chain.emit(offsets, (0,) * len(extents), extent - done)


def _vectors(f: Function, chain: Chain, extents: Shape, offsets: dict[Strides, Local], vectors: int) -> None:
    for vector in range(vectors):
        chain.emit(offsets, (0,) * (len(extents) - 1) + (vector * LANES,))
    for strides, offset in offsets.items():
        if strides[-1]:
            advance(f, offset, 4 * strides[-1] * vectors * LANES)
