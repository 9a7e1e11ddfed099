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


def main() -> int:
    native_runtime.allocate = allocate
    wrong = []
    for elements_max in (fusion.STRIP_RIGHT_ELEMENTS_MAX, 0):  # with and without unpacked products
        fusion.STRIP_RIGHT_ELEMENTS_MAX = elements_max
        backends = [NativeBackend(profile=profile) for profile in host_profiles()]
        wrong += differences(range(int(sys.argv[1]), int(sys.argv[2])), 18, backends)[0]
    print("\n".join(wrong))
    return 1 if wrong or not MAPPINGS else 0


if __name__ == "__main__":
    sys.exit(main())
