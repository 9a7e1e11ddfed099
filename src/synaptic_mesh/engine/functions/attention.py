"""Scaled dot-product attention."""

import math

import numpy as np

from synaptic_mesh.engine.functions.activations import softmax_along
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, broadcast_to, exp, matmul, stop_gradient, where


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
    if mask is not None and mask.dtype is DType.F32:
        scores = scores + mask
    forbidden = _forbidden(scores, causal, None if mask is None or mask.dtype is DType.F32 else mask)
    shares = softmax_along(scores, -1) if forbidden is None else softmax_of_allowed(scores, forbidden)
    return matmul(shares, value)


def softmax_of_allowed(scores: Tensor, forbidden: Tensor) -> Tensor:
    """softmax over the last axis with +0 where the bool tensor `forbidden` holds; a row without a choice is NaN.

    The exponential sees 0 there, not -infinity: its underflow would cost a processor a hundred times a multiplication.
    """
    extent = scores.shape[-1]
    greatest = stop_gradient(where(forbidden, -math.inf, scores).max(-1))
    shifted = where(forbidden, 0.0, scores - greatest.repeat(len(greatest.shape), extent))
    power = where(forbidden, 0.0, exp(shifted))
    return power / power.sum(-1).repeat(len(greatest.shape), extent)


def _forbidden(scores: Tensor, causal: bool, mask: Tensor | None) -> Tensor | None:
    """Return where a query may not see a key, as bool of the scores' shape, or None when it sees all."""
    if mask is not None:
        wide = broadcast_to(mask, scores.shape)
        if causal:
            wide = where(_counting(scores, -1) <= _counting(scores, -2), wide, 0)
        return wide == 0
    return _counting(scores, -1) > _counting(scores, -2) if causal else None


def _counting(scores: Tensor, axis: int) -> Tensor:
    """i32 of the scores' shape: the position on one of the last two axes. A view of one line, so it costs nothing."""
    line = scores.builder.array(np.arange(scores.shape[axis], dtype=np.int32))
    return broadcast_to(line.reshape(scores.shape[axis], 1) if axis == -2 else line, scores.shape)
