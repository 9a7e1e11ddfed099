"""Our backends as contestants: whatever opens and passes the golden vectors on this machine."""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from synaptic_mesh.base.arrays import Array, canonical_bytes
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, MeshError
from synaptic_mesh.bench.cases import Case, Mode
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.engine.backend import Backend, Program, Trust
from synaptic_mesh.workers.native_runtime import open_native_backend
from synaptic_mesh.workers.wasm_runtime import open_wasm_backend

MEASURED: dict[str, Callable[..., Backend]] = {"wasm": open_wasm_backend, "native": open_native_backend}
"""Each as it is, never one that stands in for another. The reference defines the bits and is not made for speed."""
WASM_BITS = 128


class Stepping(Program, Protocol):
    """A program of the fast backends."""

    def run_many(self, steps: int) -> None:
        """Execute `steps` times in one call."""

    def function(self, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[..., list[Array]]:
        """Return write, run and read in one."""

    def close(self) -> None:
        """Release it."""


class Ours:
    """One of our backends."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.threads: int = getattr(backend, "threads", 1)
        self.name = backend.name if self.threads == 1 else f"{backend.name} x{self.threads}"
        self.exact = backend.trust is Trust.EXACT
        profile = getattr(backend, "profile", None)
        self.vector_bits = WASM_BITS if profile is None else 32 * profile.lanes

    def prepare(self, case: Case) -> Prepared:
        """Compile and write parameters and inputs. Per call: write, run, read, as a user would."""
        program = cast(Stepping, self.backend.compile(case.work.graph()))
        inputs = case.work.inputs()
        outputs = case.work.outputs
        for name, array in (case.work.parameters() | inputs).items():
            program.write(name, array)

        function, arrays = program.function(list(inputs), list(outputs)), list(inputs.values())

        def call() -> list[Array]:
            return function(*arrays)

        def results() -> dict[str, Array]:
            names = (*outputs, *program.graph.carried)
            return {name: program.read(name) for name in names}

        run = call if case.mode is Mode.CALL else lambda: program.run_many(case.steps)
        return Prepared(run, results, program.close)


def bits_of(results: dict[str, Array]) -> str:
    """Return a digest of all results, by name: equal exactly when every bit is."""
    return blob_digest(b"".join(canonical_bytes(results[name]) for name in sorted(results))).hex()[:16]


def open_ours(name: str, left_out: dict[str, str], threads: int = 1) -> list[Ours]:
    """Return backend `name`, or for "" all that open, with `threads` each; adds a reason to `left_out` for each other
    one. Raises LocalError for a name that is not measured, and what opening raises when one was named."""
    if name:
        if name not in MEASURED:
            raise LocalError(f"backend {name!r} is not measured; choose {' or '.join(MEASURED)}")
        return [Ours(MEASURED[name](threads=threads))]
    found = []
    for each, opened in MEASURED.items():
        try:
            found.append(Ours(opened(threads=threads)))
        except MeshError as error:
            left_out[each] = str(error)
    return found
