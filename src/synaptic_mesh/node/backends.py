"""Exact engine backends by name, checked against the golden vectors before they are trusted."""

from pathlib import Path

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.reference import ReferenceBackend

BACKENDS = ("wasm", "reference")


def open_backend(name: str, cache: Path | None = None) -> Backend:
    """Return the backend `name`, qualified on this machine. `cache` keeps compiled programs between processes.

    Raises LocalError for an unknown name, ResourceError when its bits differ from the golden vectors here.
    """
    if name == "reference":
        return ReferenceBackend()
    if name == "wasm":
        from synaptic_mesh.workers.wasm_runtime import open_wasm_backend  # wasmtime takes its time to import

        return open_wasm_backend(cache)
    raise LocalError(f"backend {name!r} is not known; choose {' or '.join(BACKENDS)}")
