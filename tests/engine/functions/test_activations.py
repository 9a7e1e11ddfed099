"""Activations and the softmax family against their formulas in binary64."""

import math

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.engine.functions import activations

X = np.concatenate([drawn(60, name="activations", limit=8.0), np.array([-100, -20, -0.0, 0.0, 20, 100], np.float32)])
D = X.astype(np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (activations.leaky_relu, np.where(D > 0, D, 0.01 * D)),
        (lambda x: activations.prelu(x, x.builder.constant(0.3)), np.where(D > 0, D, 0.3 * D)),
        (lambda x: activations.elu(x, 0.5), np.where(D > 0, D, 0.5 * np.expm1(np.minimum(D, 0)))),
        (lambda x: activations.celu(x, 2.0), np.where(D > 0, D, 2 * np.expm1(np.minimum(D, 0) / 2))),
        (activations.selu, 1.0507009873554805 * np.where(D > 0, D, 1.6732632423543772 * np.expm1(np.minimum(D, 0)))),
        (activations.softplus, softplus(D)),
        (activations.softsign, D / (1 + np.abs(D))),
        (activations.silu, D * sigmoid(D)),
        (activations.mish, D * np.tanh(softplus(D))),
        (activations.gelu, D / 2 * (1 + np.vectorize(math.erf)(D / np.sqrt(2)))),
        (activations.gelu_tanh, D / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (D + 0.044715 * D**3)))),
        (lambda x: activations.hard_sigmoid(x, 0.2, 0.4), np.clip(0.2 * D + 0.4, 0, 1)),
        (activations.hard_swish, D * np.clip(D / 6 + 0.5, 0, 1)),
        (activations.hard_tanh, np.clip(D, -1, 1)),
        (activations.relu6, np.clip(D, 0, 6)),
        (lambda x: activations.threshold_relu(x, 2.0), np.where(D > 2, D, 0)),
        (activations.glu, D[:33] * sigmoid(D[33:])),
    ],
)
def test_formulas(function, expected):
    assert_close(evaluate(function, X), expected)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_softmax_family(axis):
    x = drawn(3, 4, 5, name="softmax", limit=30.0)
    power = np.exp(x - x.max(axis, keepdims=True).astype(np.float64))
    share = power / power.sum(axis, keepdims=True)
    assert_close(evaluate(lambda x: activations.softmax_along(x, axis), x), share)
    assert_close(evaluate(lambda x: activations.log_softmax_along(x, axis), x), np.log(share))
    total = np.log(power.sum(axis)) + x.max(axis)
    assert_close(evaluate(lambda x: activations.logsumexp(x, axis), x), total)


def test_logsumexp_of_infinities():
    rows = np.array([[-np.inf, -np.inf], [np.inf, 0], [-np.inf, 3]], np.float32)
    assert evaluate(lambda x: activations.logsumexp(x, 1), rows).tolist() == [-np.inf, np.inf, 3]
