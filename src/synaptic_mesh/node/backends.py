"""Exact engine backends by name, checked against the golden vectors before they are trusted."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.workers.confinement import is_supported as is_isolation_supported

NATIVE = "native"
BACKENDS = ("wasm", NATIVE, "reference")
AUTO = "auto"
EXTRAS = {NATIVE: "llvmlite"}
"""Backends that need a package which is installed on demand."""


def is_installed(name: str) -> bool:
    """True unless the backend needs a package that is not there."""
    return name not in EXTRAS or find_spec(EXTRAS[name]) is not None


def open_backend(name: str, cache: Path | None = None, *, on_demand: bool = True, threads: int = 1) -> Backend:
    """Return the backend `name`, qualified on this machine; "auto" is wasm at once and native as soon as it is ready,
    where llvmlite is installed. `cache` keeps compiled programs between processes. `on_demand`: the golden vectors of
    an operation run before the first graph that holds it is compiled, and not all at once here. `threads`: how many
    may work on one large product; no bit depends on it.

    Raises LocalError for an unknown name, and for "native" where llvmlite is not installed; ResourceError when its
    bits differ from the golden vectors here.
    """
    if name == "reference":
        return qualified_reference()
    if name == "wasm":
        from synaptic_mesh.workers.wasm_runtime import open_wasm_backend  # wasmtime takes its time to import

        return open_wasm_backend(cache, threads, on_demand=on_demand)
    if name == "native":
        from synaptic_mesh.workers.native_runtime import open_native_backend  # llvmlite is an extra

        return open_native_backend(cache, threads=threads, on_demand=on_demand)
    if name == AUTO:
        from synaptic_mesh.workers.switching import open_switching_backend

        if is_installed("native"):
            return open_switching_backend(cache, threads, on_demand=on_demand)
        return open_backend("wasm", cache, on_demand=on_demand, threads=threads)
    raise LocalError(f"backend {name!r} is not known; choose {', '.join(BACKENDS)} or {AUTO}")


def open_foreign_backend(
    name: str,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    native_after_ms: int = 1_000,
    *,
    on_demand: bool = False,
) -> Backend:
    """Return the backend for graphs from others, qualified on this machine: machine code made from them never runs in
    this process. "native" is WebAssembly at once and machine code in worker processes where that pays; "auto" is the
    same where it can be had, and else WebAssembly. `say` is told what becomes of such processes; `native_after_ms`: how
    long a graph runs in WebAssembly before it gets one; `on_demand`: as in `open_backend`.

    Raises as `open_backend` does, and LocalError for "native" on a system without such processes.
    """
    if name not in (NATIVE, AUTO):
        return open_backend(name, cache, on_demand=on_demand)
    if not is_isolation_supported() or not is_installed(NATIVE):
        if name == NATIVE:
            raise LocalError(
                "backend 'native' needs llvmlite (pip install llvmlite), and Linux for graphs from others: "
                "choose auto or wasm"
            )
        return open_backend("wasm", cache, on_demand=on_demand)
    from synaptic_mesh.workers.isolated import IsolatedBackend, MoveRule
    from synaptic_mesh.workers.wasm_runtime import open_wasm_backend

    wasm = open_wasm_backend(cache, on_demand=on_demand)
    return IsolatedBackend(wasm, cache, MoveRule(after_s=native_after_ms / 1_000), say)


def qualified_reference() -> Backend:
    """Return the reference interpreter. It defines the bits, but numpy computes them: a build of numpy that rounds
    differently, or a thread that flushes subnormals, must not pass for the definition.
    """
    from synaptic_mesh.engine.reference import ReferenceBackend

    backend = ReferenceBackend()
    failures = check_backend(backend)
    if failures:
        raise ResourceError(
            f"numpy computes {len(failures)} golden vectors differently here: " + "; ".join(failures[:3])
        )
    return backend
