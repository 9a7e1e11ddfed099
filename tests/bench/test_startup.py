"""Cold processes are timed as wholes."""

import pytest

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.bench import startup
from synaptic_mesh.bench.startup import measure_startup


@pytest.mark.process
def test_a_warm_cache_saves_time_and_an_import_is_part_of_a_prediction() -> None:
    found = measure_startup(1)
    assert 0 < found.import_ms < found.first_prediction_ms < found.first_ever_ms


@pytest.mark.process
def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "PREDICT", "raise SystemExit('no wasmtime')")
    with pytest.raises(ResourceError, match="no wasmtime"):
        measure_startup(1)


@pytest.mark.process
def test_bytecode_is_there_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys; from synaptic_mesh.base import errors; sys.exit(not os.path.exists(errors.__cached__))"
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(startup, "PREDICT", code)
    assert measure_startup(1).first_prediction_ms > 0
