"""Random tensors by counter-based integer arithmetic: the same numbers in every language and on every machine.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Element i of a stream is word i mod 4
of block i div 4; a block's counter is (i div 4, low and high word; step, low and high word), its key comes from
(seed, purpose). No state, so any part of a stream can be computed alone.
"""

import math

import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.seeds import derive_int
from synaptic_mesh.engine.ir import Shape

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def he_uniform(seed: int | bytes, name: str, shape: Shape) -> F32:
    """Return a weight (fan_in, ...) uniform in [-limit, limit), limit = sqrt(6 / fan_in); for relu layers.

    He et al. 2015, arXiv:1502.01852. Raises LocalError when the first extent is 0.
    """
    return uniform(seed, f"parameter/{name}", shape, math.sqrt(6.0 / _positive(name, shape[:1])))


def glorot_uniform(seed: int | bytes, name: str, shape: Shape) -> F32:
    """Return a weight (fan_in, fan_out) uniform in [-limit, limit), limit = sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio 2010. Raises LocalError when both extents are 0.
    """
    return uniform(seed, f"parameter/{name}", shape, math.sqrt(6.0 / _positive(name, shape[:2])))


def uniform(seed: int | bytes, purpose: str, shape: Shape, limit: float, step: int = 0) -> F32:
    """Return f32 in [-limit, limit): (u * 2^-23 - 1) * f32(limit) with u the top 24 bits of a word.

    Everything before the last product is exact, so there is one rounding.
    """
    words = random_u32(seed, purpose, math.prod(shape), step)
    signed = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (signed * np.float32(limit)).reshape(shape)


def random_u32(seed: int | bytes, purpose: str, count: int, step: int = 0) -> U32:
    """Return the first `count` words of the stream (seed, purpose, step)."""
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    counter = np.empty((blocks.size, 4), np.uint32)
    counter[:, 0], counter[:, 1] = blocks & WORD, blocks >> HALF
    counter[:, 2], counter[:, 3] = step & 0xFFFFFFFF, step >> 32
    return philox4x32(counter, derive_int(seed, "philox", purpose)).reshape(-1)[:count]


def philox4x32(counter: U32, key: int) -> U32:
    """Return ten rounds of Philox over `counter` (n, 4) under a 64-bit key (low word first)."""
    first, second, third, fourth = (np.ascontiguousarray(counter[:, i]) for i in range(4))
    left, right = (np.empty(len(counter), "<u8") for _ in range(2))
    (left_low, left_high), (right_low, right_high) = (wide.view("<u4").reshape(-1, 2).T for wide in (left, right))
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(ROUNDS):
        np.multiply(first, MULTIPLIERS[0], out=left, dtype=np.uint64)
        np.multiply(third, MULTIPLIERS[1], out=right, dtype=np.uint64)
        first, second = right_high ^ second ^ np.uint32(keys[0]), right_low.copy()
        third, fourth = left_high ^ fourth ^ np.uint32(keys[1]), left_low.copy()
        keys = [(k + w) & 0xFFFFFFFF for k, w in zip(keys, WEYL, strict=True)]
    return np.stack([first, second, third, fourth], axis=1).astype(np.uint32, copy=False)


def _positive(name: str, extents: Shape) -> int:
    fan = sum(extents)
    if fan <= 0:
        raise LocalError(f"parameter {name!r}: fan {extents} leaves nothing to scale by")
    return fan
