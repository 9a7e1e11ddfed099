"""How a process that has had links ends.

The network library's threads may be inside a call when the interpreter ends: a look at links while a peer is stopped, a
frame that arrives. Taking the interpreter apart then waits for threads that wait for it, and the process stays; or
CPython (up to 3.13) ends such a thread by unwinding its stack, which Rust answers with abort(). So when all
is closed and written, the process ends without taking the interpreter apart.
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
