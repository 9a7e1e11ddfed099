"""What generated code exports and returns, and the versions of its emitters: all that a runtime needs to know of them
to load code from a cache, without importing an emitter."""

from typing import NamedTuple

from synaptic_mesh.engine.ir import DType, Shape

WASM_EMITTER_VERSION = 15
"""Raised whenever the same graph would give another WebAssembly module; part of every cache key."""
NATIVE_EMITTER_VERSION = 21
"""Raised whenever the same graph would give another LLVM text; part of every cache key."""
PAGE_BYTES = 1 << 16
"""Of a module's memory."""
MEMORY_EXPORT = "memory"
MEMORY_MODULE = "env"
"""Where a module whose memory is shared among threads imports it from, under the same name."""
RUN_EXPORT = "run"
"""run(steps) of a module, run(arena, steps) of an object: executes the graph so many times and returns flags."""
INIT_EXPORT = "init"
"""init(arena) of an object writes the constants; a module brings them as data."""
ASSIST_EXPORT = "assist"
"""assist(arena) of an object, assist(slot) of a module, where threads share kernels: a helper's part of a run."""
WORD_OFFSET = 16
"""Where in the memory the word lies by which threads share kernels. Before a run with helpers it must be zero."""
WORD_CLOSED = -1
"""What that word of an object holds after the last step: helpers go home."""
INSIDE_OFFSET = WORD_OFFSET + 16
"""Where in an object's memory the word lies that has a bit for each helper inside its code."""
NOT_FINITE = 1
"""Flag: a checked output is not finite."""
INDEX_OUT_OF_RANGE = 2
"""Flag: an index is out of range."""
ENVIRONMENT_CHANGED = 4
"""Flag: the floating-point environment was another one after the run, so the results are void."""

HELPER_IDLE = 8
"""What `assist` returns when nothing came for a while and the run is not over."""
HELPERS_INSIDE = 16
"""Flag of an object's `run`: a helper is still in its code, perhaps because the system took its processor away."""


class Slot(NamedTuple):
    """Where a named tensor lies in the memory: dense, row-major, little-endian."""

    offset: int
    shape: Shape
    dtype: DType
