"""Run by test_fuzz in a process of its own: arenas end where an inaccessible page begins, so code that loads or stores
one byte behind its arena ends the process.

    python guarded_arenas.py FIRST_SEED LAST_SEED
"""

import ctypes
import mmap
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from random_graphs import differences

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine import fusion
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers import native_runtime
from synaptic_mesh.workers.native_runtime import NativeBackend, host_profiles

PAGE = mmap.PAGESIZE
MAPPINGS: list[mmap.mmap] = []
LIBRARY = ctypes.CDLL(None, use_errno=True)
LIBRARY.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def allocate(size: int) -> Array:
    pages = -(-size // PAGE)
    mapping = mmap.mmap(-1, (pages + 1) * PAGE)
    MAPPINGS.append(mapping)
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    if LIBRARY.mprotect(start + pages * PAGE, PAGE, 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    return np.frombuffer((ctypes.c_char * size).from_address(start + pages * PAGE - size), np.uint8)


def sum_at_the_end(backend: NativeBackend) -> None:
    """The product is the arena's last buffer, and the vector that covers its last row's end reaches behind it."""
    for rows, columns in ((3, 5), (7, 9), (2, 17), (5, 3)):
        graph = trace(lambda x, y: (x * y).sum(1), {"x": f32(rows, columns), "y": f32(rows, columns)})
        ones = np.ones((rows, columns), np.float32)
        found = backend.compile(graph)({"x": ones, "y": ones})["output"]
        assert found.tolist() == [columns] * rows


def main() -> int:
    native_runtime.allocate = allocate
    wrong = []
    for elements_max in (fusion.STRIP_RIGHT_ELEMENTS_MAX, 0):  # with and without unpacked products
        fusion.STRIP_RIGHT_ELEMENTS_MAX = elements_max
        backends = [NativeBackend(profile=profile) for profile in host_profiles()]
        wrong += differences(range(int(sys.argv[1]), int(sys.argv[2])), 18, backends)[0]
        for backend in backends:
            sum_at_the_end(backend)
    print("\n".join(wrong))
    return 1 if wrong or not MAPPINGS else 0


if __name__ == "__main__":
    sys.exit(main())
