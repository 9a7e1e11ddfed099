"""Reshaping views: never a wrong element, never a copy where numpy needs none."""

import math
from random import Random

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.views import reshaped_strides


def random_view(random: Random) -> Array:
    """A transposed, sliced and broadcast view of counting numbers."""
    shape = tuple(random.choice((1, 2, 3, 4, 6)) for _ in range(random.randint(0, 4)))
    axes = list(range(len(shape)))
    random.shuffle(axes)
    view: Array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape).transpose(axes)
    if random.random() < 0.4:
        view = view[
            tuple(slice(random.choice((0, 1)) if e > 1 else 0, None, random.choice((1, 2))) for e in view.shape)
        ]
    return np.broadcast_to(view, (2, *view.shape)) if random.random() < 0.3 else view


def random_shape(random: Random, size: int) -> tuple[int, ...]:
    shape: list[int] = []
    while size > 1:
        shape.append(random.choice([d for d in range(1, size + 1) if size % d == 0]))
        size //= shape[-1]
    return tuple(shape)


def test_a_reshaped_view_shows_the_elements_that_a_copy_would() -> None:
    random = Random(5)
    views = copies = 0
    for _ in range(3000):
        view = random_view(random)
        shape = random_shape(random, view.size)
        strides = reshaped_strides(tuple(step // 4 for step in view.strides), view.shape, shape)
        expected = view.reshape(shape)
        if strides is None:
            copies += 1
            assert not np.shares_memory(expected, view), (view.shape, view.strides, shape)
        else:
            views += 1
            shown = np.lib.stride_tricks.as_strided(view, shape, tuple(4 * step for step in strides))
            assert np.array_equal(shown, expected), (view.shape, view.strides, shape)
    assert views > 1000
    assert copies > 200
