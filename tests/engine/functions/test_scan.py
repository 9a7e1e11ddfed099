"""Scans as one operation: the same bits as the steps written out, and what a step may use."""

import numpy as np
import pytest
from evaluating import drawn, evaluate

from synaptic_mesh.base.arrays import canonical_bytes
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import concat
from synaptic_mesh.engine.functions.scan import LOOP_STEPS_MIN, scan
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, spec_of, tanh, trace, where

X = drawn(9, 2, 3, name="scan/x", limit=1.0)
W = drawn(3, 3, name="scan/w", limit=1.0)


def network(x, w, axis, reverse, unroll):
    def step(states, slices):
        mixed = tanh(states["h"] @ w) + slices["x"]
        least = where(mixed.sum() < states["least"], mixed.sum(), states["least"])
        return {"h": mixed, "least": least}, {"h": mixed, "before": states["h"] * 0.5}

    start = {"h": w[:2], "least": x.builder.constant(0.0)}
    return scan(step, start, {"x": x}, axis=axis, reverse=reverse, unroll=unroll)


def results(axis, reverse, unroll):
    x = np.ascontiguousarray(np.moveaxis(X, 0, axis))
    graph = trace(
        lambda x, w: {
            f"{kind}/{name}": tensor
            for kind, group in network(x, w, axis, reverse, unroll)._asdict().items()
            for name, tensor in group.items()
        },
        {"x": spec_of(x), "w": spec_of(W)},
    )
    assert any(node.op is Op.SCAN for node in graph.nodes) is not unroll
    return ReferenceBackend().compile(graph)({"x": x, "w": W})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_one_operation_has_the_bits_of_the_steps_written_out(axis, reverse):
    looped, written = (results(axis, reverse, unroll) for unroll in (False, True))
    assert looped.keys() == written.keys()
    for name, array in looped.items():
        assert array.shape == written[name].shape
        assert canonical_bytes(array) == canonical_bytes(written[name]), name


@pytest.mark.parametrize("length", [LOOP_STEPS_MIN - 1, LOOP_STEPS_MIN])
def test_short_scans_are_written_out(length):
    graph = trace(
        lambda x: scan(lambda s, i: ({"s": s["s"] + i["x"]}, {}), {"s": x[0]}, {"x": x}).states["s"],
        {"x": f32(length, 3)},
    )
    assert any(node.op is Op.SCAN for node in graph.nodes) is (length >= LOOP_STEPS_MIN)


def test_results_of_several_dtypes_are_written_out():
    def step(states, slices):
        count = states["count"] + 1
        return {"count": count}, {"x": slices["x"] * count.convert(DType.F32)}

    def both(x):
        done = scan(step, {"count": x.builder.constant(0, (), DType.I32)}, {"x": x}, unroll=False)
        return done.outputs["x"]

    np.testing.assert_array_equal(evaluate(both, X[:, 0, 0]), X[:, 0, 0] * np.arange(1, 10, dtype=np.float32))


def test_what_does_not_depend_on_the_step_stands_outside():
    def build(x, w):
        def step(states, slices):
            return {"h": states["h"] @ (w * 2.0 + 1.0)}, {"y": slices["x"]}

        return scan(step, {"h": w[:2]}, {"x": x}, unroll=False).states["h"]

    graph = trace(build, {"x": spec_of(X), "w": spec_of(W)})
    assert {Op.MUL, Op.ADD} <= {node.op for node in graph.nodes}


def test_a_loop_inside_a_loop_may_use_both():
    def build(x, w):
        def outer(states, slices):
            def inner(before, rows):  # a tensor of the step around it, and one of the graph around both
                return {"s": before["s"] * rows["r"] + states["s"] + w[0, 0]}, {}

            start = x.builder.constant(1.0, (3,))
            return {"s": scan(inner, {"s": start}, {"r": slices["x"]}, unroll=False).states["s"]}, {}

        return scan(outer, {"s": w[0]}, {"x": x}, unroll=False).states["s"]

    state = W[0]
    for block in X:
        inside = np.ones(3, np.float32)
        for row in block:
            inside = inside * row + state + W[0, 0]
        state = inside
    np.testing.assert_array_equal(evaluate(build, X, W), state)


def test_a_tensor_of_a_step_cannot_leave_it():
    seen = []

    def step(states, slices):
        seen.append(slices["x"] * 2.0)
        return {"s": states["s"] + seen[0]}, {}

    def leak(x):
        scan(step, {"s": x[0]}, {"x": x}, unroll=False)
        return seen[0] + 1.0

    with pytest.raises(LocalError, match="uses a tensor of a scan's step after the step"):
        evaluate(leak, X)


def test_a_step_that_fails_leaves_the_trace_usable():
    def build(x):
        with pytest.raises(ZeroDivisionError):
            scan(lambda *_: 1 / 0, {"s": x[0]}, {"x": x}, unroll=False)
        return concat([x, x])

    assert evaluate(build, X).shape == (18, 2, 3)
