"""Programs that start in wasmtime and go on in machine code: the state moves with them, the bits stay."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, tanh, trace
from synaptic_mesh.workers import native_runtime
from synaptic_mesh.workers.switching import SwitchingBackend, open_switching_backend
from synaptic_mesh.workers.wasm_runtime import WasmBackend

pytest.importorskip("llvmlite")


def recurrent() -> Graph:
    return trace(
        lambda h, x: {"h": tanh(h + x), "loss": (h * x).sum()},
        {"h": f32(37), "x": f32(37)},
        carried={"h": "h"},
        checked=["loss"],
    )


@pytest.mark.slow
def test_the_state_moves_with_the_program(tmp_path: Path) -> None:
    x = np.random.default_rng(5).standard_normal(37).astype(np.float32)
    expected = ReferenceBackend().compile(recurrent())
    with open_switching_backend(tmp_path) as backend, backend.compile(recurrent()) as program:
        assert backend.trust is Trust.EXACT
        for one in (expected, program):
            one.write("x", x)
            one.run()
        assert program.wait_for_native()
        before = program.read("loss")
        assert before.tobytes() == expected.read("loss").tobytes()
        for _ in range(3):
            expected.run()
        program.run()
        program.run_many(2)
        assert program.is_native
        for name in ("h", "x", "loss"):
            assert program.read(name).tobytes() == expected.read(name).tobytes()
        with pytest.raises(StepInvalid):
            program({"h": x, "x": x * np.float32(np.inf)})


def test_without_llvm_everything_stays_in_wasmtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_runtime, "llvm", None)
    with SwitchingBackend(WasmBackend()) as backend, backend.compile(recurrent()) as program:
        assert not program.wait_for_native()
        program.run()
        assert not program.is_native
        assert "pip install llvmlite" in backend.native_problem


@pytest.mark.slow
def test_a_closed_backend_compiles_no_more() -> None:
    backend = SwitchingBackend(WasmBackend())
    backend.close()
    with pytest.raises(LocalError, match="closed"):
        backend.compile(recurrent())


@pytest.mark.slow
def test_a_closed_program_refuses_calls() -> None:
    with SwitchingBackend(WasmBackend()) as backend:
        program = backend.compile(recurrent())
        program.close()
        with pytest.raises(LocalError, match="closed"):
            program.run()
