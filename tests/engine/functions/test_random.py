"""Random tensors: a function of key, step and position, with the distribution they promise."""

import numpy as np
import pytest
from evaluating import evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions import random
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Spec, trace

KEY = random.stream_key(0, "test")
STEP = np.array(5, np.uint32)


def test_positions_count_row_major():
    for shape in ((), (7,), (2, 3, 4), (3, 0), (5000,), (2, 9000)):
        found = evaluate(lambda step, shape=shape: random.positions(step.builder, shape), STEP)
        np.testing.assert_array_equal(found, np.arange(np.prod(shape), dtype=np.uint32).reshape(shape))


def test_words_depend_on_position_not_on_shape():
    line = evaluate(lambda step: random.random_words(KEY, step, (24,)), STEP)
    cube = evaluate(lambda step: random.random_words(KEY, step, (2, 3, 4)), STEP)
    np.testing.assert_array_equal(cube.ravel(), line)
    assert len(set(line.tolist())) == 24


def test_words_change_with_step_purpose_and_seed():
    keys = [KEY, random.stream_key(0, "other"), random.stream_key(1, "test")]
    found = {
        evaluate(lambda step, key=key: random.random_words(key, step, (4,)), np.array(t, np.uint32)).tobytes()
        for key in keys
        for t in (0, 1, 2**32 - 1)
    }
    assert len(found) == 9


def test_uniform_and_normal_numbers():
    uniform = evaluate(lambda step: random.random_uniform(KEY, step, (100, 200)), STEP).astype(np.float64)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(uniform.var() - 1 / 12) < 0.003
    normal = evaluate(lambda step: random.random_normal(KEY, step, (100, 200)), STEP).astype(np.float64)
    assert np.isfinite(normal).all()
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert 0.676 < (np.abs(normal) < 1).mean() < 0.690


def test_dropout_keeps_the_expectation_and_draws_anew_each_step():
    def build(x, step):
        y = random.dropout(x, 0.3, KEY, step)
        return {"y": y, "g": gradients(y.sum(), [x])[0], "step": random.next_step(step)}

    graph = trace(build, {"x": Spec((100, 100)), "step": Spec((), DType.U32)}, carried={"step": "step"})
    program = ReferenceBackend().compile(graph)
    program.write("x", np.ones((100, 100), np.float32))
    masks = []
    for _ in range(2):
        program.run()
        masks.append(program.read("y"))
        np.testing.assert_array_equal(program.read("g"), masks[-1])
    scale = np.float32(1 / 0.7)
    assert set(np.unique(masks[0]).tolist()) == {0.0, float(scale)}
    assert all(abs(mask.mean() - 1) < 0.02 for mask in masks)
    assert 0.55 < (masks[0] == masks[1]).mean() < 0.61  # 0.7^2 + 0.3^2
    assert program.read("step") == 2


def test_rates_and_steps_are_checked():
    x = np.ones(3, np.float32)
    assert evaluate(lambda x, step: random.dropout(x, 0.0, KEY, step), x, STEP).tolist() == [1, 1, 1]
    for rate in (-0.1, 1.0):
        with pytest.raises(LocalError, match="dropout rate"):
            evaluate(lambda x, step, rate=rate: random.dropout(x, rate, KEY, step), x, STEP)
    with pytest.raises(LocalError, match="u32 scalar"):
        evaluate(lambda x: random.random_words(KEY, x, (2,)), x)
