"""What a worker process takes from itself before it touches a stranger's graph (Linux).

    dies with its parent    PR_SET_PDEATHSIG; whoever started it holds the other end of its standard input besides
    no new privileges       PR_SET_NO_NEW_PRIVS: no set-user-id program gives it any
    no new descriptors      RLIMIT_NOFILE 0: it opens no file, no socket, no pipe, and accepts none that is sent to it
    no writing to files     RLIMIT_FSIZE 0
    no new processes        RLIMIT_NPROC 0, which root is exempt from
    no core dump            RLIMIT_CORE 0
    bounded memory          RLIMIT_AS: what it has mapped, and `MEMORY_BYTES_MAX` more
    first to go             when the machine runs out of memory the kernel takes it before the node (oom_score_adj)

Processor time is limited from outside, call by call (`native_process`). What is left to code that takes the process
over: system calls on paths (unlink, rename, chmod, execve) and signals to processes of the same user; and root, with
CAP_SYS_RESOURCE, may lift these limits again. A seccomp filter or Landlock would take that too; neither can be had
without a table of system calls of our own for each architecture, or a kernel that many machines do not have. Becoming
another user is no way out: a node whose root has no CAP_SYS_RESOURCE, as in containers, could then not limit the
processor time. So a node that executes strangers' graphs natively should run as a user of its own that is not root, and
`backend = "wasm"` keeps everything in the sandbox of wasmtime.
"""

import contextlib
import ctypes
import os
import signal
import sys

from synaptic_mesh.base.errors import ResourceError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MEMORY_BYTES_MAX = 2 << 30
"""Beyond what is mapped when the limit is set: LLVM compiling the largest graphs takes some hundred MB."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_OOM_FIRST = b"1000"


def is_supported() -> bool:
    """True where a process can be confined so, and its memory sealed."""
    return sys.platform == "linux" and hasattr(os, "memfd_create") and hasattr(resource, "prlimit")


def die_with(parent: int) -> None:
    """See to it that the kernel ends this process when the thread that started it ends. Raises ResourceError when
    process `parent` has gone already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ResourceError(f"process {parent}, which started this one, has gone")


def confine() -> None:
    """Give everything up that compiling and running a graph does not need. There is no way back. Raises ResourceError
    when the system refuses."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:  # no /proc: nothing is lost
        file.write(_OOM_FIRST)
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_AS: _mapped_bytes() + MEMORY_BYTES_MAX,
        resource.RLIMIT_NOFILE: 0,
    }
    try:
        for limit, most in limits.items():
            resource.setrlimit(limit, (most, most))
    except (OSError, ValueError) as error:
        raise ResourceError(f"the limits of a worker process cannot be set: {error}") from None
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _mapped_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError) as error:
        raise ResourceError(f"this process cannot tell how much memory it has mapped: {error}") from None


def _prctl(option: int, value: int) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *arguments) != 0:
        raise ResourceError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
