"""The native backend for AArch64, executed under qemu-user: object from LLVM, linked by a cross compiler, run in an
emulator that computes IEEE 754 exactly. Slow, and enough to see the bits."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from synaptic_mesh.base.arrays import DTYPES, Array
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.native.compiler import CompiledNative, compile_native
from synaptic_mesh.engine.native.profile import NEON

EMULATOR, LINKER = "qemu-aarch64", "aarch64-linux-gnu-gcc"
HARNESS = Path(__file__).parent / "emulated_aarch64.c"
TIMEOUT_S = 60


def missing() -> str:
    """Return what is not installed here, or nothing."""
    return ", ".join(name for name in (EMULATOR, LINKER) if shutil.which(name) is None)


def target_machine() -> Any:
    """LLVM's description of a processor that has nothing but what every AArch64 has."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(
        cpu=NEON.cpu, features="", opt=2, reloc="static", codemodel="default"
    )


class EmulatedBackend:
    """A `Backend` whose programs are executables in `directory`."""

    name = "native aarch64"
    trust = Trust.TOLERANT

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machine = target_machine()
        self.count = 0

    def compile(self, graph: Graph) -> "EmulatedProgram":
        """Return a program, linked statically."""
        from synaptic_mesh.workers.native_runtime import parse_module

        compiled = compile_native(graph, NEON)
        self.count += 1
        path = self.directory / f"program{self.count}"
        source = path.with_suffix(".o")
        source.write_bytes(self.machine.emit_object(parse_module(compiled.text, self.machine, compiled.joined)))
        subprocess.run([LINKER, "-O1", "-static", "-o", path, HARNESS, source], check=True, timeout=TIMEOUT_S)
        source.unlink()
        return EmulatedProgram(graph, compiled, path)


class EmulatedProgram:
    """An executable and the image of its arena between runs."""

    def __init__(self, graph: Graph, compiled: CompiledNative, path: Path) -> None:
        self.graph = graph
        self.path = path
        self.image = np.zeros(compiled.arena_bytes, np.uint8)
        self.slots = {**compiled.outputs, **compiled.inputs}
        self.control = 0

    def write(self, name: str, array: Array) -> None:
        """See `Program`."""
        self._view(name)[...] = array

    def run(self) -> None:
        """See `Program`."""
        command = [EMULATOR, self.path, str(self.image.size), "1", f"{self.control:x}"]
        done = subprocess.run(command, input=self.image.tobytes(), capture_output=True, check=True, timeout=TIMEOUT_S)
        flags = int.from_bytes(done.stdout[:4], "little")
        self.image = np.frombuffer(done.stdout[4:], np.uint8).copy()
        if flags:
            raise StepInvalid(f"flags {flags}")

    def read(self, name: str) -> Array:
        """See `Program`."""
        return self._view(name).copy()

    def __call__(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """See `Program`."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}

    def close(self) -> None:
        """Delete the executable."""
        self.path.unlink(missing_ok=True)

    def _view(self, name: str) -> Array:
        slot = self.slots[name]
        dtype = DTYPES[slot.dtype.value]
        size = int(np.prod(slot.shape, dtype=np.int64)) * dtype.itemsize
        return self.image[slot.offset : slot.offset + size].view(dtype).reshape(slot.shape)
