"""Layers that only change the shape of a row."""

import math

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.scope import Scope


class Flatten(msgspec.Struct, frozen=True, tag="flatten"):
    """(rows, a, b, ...) -> (rows, a * b * ...)."""

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Row-major order stays."""
        del scope
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(msgspec.Struct, frozen=True, tag="reshape"):
    """Rows of another shape; one extent may be -1."""

    shape: tuple[int, ...]

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when the elements of a row do not fit."""
        del scope
        size = math.prod(x.shape[1:])
        known = math.prod(extent for extent in self.shape if extent != -1)
        shape = tuple(size // max(known, 1) if extent == -1 else extent for extent in self.shape)
        if self.shape.count(-1) > 1 or min(shape, default=0) < 0 or math.prod(shape) != size:
            raise LocalError(
                f"Reshape{self.shape} does not fit rows of shape {x.shape[1:]}, which have {size} elements"
            )
        return x.reshape(x.shape[0], *shape)
