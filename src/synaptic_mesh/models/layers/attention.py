"""Attention over (rows, steps, features), and the block of a transformer."""

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.functions.movement import split
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.dropout import Dropout
from synaptic_mesh.models.layers.normalization import LayerNorm
from synaptic_mesh.models.scope import Scope


class MultiHeadAttention(msgspec.Struct, frozen=True, tag="attention"):
    """Every step looks at all steps of its row, or, if causal, at those up to itself. Vaswani et al. 2017.

    Parameters: "qkv/weight" (features, 3 features) with query, key and value beside each other, "out/weight"
    (features, features), and biases. Features are divided among the heads.
    """

    heads: int
    causal: bool = False

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError unless x is a sequence whose features the heads divide."""
        if len(x.shape) != 3 or self.heads < 1 or x.shape[2] % self.heads:
            raise LocalError(
                f"attention with {self.heads} heads needs x (rows, steps, features) that they divide, not {x.shape}"
            )
        rows, steps, features = x.shape
        size = features // self.heads
        joined = Dense(3 * features)(scope.child("qkv"), x)
        query, key, value = (
            part.reshape(rows, steps, self.heads, size).transpose(0, 2, 1, 3)
            for part in split(joined, [features] * 3, -1)
        )
        seen = attention(query, key, value, causal=self.causal)  # (rows, heads, steps, size)
        return Dense(features)(scope.child("out"), seen.transpose(0, 2, 1, 3).reshape(rows, steps, features))


class TransformerBlock(msgspec.Struct, frozen=True, tag="transformer_block"):
    """x + attention(norm(x)), then x + dense(dense(norm(x), hidden, activation)): the form with norms first.

    Xiong et al. 2020, arXiv:2002.04745. Dropout, if any, comes before each sum.
    """

    heads: int
    hidden: int
    activation: str = "gelu"
    causal: bool = False
    dropout: float = 0.0

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return a tensor of x's shape. Raises LocalError as MultiHeadAttention."""
        seen = LayerNorm()(scope.child("norm1"), x)
        seen = MultiHeadAttention(self.heads, self.causal)(scope.child("attention"), seen)
        x = x + Dropout(self.dropout)(scope.child("drop1"), seen)
        thought = LayerNorm()(scope.child("norm2"), x)
        thought = Dense(self.hidden, self.activation)(scope.child("up"), thought)
        thought = Dense(x.shape[-1])(scope.child("down"), thought)
        return x + Dropout(self.dropout)(scope.child("drop2"), thought)
