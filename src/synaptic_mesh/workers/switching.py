"""WebAssembly at once, machine code when it is ready: the two have the same bits, so nobody can tell but by the clock.

LLVM takes several times as long as wasmtime to compile, and to be imported. So programs start in wasmtime; one thread
imports LLVM, runs the golden vectors there, and compiles what is asked for; at the start of a later call a program
whose machine code is ready moves its inputs over and goes on there. Without LLVM, or where its bits differ, everything
stays in wasmtime, and `native_problem` says why.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError, MeshError
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.workers.wasm_runtime import WasmBackend, WasmProgram, open_wasm_backend

if TYPE_CHECKING:  # importing LLVM is left to the compiler thread
    from synaptic_mesh.workers.native_runtime import Loaded, NativeBackend, NativeProgram


class SwitchingBackend:
    """Executes graphs in `wasm` until `open_native`'s backend has compiled them. Threads may share it; each program
    belongs to one thread at a time."""

    name = "wasm, then native"

    def __init__(
        self, wasm: WasmBackend, cache_directory: Path | None = None, on_demand: bool = False, threads: int = 1
    ) -> None:
        self.wasm = wasm
        self.trust: Trust = wasm.trust
        """That of WebAssembly; native code is used only once it is exact."""
        self.native_problem = ""
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="native-compiler")
        self._native = self._compiler.submit(_open_native, cache_directory, on_demand, threads)

    def compile(self, graph: Graph) -> "SwitchingProgram":
        """Return a program for `graph` that runs at once. Raises as `WasmBackend.compile` does, and LocalError after
        `close`."""
        try:
            code = self._compiler.submit(self._load, graph)
        except RuntimeError:  # what the standard library says after a shutdown
            raise LocalError("the backend is closed") from None
        return SwitchingProgram(graph, self.wasm.compile(graph), code)

    def _load(self, graph: Graph) -> "Loaded | None":
        """Return the graph's machine code, or None where there is none. The one compiler thread runs this after it
        opened the backend."""
        try:
            return self._native.result().load(graph)
        except MeshError as error:
            self.native_problem = str(error)
            return None

    def close(self) -> None:
        """Finish the compilation under way and begin no other."""
        self._compiler.shutdown(cancel_futures=True)

    def __enter__(self) -> "SwitchingBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_native(cache_directory: Path | None, on_demand: bool, threads: int) -> "NativeBackend":
    from synaptic_mesh.workers.native_runtime import open_native_backend

    return open_native_backend(cache_directory, threads=threads, on_demand=on_demand)


def open_switching_backend(
    cache_directory: Path | None = None, threads: int = 1, *, on_demand: bool = False
) -> SwitchingBackend:
    """Return a backend whose WebAssembly is qualified, at once or `on_demand`, and whose native half is being prepared
    in the same way; both let `threads` work on one large product."""
    wasm = open_wasm_backend(cache_directory, threads, on_demand=on_demand)
    return SwitchingBackend(wasm, cache_directory, on_demand, threads)


class SwitchingProgram:
    """A program in wasmtime that moves to machine code. See `engine.backend.Program`."""

    def __init__(self, graph: Graph, program: WasmProgram, code: "Future[Loaded | None]") -> None:
        self.graph = graph
        self._program: WasmProgram | NativeProgram = program
        self._code = code
        self.is_native = False
        """True once the program has moved."""

    def wait_for_native(self) -> bool:
        """Wait until the machine code is ready, and return whether there is any; the next run uses it."""
        return self._code.result() is not None

    def write(self, name: str, array: Array) -> None:
        """See `backend.Program`."""
        self._program.write(name, array)

    def run(self) -> None:
        """See `backend.Program`."""
        self.run_many(1)

    def run_many(self, steps: int) -> None:
        """Execute `steps` times in one call, in machine code if it is ready."""
        if not self.is_native and steps > 0 and self._code.done() and not self._code.cancelled():
            self._move(self._code.result())
        self._program.run_many(steps)

    def read(self, name: str) -> Array:
        """See `backend.Program`."""
        return self._program.read(name)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}

    def close(self) -> None:
        """Release what the program holds; code not yet compiled is not waited for."""
        self._code.cancel()
        self._program.close()

    def _move(self, code: "Loaded | None") -> None:
        """Inputs, which hold the carried state, are all that a following step reads: copy them and switch."""
        if code is None:
            return
        from synaptic_mesh.workers.native_runtime import NativeProgram  # loaded already: there is code

        native = NativeProgram(self.graph, code)
        for name in self.graph.inputs:
            native.write(name, self._program.read(name))
        self._program.close()
        self._program = native
        self.is_native = True

    def __enter__(self) -> "SwitchingProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
