"""What every backend promises (`engine.backend`), run against each of them."""

from collections.abc import Iterator

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend, Program, StepInvalid, Trust
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, gather, i32, trace
from synaptic_mesh.workers.native_runtime import open_native_backend
from synaptic_mesh.workers.switching import open_switching_backend
from synaptic_mesh.workers.wasm_runtime import open_wasm_backend

ONE = np.ones(3, np.float32)


@pytest.fixture(scope="module", params=["reference", "wasm", "native", "switching"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param in ("native", "switching"):
        pytest.importorskip("llvmlite")
    if request.param == "switching":
        with open_switching_backend() as switching:
            yield switching
    else:
        openers = {"reference": ReferenceBackend, "wasm": open_wasm_backend, "native": open_native_backend}
        yield openers[request.param]()


def step() -> Graph:
    return trace(
        lambda w, x: {"w": w + x, "loss": (w * x).sum()},
        {"w": f32(3), "x": f32(3)},
        carried={"w": "w"},
        checked=["loss"],
    )


@pytest.fixture
def program(backend: Backend) -> Program:
    return backend.compile(step())


def test_golden_vectors(backend: Backend) -> None:
    assert backend.trust is Trust.EXACT
    assert check_backend(backend) == []


def test_a_call_writes_runs_and_reads(program: Program) -> None:
    found = program({"w": ONE, "x": ONE * 2})
    assert {name: array.tolist() for name, array in found.items()} == {"w": [3, 3, 3], "loss": 6}
    assert all(array.dtype == np.float32 for array in found.values())


def test_inputs_keep_their_values_and_carried_ones_move_on(program: Program) -> None:
    program.write("x", ONE)
    for _ in range(4):
        program.run()
    assert program.read("w").tolist() == [4, 4, 4]
    assert program.read("x").tolist() == [1, 1, 1]
    program.write("w", ONE * 0)
    assert program.read("w").tolist() == [0, 0, 0]


def test_what_is_written_is_copied_and_what_is_read_is_a_copy(program: Program) -> None:
    mine = ONE.copy()
    program.write("x", mine)
    mine[:] = 9
    program.read("x")[:] = 8
    program.run()
    assert program.read("w").tolist() == [1, 1, 1]


def test_arrays_in_another_memory_order_mean_the_same(backend: Backend) -> None:
    program = backend.compile(trace(lambda x: x + 0.0, {"x": f32(2, 3)}))
    turned = np.arange(6, dtype=np.float32).reshape(3, 2).T
    program.write("x", turned)
    program.run()
    assert program.read("output").tolist() == turned.tolist()


def test_nothing_is_known_before_the_first_run(program: Program) -> None:
    assert program.read("w").tolist() == [0, 0, 0]
    with pytest.raises(LocalError):
        program.read("loss")


@pytest.mark.parametrize(
    ("name", "array"), [("y", ONE), ("x", ONE[:2]), ("x", ONE.astype(np.float64)), ("x", ONE.reshape(3, 1))]
)
def test_wrong_writes_are_refused(program: Program, name: str, array: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(LocalError):
        program.write(name, array)


def test_invalid_steps_are_said_and_do_not_last(program: Program) -> None:
    with pytest.raises(StepInvalid):
        program({"w": ONE, "x": ONE * np.float32(np.nan)})
    assert program({"w": ONE, "x": ONE})["loss"] == 3


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_range_is_an_invalid_step(backend: Backend, index: int) -> None:
    program = backend.compile(trace(gather, {"table": f32(4, 2), "index": i32(1)}))
    with pytest.raises(StepInvalid):
        program({"table": np.ones((4, 2), np.float32), "index": np.array([index], np.int32)})


def test_unaffordable_graphs_are_refused(backend: Backend) -> None:
    with pytest.raises(LocalError):
        backend.compile(trace(lambda x: x + 1.0, {"x": f32(1 << 28)}))
