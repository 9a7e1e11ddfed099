"""What `tensor[...]` means: integers, slices, `...` and None, as in numpy."""

from types import EllipsisType

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Shape

Key = int | slice | EllipsisType | None
"""What stands between the brackets of `tensor[...]`, once for each axis."""


def read_key(shape: Shape, key: tuple[Key, ...]) -> tuple[Shape, Shape, Shape, Shape]:
    """Return starts, steps and extents of a SLICE, and the shape after integers and None."""
    named = sum(part is not None and part is not ... for part in key)
    if named > len(shape) or sum(part is ... for part in key) > 1:
        raise LocalError(f"index {key} does not fit shape {shape}")
    filled = key if ... in key else (*key, ...)
    at = filled.index(...)
    wide: tuple[Key, ...] = (*filled[:at], *[slice(None)] * (len(shape) - named), *filled[at + 1 :])
    starts: list[int] = []
    steps: list[int] = []
    taken: list[int] = []
    shown: list[int] = []
    for part in wide:
        if part is None:
            shown.append(1)
            continue
        extent = shape[len(starts)]
        start, step, count = _read_part(part, extent)
        starts.append(start if count else 0)
        steps.append(step)
        taken.append(count)
        if isinstance(part, slice):
            shown.append(count)
    return tuple(starts), tuple(steps), tuple(taken), tuple(shown)


def _read_part(part: object, extent: int) -> tuple[int, int, int]:
    """Return (start, step, count) of an integer or a slice."""
    if isinstance(part, slice):
        if part.step == 0:
            raise LocalError("a slice cannot have step 0")
        span = range(*part.indices(extent))
        return span.start, span.step, len(span)
    if not isinstance(part, int) or not -extent <= part < extent:
        raise LocalError(f"index {part} is outside an axis of extent {extent}")
    return part % extent, 1, 1
