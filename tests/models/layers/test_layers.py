"""Layers against formulas in float64, their shapes, and the one sentence for an x that does not fit."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Builder, spec_of
from synaptic_mesh.models.initial_values import fans
from synaptic_mesh.models.layers.activation import ACTIVATIONS, Activation
from synaptic_mesh.models.layers.attention import MultiHeadAttention, TransformerBlock
from synaptic_mesh.models.layers.convolution import Conv1d, Conv2d
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.dropout import Dropout
from synaptic_mesh.models.layers.embedding import Embedding, PositionEmbedding
from synaptic_mesh.models.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from synaptic_mesh.models.layers.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool, MeanOverSteps
from synaptic_mesh.models.layers.recurrent import GRU, LSTM
from synaptic_mesh.models.layers.sequential import Residual, Sequential, decode_network, encode_network
from synaptic_mesh.models.layers.shape import Flatten, Reshape
from synaptic_mesh.models.scope import Scope

GENERATOR = np.random.default_rng(9)


def run(layer, x, *, training=False, steps=1):
    """Return (y, parameters, state after) of a layer on x, in float64 but for the state."""
    builder = Builder()
    scope = Scope(builder, is_training=training, seed=4)
    y = layer(scope.child("a"), builder.input("x", spec_of(x)))
    record = scope.record
    carried = {name: name for name in record.after}
    graph = builder.finish({"y": y, **record.after}, carried=carried)
    program = ReferenceBackend().compile(graph)
    values = {name: p.initializer(1, name, p.shape) + 0.1 for name, p in record.parameters.items()}
    for name, value in {**values, **record.state, "x": x}.items():
        program.write(name, value.astype(x.dtype) if name in values else value)
    for _ in range(steps):
        program.run()
    short = {name.removeprefix("a/"): np.float32(value).astype(np.float64) for name, value in values.items()}
    return program.read("y").astype(np.float64), short, {name: program.read(name) for name in record.after}


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def squash(x):
    return 1 / (1 + np.exp(-x))


def test_dense_works_along_the_last_axis():
    x = normal(2, 3, 4)
    y, p, _ = run(Dense(5, "tanh"), x)
    np.testing.assert_allclose(y, np.tanh(x @ p["weight"] + p["bias"]), atol=1e-5)


def test_convolution():
    x = normal(2, 2, 5, 5)
    y, p, _ = run(Conv2d(3, 3, stride=2, padding="same"), x)
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.zeros((2, 3, 3, 3))
    for i in range(3):
        for j in range(3):
            window = wide[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, :, i, j] = np.tensordot(window, p["weight"], axes=([1, 2, 3], [1, 2, 3])) + p["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_lstm():
    x = normal(2, 3, 4)
    y, p, _ = run(LSTM(5, return_sequences=True), x)
    h, c = np.zeros((2, 5)), np.zeros((2, 5))
    for t in range(3):
        i, f, g, o = np.split(x[:, t] @ p["input"] + p["bias"] + h @ p["recurrent"], 4, axis=1)
        c = squash(f) * c + squash(i) * np.tanh(g)
        h = squash(o) * np.tanh(c)
        np.testing.assert_allclose(y[:, t], h, atol=1e-5)
    last, _, _ = run(LSTM(5), x)
    np.testing.assert_allclose(last, h, atol=1e-5)


def test_gru():
    x = normal(2, 3, 4)
    y, p, _ = run(GRU(5), x)
    h = np.zeros((2, 5))
    for t in range(3):
        r, z, n = np.split(x[:, t] @ p["input"] + p["bias"], 3, axis=1)
        hr, hz, hn = np.split(h @ p["recurrent"] + p["recurrent_bias"], 3, axis=1)
        z = squash(z + hz)
        h = (1 - z) * np.tanh(n + squash(r + hr) * hn) + z * h
    np.testing.assert_allclose(y, h, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal):
    x = normal(2, 4, 6)
    y, p, _ = run(MultiHeadAttention(2, causal), x)
    q, k, v = np.split(x @ p["qkv/weight"] + p["qkv/bias"], 3, axis=2)
    seen = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        scores = q[..., part] @ k[..., part].transpose(0, 2, 1) / np.sqrt(3)
        if causal:
            scores = np.where(np.tril(np.ones((4, 4))) == 1, scores, -np.inf)
        power = np.exp(scores)
        seen.append(power / power.sum(-1, keepdims=True) @ v[..., part])
    expected = np.concatenate(seen, axis=2) @ p["out/weight"] + p["out/bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_norms():
    x = normal(4, 6, 3)
    y, p, _ = run(LayerNorm(), x)
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["shift"]
    np.testing.assert_allclose(y, expected, atol=1e-4)
    y, p, state = run(BatchNorm(), x, training=True)
    mean, spread = x.mean((0, 2)), x.var((0, 2))
    expected = (x - mean[:, None]) / np.sqrt(spread[:, None] + 1e-5) * p["scale"][:, None] + p["shift"][:, None]
    np.testing.assert_allclose(y, expected, atol=1e-4)
    np.testing.assert_allclose(state["a/mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(state["a/variance"], 0.9 + 0.1 * x.var((0, 2), ddof=1), atol=1e-5)
    y, p, _ = run(BatchNorm(), x)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5) * p["scale"][:, None] + p["shift"][:, None], atol=1e-5)


def test_dropout_draws_anew_in_every_step_and_only_in_training():
    x = np.ones((50, 40), np.float32)
    assert (run(Dropout(0.25), x)[0] == 1).all()
    first, _, state = run(Dropout(0.25), x, training=True)
    second, _, _ = run(Dropout(0.25), x, training=True, steps=2)
    assert state["a/step"] == 1
    assert 0.2 < (first == 0).mean() < 0.3
    np.testing.assert_allclose(first[first != 0], 4 / 3, rtol=1e-6)
    assert (first != second).any()
    assert (first == run(Dropout(0.25), x, training=True)[0]).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_finite_and_differ(name):
    x = np.linspace(-6, 6, 25, dtype=np.float32)[None]
    y = run(Activation(name), x)[0]
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    assert name == "linear" or (y != x).any()


SHAPES = [
    (Conv1d(3, 3, dilation=2), (2, 4, 9), (2, 3, 5)),
    (Conv2d(4, (1, 3), groups=2, padding=1), (2, 2, 4, 5), (2, 4, 6, 5)),
    (MaxPool(2), (1, 3, 4, 6), (1, 3, 2, 3)),
    (AveragePool(3, 1, "same"), (1, 3, 5), (1, 3, 5)),
    (GlobalMaxPool(), (2, 3, 4, 4), (2, 3)),
    (GlobalAveragePool(), (2, 3, 4), (2, 3)),
    (MeanOverSteps(), (2, 3, 4), (2, 4)),
    (RMSNorm(), (2, 4), (2, 4)),
    (GroupNorm(2), (2, 4, 3), (2, 4, 3)),
    (PositionEmbedding(), (2, 3, 4), (2, 3, 4)),
    (TransformerBlock(2, 8), (2, 3, 4), (2, 3, 4)),
    (Flatten(), (2, 3, 4), (2, 12)),
    (Reshape((-1, 2)), (2, 3, 4), (2, 6, 2)),
    (Residual((Dense(4),)), (2, 4), (2, 4)),
    (Embedding(5, 3), (2, 4), (2, 4, 3)),
]


@pytest.mark.parametrize(("layer", "given", "expected"), SHAPES, ids=lambda value: type(value).__name__)
def test_shapes(layer, given, expected):
    x = np.zeros(given, np.float32) if isinstance(layer, Embedding) else normal(*given)
    assert run(layer, x)[0].shape == expected


def test_every_layer_is_in_files():
    network = Sequential([layer for layer, _, _ in SHAPES] + [LSTM(2), GRU(2), LayerNorm(), BatchNorm(), Dropout(0.1)])
    text = encode_network(network)
    assert text is not None
    assert decode_network(text) == network
    assert encode_network(lambda _, x: x) is None


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Dense(0), (2, 3), r"Dense\(0\) needs at least 1 unit"),
        (Conv2d(3), (2, 3), r"Conv2d needs x \(rows, channels, height, width\), not \(2, 3\)"),
        (Conv2d(3, groups=2), (2, 3, 4, 4), "2 groups do not divide 3 input and 3 output channels"),
        (Conv2d(3, padding="full"), (2, 3, 4, 4), "padding 'full' is not known"),
        (Conv2d(3, 7), (2, 3, 4, 4), "a kernel of .* does not fit"),
        (MaxPool(5), (2, 3, 4, 4), "windows of 5 .* do not fit 4 elements"),
        (LSTM(3), (2, 3), r"LSTM\(3\) needs at least 1 unit and x \(rows, steps, features\), not \(2, 3\)"),
        (MultiHeadAttention(3), (2, 4, 4), r"attention with 3 heads needs .* not \(2, 4, 4\)"),
        (Dropout(1.0), (2, 3), "rate is at least 0 and below 1"),
        (Residual((Dense(2),)), (2, 3), r"turn \(2, 3\) into \(2, 2\), which cannot be added"),
        (Sequential((Dense(4), Conv1d(2))), (2, 3), r"conv1d1: Conv1d needs x .*, not \(2, 4\)"),
        (Activation("sine"), (2, 3), "activation 'sine' is not known; choose one of linear, relu"),
        (Embedding(0, 3), (2, 3), r"Embedding\(0, 3\): tokens are 1 to"),
    ],
)
def test_what_does_not_fit_is_one_sentence(layer, shape, message):
    with pytest.raises(LocalError, match=message):
        run(layer, normal(*shape))


def test_shared_weights_and_names():
    builder = Builder()
    scope = Scope(builder)
    x = builder.input("x", spec_of(normal(2, 3)))
    first = Dense(3)(scope.child("one"), x)
    Dense(3)(scope.child("one"), first)
    assert list(scope.record.parameters) == ["one/weight", "one/bias"]
    with pytest.raises(LocalError, match=r"'one/weight' is asked for with shape \(3, 4\) and with \(3, 3\)"):
        Dense(4)(scope.child("one"), x)
    with pytest.raises(LocalError, match="must begin with a letter"):
        Dense(4)(scope.child("1 x"), x)


def test_fans():
    assert fans("w", (3, 5)) == (3, 5)
    assert fans("w", (8, 4, 3, 3)) == (36, 72)
    with pytest.raises(LocalError, match="leaves nothing to scale by"):
        fans("w", (0, 3))
