"""Scaled dot-product attention."""

import math

import numpy as np

from synaptic_mesh.engine.functions.activations import softmax_along
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, broadcast_to, matmul, where

FORBIDDEN = -math.inf


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query key^T * scale + mask) value. query (..., t, d), key (..., s, d), value (..., s, e) -> (..., t, e).

    scale: 1 / sqrt(d) unless said. mask: f32 is added, i32 forbids where it is 0; both broadcast to (..., t, s).
    causal: position i sees keys 0..i. A row that may see nothing is NaN. Vaswani et al. 2017, arXiv:1706.03762.
    """
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = matmul(query, key, transpose_right=True) * factor
    if causal:
        scores = _allow(scores, causal_mask(scores))
    if mask is not None:
        scores = scores + mask if mask.dtype is DType.F32 else _allow(scores, mask)
    return matmul(softmax_along(scores, -1), value)


def causal_mask(scores: Tensor) -> Tensor:
    """i32 (t, s): 1 where key j <= query i."""
    rows, columns = scores.shape[-2:]
    first = scores.builder.array(np.arange(rows, dtype=np.int32)).repeat(1, columns)
    second = scores.builder.array(np.arange(columns, dtype=np.int32)).repeat(0, rows)
    return where(second <= first, 1, scores.builder.constant(0, (rows, columns), DType.I32))


def _allow(scores: Tensor, mask: Tensor) -> Tensor:
    wide = broadcast_to(mask, scores.shape)
    return where(wide == 0, FORBIDDEN, scores)
