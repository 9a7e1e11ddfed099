"""Compiled programs are kept where the user's other caches are, and a directory that cannot be used stops nothing."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.cli.cache import FOLDER, cache_directory, open_cached_backend
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers.wasm_runtime import WasmBackend


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, f"/c/{FOLDER}"),
        ({"HOME": "/h"}, f"/h/.cache/{FOLDER}"),
        ({"XDG_CACHE_HOME": "c", "HOME": "/h"}, f"/h/.cache/{FOLDER}"),  # relative paths are to be ignored
        ({"XDG_CACHE_HOME": ""}, None),
        ({}, None),
    ],
)
def test_the_folder_follows_the_specification(environment: dict[str, str], expected: str | None) -> None:
    assert cache_directory(environment) == (None if expected is None else Path(expected))


def test_a_second_process_would_find_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = trace(lambda x: x + x, {"x": f32(2)})
    open_cached_backend("wasm").compile(graph)
    kept = set((tmp_path / FOLDER).iterdir())
    assert kept
    again = open_cached_backend("wasm")
    again.compile(graph)
    assert set((tmp_path / FOLDER).iterdir()) == kept
    assert isinstance(again, WasmBackend)
    assert again.cache is not None
    assert again.cache.hits >= 2  # the program, and what qualified it


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    program = open_cached_backend("wasm").compile(trace(lambda x: x + x, {"x": f32(2)}))
    assert program({"x": np.ones(2, np.float32)})["output"].tolist() == [2, 2]
