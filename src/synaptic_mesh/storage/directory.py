"""One directory, one process: locks, and the machine's errors in words."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synaptic_mesh.base.errors import ResourceError

LOCK_NAME = "LOCK"


class DirectoryLock:
    """Holds a directory for this process until it is released or the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if needed and take it. Raises ResourceError if another process, or this one, holds it."""
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise ResourceError(f"{directory} is in use by another node: stop it or choose another directory") from None

    def release(self) -> None:
        """Give the directory back. Calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into a ResourceError that says what to do."""
    try:
        yield
    except OSError as error:
        raise ResourceError(describe_disk_error(path, error)) from error


def describe_disk_error(path: Path, error: OSError) -> str:
    """One sentence for a user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the disk that holds {path}: free some and start again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} cannot be written or read ({error.strerror}): check its owner and permissions"
    if error.errno == errno.EIO:
        return f"the disk that holds {path} reports an input/output error: check the disk"
    return f"{path}: {error.strerror or error}"


def sync_directory(directory: Path) -> None:
    """Make renames and new names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Replace `path` by `data`: after a crash it holds the old bytes or the new, never a mixture. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)
