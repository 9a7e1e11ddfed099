"""The reference as a program: inputs, carrying, refusals, and no numpy warning from any value."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, i32, one_hot, trace


def counter():
    return trace(lambda n, step: {"n": n + step, "twice": n + n}, {"n": f32(2), "step": f32(2)}, carried={"n": "n"})


def test_carried_inputs_move_and_others_stay():
    program = ReferenceBackend().compile(counter())
    program.write("step", np.array([1, 10], np.float32))
    for _ in range(3):
        program.run()
    assert program.read("n").tolist() == [3, 30]
    assert program.read("twice").tolist() == [4, 40]  # from the old value
    assert program.read("step").tolist() == [1, 10]


def test_reads_and_writes_are_copies():
    program = ReferenceBackend().compile(counter())
    mine = np.ones(2, np.float32)
    program.write("n", mine)
    mine[:] = 7
    program.read("n")[:] = 9
    assert program.read("n").tolist() == [1, 1]


def test_a_call_writes_runs_and_reads():
    program = ReferenceBackend().compile(counter())
    found = program({"n": np.ones(2, np.float32), "step": np.ones(2, np.float32)})
    assert {name: array.tolist() for name, array in found.items()} == {"n": [2, 2], "twice": [2, 2]}


def test_an_output_that_is_an_input_does_not_alias_it():
    program = ReferenceBackend().compile(trace(lambda x: {"same": x, "flat": x.reshape(4)}, {"x": f32(2, 2)}))
    first = program({"x": np.ones((2, 2), np.float32)})
    program({"x": np.zeros((2, 2), np.float32)})
    assert first["same"].tolist() == [[1, 1], [1, 1]]
    assert first["flat"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("m", np.zeros(2, np.float32), "no input 'm'"),
        ("n", np.zeros(3, np.float32), r"not float32 \(3,\)"),
        ("n", np.zeros(2, np.float64), "not float64"),
        ("n", np.zeros(2, np.int32), "not int32"),
    ],
)
def test_wrong_inputs_are_named(name, array, sentence):
    with pytest.raises(LocalError, match=sentence):
        ReferenceBackend().compile(counter()).write(name, array)


def test_reading_before_running_is_refused():
    with pytest.raises(LocalError, match="run it first"):
        ReferenceBackend().compile(counter()).read("twice")


def test_strided_and_empty_inputs():
    program = ReferenceBackend().compile(trace(lambda x: x + 1.0, {"x": f32(2, 3)}))
    assert program({"x": np.arange(6, dtype=np.float32).reshape(3, 2).T})["output"].tolist() == [[1, 3, 5], [2, 4, 6]]
    empty = ReferenceBackend().compile(trace(lambda i: one_hot(i, 0), {"i": i32(0)}))
    assert empty({"i": np.zeros(0, np.int32)})["output"].shape == (0, 0)


def test_it_is_exact():
    assert (ReferenceBackend.name, ReferenceBackend.trust) == ("reference", Trust.EXACT)
