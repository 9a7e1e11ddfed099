"""Attention against its formula in binary64."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.engine.functions.attention import attention

Q, K, V = drawn(2, 3, 5, 4, name="q"), drawn(2, 3, 6, 4, name="k"), drawn(2, 3, 6, 7, name="v")


def expected(scores):
    power = np.exp(scores - scores.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True) @ V.astype(np.float64)


SCORES = Q.astype(np.float64) @ K.astype(np.float64).mT


def test_plain_and_scaled():
    assert_close(evaluate(attention, Q, K, V), expected(SCORES / 2))
    assert_close(evaluate(lambda q, k, v: attention(q, k, v, scale=0.3), Q, K, V), expected(SCORES * 0.3))


def test_no_query_sees_a_later_key():
    hidden = np.where(np.tril(np.ones((5, 6))) == 1, SCORES / 2, -np.inf)
    assert_close(evaluate(lambda q, k, v: attention(q, k, v, causal=True), Q, K, V), expected(hidden))


@pytest.mark.parametrize("shape", [(5, 6), (6,), (2, 1, 5, 6)])
def test_masks_broadcast(shape):
    added = drawn(*shape, name="mask")
    found = evaluate(lambda q, k, v, m: attention(q, k, v, mask=m), Q, K, V, added)
    assert_close(found, expected(SCORES / 2 + added))
    allowed = (np.arange(np.prod(shape)).reshape(shape) % 3 != 0).astype(np.int32)
    found = evaluate(lambda q, k, v, m: attention(q, k, v, mask=m), Q, K, V, allowed)
    assert_close(found, expected(np.where(allowed == 0, -np.inf, SCORES / 2)))
