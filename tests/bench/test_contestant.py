"""Every rival that is installed does the work that ours does: checked on the small model and a small product."""

from importlib import import_module

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench import contestant
from synaptic_mesh.bench.cases import Case, Mode
from synaptic_mesh.bench.contestant import RIVALS, open_rivals
from synaptic_mesh.bench.engine_suite import DIFFERENCE_MAX, difference
from synaptic_mesh.bench.networks import Network, NetworkWork
from synaptic_mesh.bench.ours import Ours, bits_of
from synaptic_mesh.bench.workload import Kind, Workload
from synaptic_mesh.workers.wasm_runtime import WasmBackend

CASES = [
    Case(Workload(Kind.GEMM, (5, 7, 3)), Mode.CALL),
    Case(Workload(Kind.GEMM, (5, 7, 3)), Mode.IN_PLACE, 3),
    Case(Workload(Kind.FORWARD, (6, 8, 3), 4), Mode.CALL),
    Case(Workload(Kind.FORWARD, (6, 8, 3), 4), Mode.IN_PLACE, 3),
    Case(Workload(Kind.TRAIN, (6, 8, 3), 4), Mode.CALL),
    Case(Workload(Kind.TRAIN, (6, 8, 3), 4), Mode.IN_PLACE, 3),
    *(Case(NetworkWork(kind, network, 2), Mode.CALL) for network in Network for kind in (Kind.FORWARD, Kind.TRAIN)),
]


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "torch.compile"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rival_does_the_same_work(name: str, case: Case) -> None:
    try:
        rival = import_module(f"synaptic_mesh.bench.{RIVALS[name]}").Entry()
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")
    theirs = rival.prepare(case)
    if theirs is None:
        infers_only = name == "onnxruntime" and case.work.kind is not Kind.FORWARD
        assert infers_only or (name == "numpy" and isinstance(case.work, NetworkWork))
        return
    ours = Ours(WasmBackend()).prepare(case)
    for _ in range(3):
        ours.run()
        theirs.run()
        assert difference(ours.results(), theirs.results()) < DIFFERENCE_MAX / 10
    ours.close()


def test_training_in_place_is_as_many_steps_as_said() -> None:
    work = Workload(Kind.TRAIN, (6, 8, 3), 4)
    together, apart = (
        Ours(WasmBackend()).prepare(case) for case in (Case(work, Mode.IN_PLACE, 3), Case(work, Mode.CALL))
    )
    together.run()
    for _ in range(3):
        apart.run()
    assert bits_of(together.results()) == bits_of(apart.results())
    apart.run()
    assert bits_of(together.results()) != bits_of(apart.results())


def test_a_result_that_is_off_is_seen() -> None:
    ours = {"loss": np.array(2.0, np.float32), "w": np.array([1.0, -4.0], np.float32)}
    assert difference(ours, {"loss": ours["loss"], "w": np.array([1.0, -3.0], np.float32)}) == 0.25


def test_missing_rivals_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestant, "RIVALS", {"numpy": "rival_numpy", "other": "rival_other", "torch": "rival_torch"})
    left_out: dict[str, str] = {}
    assert [rival.name for rival in open_rivals(left_out, {"torch": "not wanted"})] == ["numpy"]
    assert set(left_out) == {"other", "torch"}
    assert "make bench-rivals" in left_out["other"]
    assert left_out["torch"] == "not wanted"
    with pytest.raises(LocalError, match="no rival"):
        open_rivals({}, {"torch": "", "numpy": ""})
