"""AArch64 objects under qemu-user: the golden vectors, random graphs, and the guard of the floating-point environment.
Runs where an emulator and a cross compiler are installed (Debian: qemu-user, gcc-aarch64-linux-gnu)."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from emulated_aarch64 import EmulatedBackend, missing
from random_graphs import differences

from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.trace import f32, trace

pytest.importorskip("llvmlite")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}"),
]
FLUSH_TO_ZERO = 1 << 24
ROUND_UPWARD = 1 << 22


@pytest.fixture
def backend(tmp_path: Path) -> EmulatedBackend:
    return EmulatedBackend(tmp_path)


@pytest.mark.slow
def test_golden_vectors(backend: EmulatedBackend) -> None:
    assert check_backend(backend) == []


@pytest.mark.slow
def test_random_graphs_have_the_bits_of_the_reference(backend: EmulatedBackend) -> None:
    found, _ = differences(range(40), 12, [backend])
    assert found == []


@pytest.mark.long
def test_many_random_graphs_have_the_bits_of_the_reference(backend: EmulatedBackend) -> None:
    found, _ = differences(range(1000, 1500), 20, [backend])
    assert found == []


@pytest.mark.parametrize("control", [FLUSH_TO_ZERO, ROUND_UPWARD])
def test_a_thread_with_another_environment_gets_the_right_bits(backend: EmulatedBackend, control: int) -> None:
    program = backend.compile(trace(lambda x: x * np.float32(0.7), {"x": f32(2)}))
    program.write("x", np.array([10, 0x3F800001], np.uint32).view(np.float32))
    program.control = control
    program.run()
    expected = (np.array([10, 0x3F800001], np.uint32).view(np.float32) * np.float32(0.7)).view(np.uint32)
    assert expected[0] == 7  # a subnormal, which flushing would lose
    assert program.read("output").view(np.uint32).tolist() == expected.tolist()


def test_the_object_holds_no_fused_operation(backend: EmulatedBackend) -> None:
    program = backend.compile(trace(lambda a, b: a @ b, {"a": f32(40, 30), "b": f32(30, 50)}))
    tool = "aarch64-linux-gnu-objdump"
    listing = subprocess.run([tool, "-d", program.path], capture_output=True, text=True, check=True).stdout
    code = listing.split("<run>:")[0]
    assert "fmul" in code
    assert "fmla" not in code
    assert "fmadd" not in code
