"""Where the verbs that only execute a model keep compiled programs between calls."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.node.backends import open_backend, open_foreign_backend

FOLDER = "synaptic-mesh/programs"


def open_cached_backend(name: str) -> Backend:
    """Return the backend `name`, which keeps what it compiles in the user's cache directory; without a cache where
    there is none to write to. Raises as `open_backend` does."""
    return _open(lambda directory: open_backend(name, directory))


def open_cached_foreign_backend(name: str) -> Backend:
    """The same for graphs from others, whose machine code never runs in this process: see `open_foreign_backend`."""
    return _open(lambda directory: open_foreign_backend(name, directory, on_demand=True))


def _open(opener: Callable[[Path | None], Backend]) -> Backend:
    directory = cache_directory(os.environ)
    if directory is None:
        return opener(None)
    try:
        return opener(directory)
    except ResourceError:  # of the directory, or of the backend: then it comes again
        return opener(None)


def cache_directory(environment: Mapping[str, str]) -> Path | None:
    """Return the folder for compiled programs after the XDG Base Directory Specification 0.8: in XDG_CACHE_HOME if
    that is an absolute path, else in ~/.cache; None without a home."""
    base, home = environment.get("XDG_CACHE_HOME", ""), environment.get("HOME", "")
    if Path(base).is_absolute():
        return Path(base) / FOLDER
    return Path(home) / ".cache" / FOLDER if Path(home).is_absolute() else None
