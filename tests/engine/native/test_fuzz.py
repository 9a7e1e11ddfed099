"""The emitter against the definition: random graphs, every bit, at every vector width that this machine has."""

import subprocess
import sys
from pathlib import Path

import pytest
from random_graphs import differences, operations_of

from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.native import compiler
from synaptic_mesh.workers.native_runtime import NativeBackend, host_profiles

pytest.importorskip("llvmlite")


def backends() -> list[Backend]:
    return [NativeBackend(profile=profile) for profile in host_profiles()]


@pytest.fixture
def everything_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM's passes run over all text, not only over that of small steps."""
    monkeypatch.setattr(compiler, "_is_joined", lambda *_: True)


@pytest.mark.slow
def test_random_graphs_have_the_bits_of_the_reference() -> None:
    wrong, seen = differences(range(9000, 9090), 16, backends())
    assert not wrong, "\n".join(wrong[:10])
    assert [name for name in operations_of(backends()) if not seen[name]] == []
    assert seen["valid"] >= 30
    assert seen["invalid"] >= 5


@pytest.mark.slow
@pytest.mark.usefixtures("everything_is_joined")
def test_passes_over_random_graphs_change_no_bit() -> None:
    wrong, seen = differences(range(9000, 9030), 12, backends())
    assert not wrong, "\n".join(wrong[:10])
    assert seen["valid"] >= 15


@pytest.mark.long
@pytest.mark.usefixtures("everything_is_joined")
def test_passes_over_many_random_graphs_change_no_bit() -> None:
    wrong, _ = differences(range(60_000, 60_600), 16, backends())
    assert not wrong, "\n".join(wrong[:10])


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="protects pages as Linux does")
def test_nothing_behind_the_arena_is_touched() -> None:
    script = Path(__file__).with_name("guarded_arenas.py")
    done = subprocess.run([sys.executable, str(script), "20000", "20030"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_many_random_graphs_have_the_bits_of_the_reference() -> None:
    wrong, _ = differences(range(10_000, 12_500), 22, backends())
    assert not wrong, "\n".join(wrong[:10])
