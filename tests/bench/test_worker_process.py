"""What a worker process costs: every contestant has its figure."""

from pathlib import Path

import pytest

from synaptic_mesh.bench.worker_process import WORKS, measure_start, measure_steps
from synaptic_mesh.workers.confinement import is_supported

pytest.importorskip("llvmlite")
pytestmark = [pytest.mark.process, pytest.mark.skipif(not is_supported(), reason="worker processes need Linux")]


def test_every_contestant_is_measured(tmp_path: Path) -> None:
    found = measure_steps(WORKS[0], tmp_path, 5)
    assert found.keys() == {"wasm", "wasm x8", "native", "native x8", "process", "process x8"}
    assert all(us > 0 for us in found.values())
    assert measure_start(WORKS[0], tmp_path) > 0
