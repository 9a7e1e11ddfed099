"""Inputs of the golden cases: every pair of awkward values, and drawn ones.

Awkward are both zeros, subnormals, infinities, NaN, integer limits, and the values at which a polynomial changes its
method.
"""

import math

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import Shape

Inputs = dict[str, Array]
AWKWARD_BITS = (
    *(0x00000000, 0x00000001, 0x00000123, 0x007FFFFF, 0x00800000, 0x00800001, 0x33800000, 0x3F7FFFFF, 0x3F800000),
    *(0x3F800001, 0x3FC00000, 0x40200000, 0x4B000001, 0x4EFFFFFF, 0x4F000000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000),
    *(0x42B17218, 0x42CFF1B5, 0x3F200000, 0x3FB504F3, 0x41100000, 0x3DCCCCCD),
)
INTEGERS = (0, 1, 2, 3, 1000, 46341, 65536, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE)


def floats(name: str, shape: Shape) -> Array:
    """Uniform in [-3, 3), of a stream with this name."""
    return uniform(0, f"golden/{name}", shape, 3.0)


def awkward_values() -> Array:
    """Each awkward value with both signs; NaN is canonical."""
    bits = np.array(AWKWARD_BITS, np.uint32)
    signed = np.concatenate([bits, bits | np.uint32(0x80000000)]).view(np.float32)
    values: Array = np.where(np.isnan(signed), np.float32("nan"), signed)
    return values


def awkward(name: str, shape: Shape) -> Array:
    """Values drawn from the awkward ones."""
    values = awkward_values()
    chosen = random_u32(0, f"golden/{name}", math.prod(shape)) % np.uint32(values.size)
    drawn: Array = values[chosen].reshape(shape)
    return drawn


def pairs() -> Inputs:
    """Every pair of awkward values, random bit patterns of all exponents, then the ranges where polynomials work."""
    values = awkward_values()
    bits = random_u32(0, "golden/bits", 2 * 1003).view(np.float32)
    bits = np.where(np.isnan(bits), np.float32(1.5), bits)
    limits = (12.0, 1.0, 90.0)
    near = np.concatenate([uniform(0, f"golden/near/{limit}", (2 * 1000,), limit) for limit in limits])
    first = np.concatenate([np.repeat(values, values.size), bits[:1003], near[: near.size // 2]])
    second = np.concatenate([np.tile(values, values.size), bits[1003:], near[near.size // 2 :]])
    return {"a": first, "b": second}


def integer_pairs() -> Inputs:
    """Every pair of integers near a limit: a and b as i32, c and d as u32."""
    values = np.array(INTEGERS, np.uint32)
    first, second = np.repeat(values, values.size), np.tile(values, values.size)
    return {"a": first.view(np.int32), "b": second.view(np.int32), "c": first, "d": second}
