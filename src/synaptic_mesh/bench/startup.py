"""What a process pays before its first answer: imports, qualification of the backend, compilation, one prediction.

Each sample is a process of its own, timed from outside by the wall: the interpreter's start counts too. Bytecode is
there, as after an installation, whatever this process' environment says of writing it: an earlier process that does not
count has compiled every module.
"""

import os
import subprocess
import sys
import tempfile
import time

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.bench.harness import median

IMPORT = "import synaptic_mesh"
PREDICT = """
import sys
from pathlib import Path
import numpy as np
from synaptic_mesh.engine.composites import dense, relu
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.node.backends import open_backend
width = int(sys.argv[2])
shapes = {"x": f32(1, 784), "w1": f32(784, width), "b1": f32(width), "w2": f32(width, 10), "b2": f32(10)}
graph = trace(lambda x, w1, b1, w2, b2: dense(relu(dense(x, w1, b1)), w2, b2), shapes)
program = open_backend("wasm", Path(sys.argv[1])).compile(graph)
program({name: np.ones(spec.shape, np.float32) for name, spec in shapes.items()})
"""
"""A classifier of a width that no sample before it had, so that only the golden vectors can be in the cache."""
FIRST_WIDTH = 128
CHILD_TIMEOUT_S = 60


class Startup(Record):
    """Medians of wall milliseconds of whole processes. `import_ms`: the package; `first_prediction_ms`: a new
    classifier 784-h-10 on wasm, where an earlier process has left the compiled golden vectors in the cache;
    `first_ever_ms`: the same with an empty cache."""

    import_ms: float
    first_prediction_ms: float
    first_ever_ms: float


def measure_startup(repeats: int) -> Startup:
    """Return the figures, each the median of `repeats` processes. Raises ResourceError when one fails."""
    with tempfile.TemporaryDirectory() as directory:
        bytecode = os.path.join(directory, "bytecode")
        _wall_ms(bytecode, PREDICT, os.path.join(directory, "before"), str(FIRST_WIDTH))
        first_ever, later, imports = [], [], []
        for number in range(repeats):
            cache = os.path.join(directory, str(number))
            first_ever.append(_wall_ms(bytecode, PREDICT, cache, str(FIRST_WIDTH)))
            later.append(_wall_ms(bytecode, PREDICT, cache, str(FIRST_WIDTH + 1 + number)))
            imports.append(_wall_ms(bytecode, IMPORT))
        return Startup(median(imports), median(later), median(first_ever))


def _wall_ms(bytecode: str, code: str, *arguments: str) -> float:
    """Time a process that reads its modules' bytecode from a directory and writes there what is missing."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    command = [sys.executable, "-c", code, *arguments]
    start = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False, env=environment
    )
    spent = time.perf_counter() - start
    if done.returncode:
        raise ResourceError(f"a process that was to be timed failed: {done.stderr.strip()[-1000:]}")
    return spent * 1e3
