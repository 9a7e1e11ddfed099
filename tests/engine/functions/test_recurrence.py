"""Scans, LSTM and GRU against loops in numpy."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.recurrence import GruWeights, LstmWeights, gru, lstm, scan

X = drawn(5, 3, 4, name="x", limit=1.0)
H, C = drawn(3, 6, name="h", limit=1.0), drawn(3, 6, name="c", limit=1.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def running(x, axis, reverse):
    def step(states, slices):
        total = states["total"] + slices["x"]
        return {"total": total}, {"total": total, "square": total * total}

    start = x.builder.constant(0.0, x.shape[:axis] + x.shape[axis + 1 :])
    return scan(step, {"total": start}, {"x": x}, axis=axis, reverse=reverse)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_carries_states_and_stacks_outputs(axis, reverse):
    turn = (lambda a: np.flip(a, axis)) if reverse else (lambda a: a)
    sums = turn(np.cumsum(turn(X), axis))
    assert_close(evaluate(lambda x: running(x, axis, reverse).outputs["total"], X), sums)
    assert_close(evaluate(lambda x: running(x, axis, reverse).outputs["square"], X), sums**2)
    assert_close(evaluate(lambda x: running(x, axis, reverse).states["total"], X), X.sum(axis))


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm(reverse):
    w, u, b = drawn(4, 24, name="w", limit=1.0), drawn(6, 24, name="u", limit=1.0), drawn(24, name="b", limit=1.0)
    h, c, outputs = H.astype(np.float64), C.astype(np.float64), []
    for x in X[::-1] if reverse else X:
        i, f, g, o = np.split(x @ w + b + h @ u, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    expected = (np.array(outputs[::-1] if reverse else outputs), h, c)
    for at, values in enumerate(expected):
        found = evaluate(
            lambda x, h, c, w, u, b, at=at: lstm(x, h, c, LstmWeights(w, u, b), reverse=reverse)[at], X, H, C, w, u, b
        )
        assert_close(found, values)


@pytest.mark.parametrize("reverse", [False, True])
def test_gru(reverse):
    w, u = drawn(4, 18, name="w", limit=1.0), drawn(6, 18, name="u", limit=1.0)
    b, r = drawn(18, name="b", limit=1.0), drawn(18, name="r", limit=1.0)
    h, outputs = H.astype(np.float64), []
    for x in X[::-1] if reverse else X:
        ours, theirs = np.split(x @ w + b, 3, 1), np.split(h @ u + r, 3, 1)
        reset, update = sigmoid(ours[0] + theirs[0]), sigmoid(ours[1] + theirs[1])
        h = (1 - update) * np.tanh(ours[2] + reset * theirs[2]) + update * h
        outputs.append(h)
    expected = (np.array(outputs[::-1] if reverse else outputs), h)
    for at, values in enumerate(expected):
        found = evaluate(
            lambda x, h, w, u, b, r, at=at: gru(x, h, GruWeights(w, u, b, r), reverse=reverse)[at], X, H, w, u, b, r
        )
        assert_close(found, values)


def test_mistakes_are_named():
    def grow(states, slices):
        return {"s": states["s"] @ slices["x"].transpose()}, {}

    with pytest.raises(LocalError, match=r"scan states .* became"):
        evaluate(lambda x: scan(grow, {"s": x[0]}, {"x": x}).states["s"], X)
    with pytest.raises(LocalError, match="one length of at least 1"):
        evaluate(lambda x: running(x[:0], 0, False).states["total"], X)
    with pytest.raises(LocalError, match="one length"):
        evaluate(lambda x: scan(grow, {}, {"x": x, "y": x[1:]}).states["s"], X)
