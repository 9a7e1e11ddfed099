"""Tables of vectors: for tokens, and for places in a sequence."""

import math

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, gather
from synaptic_mesh.models.initial_values import AnyInitializer, Normal
from synaptic_mesh.models.scope import Scope

TOKENS_MAX = 1 << 24
"""Token numbers travel as f32, which holds integers exactly up to here."""


class Embedding(msgspec.Struct, frozen=True, tag="embedding"):
    """Row `token` of "table" (tokens, width): (rows, ...) -> (rows, ..., width).

    Tokens may be f32 (fractions are cut off) or i32. One outside 0..tokens-1 makes the step invalid.
    """

    tokens: int
    width: int
    initializer: AnyInitializer = Normal(1.0)

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError for sizes that do not fit."""
        if not 1 <= self.tokens <= TOKENS_MAX or self.width < 1:
            raise LocalError(
                f"Embedding({self.tokens}, {self.width}): tokens are 1 to {TOKENS_MAX}, width is at least 1"
            )
        table = scope.parameter("table", (self.tokens, self.width), self.initializer)
        index = x.reshape(math.prod(x.shape)).convert(DType.I32)
        return gather(table, index).reshape(*x.shape, self.width)


class PositionEmbedding(msgspec.Struct, frozen=True, tag="position_embedding"):
    """x plus a trained vector for each place: "table" (steps, features), for (rows, steps, features)."""

    initializer: AnyInitializer = Normal(0.02)

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError unless x is a sequence."""
        if len(x.shape) != 3:
            raise LocalError(f"PositionEmbedding needs x (rows, steps, features), not {x.shape}")
        return x + scope.parameter("table", x.shape[1:], self.initializer)
