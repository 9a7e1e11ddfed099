from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.executors import order
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.node import backends
from synaptic_mesh.node.backends import is_installed, open_backend, open_foreign_backend
from synaptic_mesh.workers.confinement import is_supported
from synaptic_mesh.workers.isolated import IsolatedBackend, MoveRule
from synaptic_mesh.workers.switching import SwitchingProgram
from synaptic_mesh.workers.wasm_runtime import WasmBackend


@pytest.mark.parametrize("name", ["reference", "wasm"])
def test_a_backend_is_exact_once_it_has_passed_the_golden_vectors(name: str) -> None:
    assert open_backend(name).trust is Trust.EXACT


def test_a_reference_that_computes_other_bits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., object] = order.sum_interleaved
    monkeypatch.setattr(order, "sum_interleaved", lambda a: right(a[..., ::-1]))
    with pytest.raises(ResourceError, match="golden vectors differently"):
        open_backend("reference")


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(LocalError, match="'abacus'"):
        open_backend("abacus")


def test_auto_answers_at_once_and_ends_up_native_where_llvm_is_installed(tmp_path: Path) -> None:
    backend = open_backend("auto", tmp_path / "cache")
    assert backend.trust is Trust.EXACT
    program = backend.compile(trace(lambda x: x + x, {"x": f32(2)}))
    assert program({"x": np.ones(2, np.float32)})["output"].tolist() == [2, 2]
    if is_installed("native"):
        assert isinstance(program, SwitchingProgram)
        assert program.wait_for_native()
        program.run()
        assert program.is_native


def test_auto_is_wasm_where_llvm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda _: False)
    assert isinstance(open_backend("auto"), WasmBackend)


@pytest.mark.parametrize("name", ["native", "auto"])
def test_graphs_of_others_have_no_machine_code_in_this_process(name: str, tmp_path: Path) -> None:
    pytest.importorskip("llvmlite")
    if not is_supported():
        pytest.skip("worker processes need Linux")
    backend = open_foreign_backend(name, tmp_path, native_after_ms=1_500)
    assert isinstance(backend, IsolatedBackend)
    assert backend.trust is Trust.EXACT
    assert backend.rule == MoveRule(after_s=1.5)


@pytest.mark.parametrize("missing", ["is_installed", "is_isolation_supported"])
def test_where_worker_processes_cannot_be_had_auto_is_wasm(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(backends, missing, lambda *_: False)
    assert isinstance(open_foreign_backend("auto"), WasmBackend)
    with pytest.raises(LocalError, match=r"needs llvmlite .* and Linux"):
        open_foreign_backend("native")


def test_other_backends_are_the_same_for_graphs_of_others() -> None:
    assert isinstance(open_foreign_backend("wasm"), WasmBackend)
    assert isinstance(open_foreign_backend("reference"), ReferenceBackend)
    with pytest.raises(LocalError, match="'abacus'"):
        open_foreign_backend("abacus")
