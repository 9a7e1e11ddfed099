"""Attention against its formula in binary64."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import spec_of, trace

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


def test_a_mask_and_causality_both_hold():
    mask = np.array([1, 1, 0, 1, 1, 1], np.int32)
    hidden = np.where((np.tril(np.ones((5, 6))) == 1) & (mask == 1), SCORES / 2, -np.inf)
    found = evaluate(lambda q, k, v, m: attention(q, k, v, mask=m, causal=True), Q, K, V, mask)
    assert_close(found, expected(hidden))


def test_forbidden_scores_do_not_matter_however_large():
    """A forbidden score of 1e30 above the others neither shows in the result nor makes a gradient NaN."""

    def build(q, k, v):
        y = attention(q, k, v, causal=True)
        return {"y": y, "g": gradients(y.sum(), [k])[0]}

    keys = K.copy()
    keys[..., -1, :] = 1e30
    inputs = {"q": Q, "k": keys, "v": V}
    graph = trace(build, {name: spec_of(array) for name, array in inputs.items()})
    found = ReferenceBackend().compile(graph)(inputs)
    np.testing.assert_array_equal(found["y"], evaluate(lambda q, k, v: attention(q, k, v, causal=True), Q, K, V))
    assert np.isfinite(found["g"]).all()
    assert (found["g"][..., -1, :] == 0).all()


def test_a_row_that_may_see_nothing_is_nan():
    mask = np.ones((5, 6), np.int32)
    mask[2] = 0
    found = evaluate(lambda q, k, v, m: attention(q, k, v, mask=m), Q, K, V, mask)
    assert np.isnan(found[:, :, 2]).all()
    assert np.isfinite(found[:, :, [0, 1, 3, 4]]).all()
