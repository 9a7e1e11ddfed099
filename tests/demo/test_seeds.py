"""The main job for ten seeds, with real processes: minutes, so it runs with `make test-long`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 11))
def test_accuracy_and_promises(seed: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from synaptic_mesh.cli.main import main; main()", "demo", "--json"]
    command += ["--seed", str(seed), "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["test_accuracy"] >= 0.95
    assert result["wall_s"] < 60
    assert len(result["liars"]) == 1
