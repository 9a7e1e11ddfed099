"""How every verb ends: one table of exit codes, one JSON object with a versioned schema, one sentence per error."""

import enum
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from synaptic_mesh.base.errors import InvariantBroken, LocalError, MeshError, PeerError, ResourceError


class Exit(enum.IntEnum):
    """Exit codes, the same for every verb (docs/cli.md)."""

    OK = 0
    PROMISE_FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    PEER = 4
    RESOURCE = 5
    BUG = 70
    INTERRUPTED = 130


def emit(schema: str, result: Mapping[str, Any], as_json: bool) -> None:
    """Print `result` as one JSON object that names its schema, when `as_json`; otherwise print nothing."""
    if as_json:
        sys.stdout.write(json.dumps({"schema": f"synaptic.{schema}/1", **result}, allow_nan=False) + "\n")
        sys.stdout.flush()


def console(as_json: bool) -> Console:
    """Return where people read: the terminal, or standard error when standard output carries JSON."""
    return Console(stderr=as_json, highlight=False)


@contextmanager
def reported(as_json: bool) -> Iterator[None]:
    """Turn the errors of a verb into one sentence on standard error and the exit code of their kind."""
    try:
        yield
    except (LocalError, PeerError, ResourceError) as error:
        fail(error, as_json)
    except InvariantBroken as error:
        sys.stderr.write(f"synaptic: internal fault, please report it with the run directory: {error}\n")
        raise typer.Exit(Exit.BUG) from error
    except KeyboardInterrupt:
        sys.stderr.write("synaptic: interrupted; what was committed is kept\n")
        raise typer.Exit(Exit.INTERRUPTED) from None


def fail(error: MeshError, as_json: bool) -> None:
    """Print the error and leave with its exit code."""
    code = Exit.PEER if isinstance(error, PeerError) else Exit.RESOURCE if isinstance(error, ResourceError) else None
    code = code or Exit.BAD_INPUT
    if as_json:
        emit("error", {"error": str(error), "exit_code": int(code)}, True)
    sys.stderr.write(f"synaptic: {error}\n")
    raise typer.Exit(code)
