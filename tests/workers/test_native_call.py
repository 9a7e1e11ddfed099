"""A prepared call as a builtin: the bits and refusals of the ordinary way, whatever it is handed."""

import copy
import gc
import inspect
import pickle
import pydoc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.abi import NOT_FINITE
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.trace import f32, i32, trace
from synaptic_mesh.workers.call import Call

pytest.importorskip("llvmlite")

from synaptic_mesh.workers import native_call
from synaptic_mesh.workers.native_runtime import NativeBackend, NativeProgram, open_native_backend


@pytest.fixture(scope="module")
def backend() -> NativeBackend:
    return open_native_backend(on_demand=True)


@pytest.fixture
def program(backend: NativeBackend) -> Iterator[NativeProgram]:
    with backend.compile(mixed()) as program:
        yield program


def mixed() -> Graph:
    """Inputs of several ranks, lengths that are no multiple of a chunk, an axis without values, integers."""

    def build(matrix: Any, cube: Any, scalar: Any, row: Any, empty: Any, numbers: Any) -> dict[str, Any]:
        return {
            "total": matrix.sum() + cube.sum() + scalar + empty.sum(),
            "scaled": row * scalar,
            "doubled": numbers + numbers,
        }

    return trace(
        build,
        {
            "matrix": f32(5, 7),
            "cube": f32(2, 3, 11),
            "scalar": f32(),
            "row": f32(193),
            "empty": f32(0, 4),
            "numbers": i32(3),
        },
    )


def arrays(seed: int = 1) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    shapes = {"matrix": (5, 7), "cube": (2, 3, 11), "scalar": (), "row": (193,), "empty": (0, 4)}
    found: dict[str, Array] = {name: generator.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
    found["scalar"] = np.array(found["scalar"])
    return found | {"numbers": generator.integers(-9, 9, 3).astype(np.int32)}


def both(program: NativeProgram, monkeypatch: pytest.MonkeyPatch) -> tuple[Call, Call]:
    """The function with the builtin, and the one without."""
    names = list(program.graph.inputs)
    fast = program.function(names, list(program.graph.outputs))
    monkeypatch.setattr(native_call, "is_layout_known", lambda: False)
    return fast, program.function(names, list(program.graph.outputs))


def same(a: list[Array], b: list[Array]) -> bool:
    return [(x.tobytes(), x.shape, x.dtype) for x in a] == [(x.tobytes(), x.shape, x.dtype) for x in b]


def test_this_interpreter_is_known() -> None:
    assert native_call.is_layout_known() == (sys.implementation.name == "cpython")


def test_an_array_that_lies_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert native_call._is_as_said(array)
    for name in ("DATA", "RANK", "SHAPE", "DTYPE", "TYPE", "FLAGS"):
        with monkeypatch.context() as context:
            context.setattr(native_call, name, getattr(native_call, name) + 8 if name != "FLAGS" else 48)
            assert not native_call._is_as_said(array), name


def test_the_builtin_does_what_the_ordinary_way_does(program: NativeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, ordinary = both(program, monkeypatch)
    assert type(fast) is type(len)
    assert type(ordinary) is not type(len)
    for seed in range(20):
        given = arrays(seed)
        ordered = [given[name] for name in program.graph.inputs]
        assert same(fast(*ordered), ordinary(*ordered))


def test_the_ordinary_way_is_taken_once(program: NativeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = program._single_step()
    monkeypatch.setattr(program, "_single_step", lambda: lambda: steps.append(1) or step())
    names = list(program.graph.inputs)
    call = program.function(names, ["total"])
    for seed in range(3):
        given = arrays(seed)
        call(*[given[name] for name in names])
    assert steps == [1]
    assert program.read("numbers").tobytes() == arrays(2)["numbers"].tobytes()


def test_an_invalid_step_is_refused_and_leaves_nothing(backend: NativeBackend) -> None:
    graph = trace(lambda x: x * x, {"x": f32(3)}, checked=("output",))
    with backend.compile(graph) as program:
        call = program.function(["x"], ["output"])
        good, bad = np.ones(3, np.float32), np.full(3, np.float32(1e30))
        kept = [call(good), call(good)]
        before = sys.getrefcount(NOT_FINITE)
        for _ in range(300):
            with pytest.raises(StepInvalid, match="not finite"):
                call(bad)
        assert sys.getrefcount(NOT_FINITE) - before < 100
        assert call(good)[0].tolist() == [1, 1, 1]
        assert same(*kept)


def test_results_are_copies(program: NativeProgram) -> None:
    names = list(program.graph.inputs)
    call = program.function(names, ["scaled", "doubled"])
    ordered = [arrays(1)[name] for name in names]
    call(*ordered)
    first, second = call(*ordered), call(*ordered)
    assert same(first, second)
    first[0][:] = 0
    assert not same(first, second)
    assert all(array.flags.owndata and array.flags.writeable for array in (*first, *second))


def test_tools_may_look_at_a_builtin(program: NativeProgram) -> None:
    call: Any = program.function(list(program.graph.inputs), ["total"])
    assert inspect.getmodule(call) is native_call
    assert "Write arrays" in pydoc.render_doc(call)
    with pytest.raises(TypeError, match="takes no keyword arguments") as caught:
        call(matrix=1)
    assert len(str(caught.value)) < 200
    assert copy.deepcopy(call) is call
    with pytest.raises(LocalError, match="cannot be copied or stored"):
        pickle.dumps(call)
    with pytest.raises(ValueError, match="read-only"):
        call.__self__[0] = 0


def test_a_function_keeps_its_program_and_nothing_keeps_it(backend: NativeBackend) -> None:
    given = arrays()
    program = backend.compile(mixed())
    names = list(program.graph.inputs)
    call = program.function(names, ["total"])
    expected = call(*[given[name] for name in names])
    gone = weakref.ref(program)
    gc.disable()  # no cycle: the memory goes with the last name
    try:
        del program
        assert gone() is not None
        assert same(call(*[given[name] for name in names]), expected)
        del call
        assert gone() is None
    finally:
        gc.enable()


FORMS: dict[str, Callable[[Array], Array]] = {
    "turned": lambda a: np.array(a, order="F"),
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2] if a.ndim else a,
    "backwards": lambda a: a[::-1].copy()[::-1] if a.ndim else a,
    "not aligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "other order of bytes": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) if a.size else a,
    "a matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else a,
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_go_the_ordinary_way(program: NativeProgram, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    fast, ordinary = both(program, monkeypatch)
    given = arrays(3)
    ordered = [given[name] for name in program.graph.inputs]
    expected = ordinary(*ordered)
    fast(*[arrays(4)[name] for name in program.graph.inputs])
    changed = [FORMS[form](array) for array in ordered]
    if form == "other order of bytes":
        with pytest.raises(LocalError, match="is float32"):
            ordinary(*changed)
        with pytest.raises(LocalError, match="is float32"):
            fast(*changed)
    else:
        assert same(ordinary(*changed), expected)
        assert same(fast(*changed), expected)


def test_what_does_not_fit_is_refused_and_nothing_is_copied(
    program: NativeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, _ = both(program, monkeypatch)
    names = list(program.graph.inputs)
    first = arrays(5)
    fast(*[first[name] for name in names])
    bad: dict[str, list[Array]] = {
        "cube": [np.ones((2, 3, 12), np.float32), np.ones((2, 33), np.float32), np.ones((2, 3, 11))],
        "scalar": [np.ones(1, np.float32)],
        "empty": [np.ones((4, 0), np.float32), np.ones((1, 4), np.float32)],
        "numbers": [np.ones(3, np.float32), np.ones(3, np.int64)],
    }
    for name, wrong in bad.items():
        for array in wrong:
            second = arrays(6) | {name: array}
            with pytest.raises(LocalError, match=f"input '{name}' is"):
                fast(*[second[each] for each in names])
            assert all(program.read(each).tobytes() == first[each].tobytes() for each in names)
    with pytest.raises(TypeError, match="positional argument"):
        fast(*[first[name] for name in names], first["row"])
    with pytest.raises(AttributeError):
        fast(*[first[name].tolist() for name in names])


def test_nothing_is_kept_of_a_call(program: NativeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, _ = both(program, monkeypatch)
    ordered = [arrays(7)[name] for name in program.graph.inputs]
    turned = [np.array(array, order="F") for array in ordered]
    fast(*ordered)
    fast(*turned)
    gc.collect()
    counts = [sys.getrefcount(array) for array in (*ordered, *turned)]
    none = sys.getrefcount(None)
    for _ in range(1_000):
        fast(*ordered)
        fast(*turned)
    assert [sys.getrefcount(array) for array in (*ordered, *turned)] == counts
    assert abs(sys.getrefcount(None) - none) < 100


@pytest.mark.parametrize("has_run", [0, 1, 2])
def test_a_closed_program_refuses(backend: NativeBackend, has_run: int) -> None:
    program = backend.compile(mixed())
    names = list(program.graph.inputs)
    call = program.function(names, ["total"])
    given = [arrays()[name] for name in names]
    for _ in range(has_run):
        call(*given)
    program.close()
    with pytest.raises(LocalError, match="closed"):
        call(*given)
