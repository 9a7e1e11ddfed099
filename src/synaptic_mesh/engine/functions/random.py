"""Random numbers from a counter: word i of step t of a stream is a function of (seed, purpose, t, i) alone.

The step is a u32 scalar that the training step carries (`next_step`), so nothing is stored but one number, any step
can be computed again, and every machine and language draws the same bits.
"""

import math

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.base.seeds import derive_int
from synaptic_mesh.engine.functions.elementwise import cos, threefry
from synaptic_mesh.engine.functions.movement import narrow
from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.trace import Builder, Tensor, log, sqrt, where

Key = tuple[int, int]
LINE = 4096
"""Longest axis whose positions are written out as a constant."""


def stream_key(seed: int | bytes, purpose: str) -> Key:
    """Return the key of a stream: two words of 64 bits derived from (seed, purpose), the low one first."""
    bits = derive_int(seed, "threefry", purpose)
    return bits & 0xFFFFFFFF, bits >> 32 & 0xFFFFFFFF


def next_step(step: Tensor) -> Tensor:
    """Return step + 1, wrapping at 2^32: carry it to the input that `step` is."""
    return step + 1


def random_words(key: Key, step: Tensor, shape: Shape) -> Tensor:
    """Return u32 words: element i (row-major) is the first word of the counter (i, step) under the key."""
    if step.dtype is not DType.U32 or step.shape != ():
        raise LocalError(f"a step is a u32 scalar, not {step.dtype.value} {step.shape}")
    return threefry(positions(step.builder, shape), step.broadcast_to(shape), key)


def random_uniform(key: Key, step: Tensor, shape: Shape) -> Tensor:
    """Return f32 in [0, 1): the top 24 bits of a word times 2^-24, exactly."""
    return _unit(random_words(key, step, shape))


def random_normal(key: Key, step: Tensor, shape: Shape) -> Tensor:
    """Return normal f32: sqrt(-2 log u) cos(2 pi v), u = (w + 1) 2^-24 and v = w' 2^-24 of words 2i and 2i + 1.

    Box and Muller 1958.
    """
    words = random_words(key, step, (2, *shape))
    first, second = (narrow(words, 0, i, 1).reshape(*shape) for i in (0, 1))
    radius = sqrt(log(_unit(first) + 2.0**-24) * -2.0)
    return radius * cos(_unit(second) * (2.0 * math.pi))


def dropout(x: Tensor, rate: float, key: Key, step: Tensor) -> Tensor:
    """x / (1 - rate) where the word is at least rate * 2^32, else +0. Srivastava et al. 2014.

    rate 0 gives x itself; raises LocalError unless 0 <= rate < 1.
    """
    if not 0.0 <= rate < 1.0:
        raise LocalError(f"a dropout rate is at least 0 and under 1, not {rate}")
    if rate == 0.0:
        return x
    words = random_words(key, step, x.shape)
    return where(words < round(rate * 2**32), 0.0, x * (1.0 / (1.0 - rate)))


def positions(builder: Builder, shape: Shape) -> Tensor:
    """Return the row-major position of each element as u32: a broadcast sum of one constant per axis."""
    total = builder.constant(0, shape, DType.U32)
    for axis, extent in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        line = (_counting(builder, extent) * stride).reshape(*(extent if i == axis else 1 for i in range(len(shape))))
        total = total + line
    return total


def _counting(builder: Builder, extent: int) -> Tensor:
    """Return 0, 1, .. as u32 (extent,); long ones as rows of LINE."""
    if extent <= LINE:
        return builder.array(np.arange(extent, dtype=np.uint32))
    rows = -(-extent // LINE)
    high = (_counting(builder, rows) * LINE).reshape(rows, 1)
    grid = high + builder.array(np.arange(LINE, dtype=np.uint32))
    return grid.reshape(rows * LINE)[:extent]


def _unit(words: Tensor) -> Tensor:
    """Return word >> 8 times 2^-24 as f32: both steps are exact."""
    return (words >> 8).bitcast(DType.I32).convert(DType.F32) * 2.0**-24
