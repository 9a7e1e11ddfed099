"""Gradients through SCAN: those of the steps written out, bit for bit where the semantics page says so."""

import numpy as np
import pytest
from evaluating import drawn

from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions import scan as module
from synaptic_mesh.engine.functions.activations import silu
from synaptic_mesh.engine.functions.recurrence import GruWeights, LstmWeights, gru, lstm
from synaptic_mesh.engine.functions.scan import scan
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.scan_body import all_nodes
from synaptic_mesh.engine.trace import gather, maximum, one_hot, sigmoid, spec_of, stop_gradient, tanh, trace

STEPS, ROWS, UNITS = 11, 3, 4


def draw(*shape, name):
    return drawn(*shape, name=f"differentiate_scan/{name}", limit=0.7)


def found(loss, inputs, unroll, monkeypatch):
    """The loss and its gradient by each input, with scans as one operation or written out."""
    monkeypatch.setattr(module, "LOOP_STEPS_MIN", 1000 if unroll else 1)

    def build(**tensors):
        value = loss(**tensors)
        found = gradients(value, list(tensors.values()))
        return {"loss": value, **dict(zip((f"d_{name}" for name in tensors), found, strict=True))}

    graph = trace(build, {name: spec_of(array) for name, array in inputs.items()})
    assert any(node.op is Op.SCAN for node in graph.nodes) is not unroll
    return ReferenceBackend().compile(graph)(inputs)


def lstm_last(x, h, c, w, u, b):
    outputs, last, _ = lstm(x, h, c, LstmWeights(w, u, b))
    return (last * last).sum() + (outputs[2] * 0.25).sum()


def gru_outputs(x, h, w, u, b, r):
    outputs, _ = gru(x, h, GruWeights(w, u, b, r))
    return (outputs * outputs).sum()


def gru_reversed(x, h, w, u, b, r):
    outputs, last = gru(x, h, GruWeights(w, u, b, r), reverse=True)
    return (outputs * outputs).sum() + last.sum()


def mixed(x, h, u, b, r):
    """Fixed tensors used in several ways, a view of the state, a maximum, nothing of one input."""

    def step(states, slices):
        turned = states["h"].reshape(UNITS, ROWS).transpose().reshape(ROWS, UNITS)
        after = tanh(turned @ u[:, :UNITS] + slices["x"] * b[:UNITS]) + maximum(states["h"], h) * 0.25
        return {"h": after}, {"y": silu(after) @ u[:, :UNITS], "z": stop_gradient(after) * r[:UNITS]}

    done = scan(step, {"h": h}, {"x": x})
    return (done.outputs["y"] * done.outputs["y"]).sum() + done.outputs["z"].sum() + done.states["h"].sum()


GRU_INPUTS = {
    "x": draw(STEPS, ROWS, UNITS, name="x"),
    "h": draw(ROWS, UNITS, name="h"),
    "w": draw(UNITS, 3 * UNITS, name="gw"),
    "u": draw(UNITS, 3 * UNITS, name="gu"),
    "b": draw(3 * UNITS, name="gb"),
    "r": draw(3 * UNITS, name="gr"),
}
LSTM_INPUTS = {
    "x": draw(STEPS, ROWS, 5, name="lx"),
    "h": draw(ROWS, UNITS, name="lh"),
    "c": draw(ROWS, UNITS, name="lc"),
    "w": draw(5, 4 * UNITS, name="lw"),
    "u": draw(UNITS, 4 * UNITS, name="lu"),
    "b": draw(4 * UNITS, name="lb"),
}


@pytest.mark.parametrize(
    ("loss", "inputs", "otherwise_added"),
    [
        (lstm_last, LSTM_INPUTS, set()),
        (gru_outputs, GRU_INPUTS, {"d_r"}),  # rule 4
        (
            gru_reversed,
            GRU_INPUTS,
            {"d_r", "d_u", "d_w", "d_b", "d_x"},
        ),  # rules 3 and 4, and two uses of the last state
        (
            mixed,
            {name: array for name, array in GRU_INPUTS.items() if name != "w"},
            {"d_b", "d_u", "d_h", "d_x", "d_r"},
        ),
    ],
)
def test_gradients_are_those_of_the_steps_written_out(loss, inputs, otherwise_added, monkeypatch):
    looped, written = (found(loss, inputs, unroll, monkeypatch) for unroll in (False, True))
    for name, array in looped.items():
        np.testing.assert_allclose(array, written[name], rtol=1e-5, atol=1e-6, err_msg=name)
        if name not in otherwise_added:
            np.testing.assert_array_equal(array, written[name], err_msg=name)  # a zero may have another sign


def test_a_differentiated_step_runs_once():
    """The forward SCAN keeps what the way back needs: no second one, and no exponential or product twice."""

    def build(x, h, c, w, u, b):
        value = lstm_last(x, h, c, w, u, b)
        return {"loss": value, "d_u": gradients(value, [u])[0]}

    graph = trace(build, {name: spec_of(array) for name, array in LSTM_INPUTS.items()})
    operations = [node.op for node in all_nodes(graph)]
    assert operations.count(Op.SCAN) == 2
    assert operations.count(Op.TANH) == 2
    assert operations.count(Op.SIGMOID) == 3


def test_indices_have_no_gradient_and_integers_are_computed_again(monkeypatch):
    table, at = draw(6, UNITS, name="table"), np.array([0, 5, 2, 2, 1, 4, 3, 0, 5], np.int32)

    def loss(table, at):
        def step(states, slices):
            chosen = states["s"].argmax(0)
            mask = one_hot(chosen.reshape(1), UNITS).reshape(UNITS)
            return {"s": states["s"] * 0.5 + gather(table, slices["at"].reshape(1)).reshape(UNITS) * (mask + 1.0)}, {}

        return scan(step, {"s": table[0]}, {"at": at}).states["s"].sum()

    def grads(unroll):
        monkeypatch.setattr(module, "LOOP_STEPS_MIN", 1000 if unroll else 1)
        graph = trace(
            lambda table, at: gradients(loss(table, at), [table])[0], {"table": spec_of(table), "at": spec_of(at)}
        )
        return ReferenceBackend().compile(graph)({"table": table, "at": at})["output"]

    np.testing.assert_allclose(grads(False), grads(True), rtol=1e-6)


def test_gradients_of_gradients_and_of_loops_in_loops(monkeypatch):
    x, w = draw(5, 4, 2, name="nested/x"), draw(2, 2, name="nested/w")

    def loss(x, w):
        def outer(states, slices):
            def inner(before, rows):
                return {"s": sigmoid(before["s"] @ w + rows["r"].reshape(1, 2))}, {}

            return {"s": scan(inner, {"s": states["s"]}, {"r": slices["x"]}).states["s"]}, {}

        value = scan(outer, {"s": w[:1]}, {"x": x}).states["s"].sum()
        (dw,) = gradients(value, [w])
        return value + (dw * dw).sum()

    looped, written = (found(loss, {"x": x, "w": w}, unroll, monkeypatch) for unroll in (False, True))
    for name, array in looped.items():
        np.testing.assert_allclose(array, written[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_what_the_loss_does_not_need_gets_zeros(monkeypatch):
    def loss(x, h, w, u, b, r):
        done = scan(lambda s, i: ({"h": s["h"] * 0.5, "t": i["x"]}, {}), {"h": h, "t": h}, {"x": x})
        return done.states["h"].sum() + b.sum() * 0.0 + (u * w).sum() * 0.0 + r.sum() * 0.0

    grads = found(loss, GRU_INPUTS, False, monkeypatch)
    assert not grads["d_x"].any()
    np.testing.assert_allclose(grads["d_h"], np.full((ROWS, UNITS), 0.5**STEPS, np.float32))
