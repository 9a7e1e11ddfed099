"""Random words as integer arithmetic on a counter, written once for every backend (see `polynomials`).

Threefry-2x32 with 20 rounds: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). Additions,
rotations and exclusive ors of u32: the same stream everywhere, and any part of it can be computed alone.
"""

from synaptic_mesh.engine.polynomials import V, VectorOps

PARITY = 0x1BD11BDA
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
GROUPS = 5
"""Of four rounds; a key is injected after each."""


def threefry2x32(ops: VectorOps[V], key: tuple[int, int], first: V, second: V) -> tuple[V, V]:
    """Return both words of the counters (first, second) under a key of two words."""
    keys = (key[0], key[1], PARITY ^ key[0] ^ key[1])
    a = ops.int_add(first, ops.constant(keys[0]))
    b = ops.int_add(second, ops.constant(keys[1]))
    for group in range(GROUPS):
        for turn in range(4):
            a = ops.int_add(a, b)
            b = ops.bit_xor(_rotate(ops, b, ROTATIONS[4 * (group % 2) + turn]), a)
        a = ops.int_add(a, ops.constant(keys[(group + 1) % 3]))
        b = ops.int_add(b, ops.constant((keys[(group + 2) % 3] + group + 1) & 0xFFFFFFFF))
    return a, b


def _rotate(ops: VectorOps[V], a: V, count: int) -> V:
    return ops.bit_or(ops.shift_left(a, count), ops.shift_right_logical(a, 32 - count))
