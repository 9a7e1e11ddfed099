"""How a process that has had links ends.

The network library's threads may be inside a call when the interpreter ends: a look at links while a peer is stopped, a
frame that arrives. CPython up to 3.13 ends a thread that then asks for the interpreter's lock by unwinding its stack,
which is Rust's, and Rust answers with abort(). A node that closed everything in order would end with SIGABRT. So when
all is closed and written, the process ends without taking the interpreter apart.
"""

import contextlib
import os
import sys
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """Flush standard output and error, and end this process at once with `status`. Nothing else of it runs: call it
    last, where `sys.exit` would stand."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has gone, or it is closed
            stream.flush()
    os._exit(status)
