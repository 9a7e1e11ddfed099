"""How every verb ends: one table of exit codes, one JSON object with a versioned schema, one sentence per error."""

import enum
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

from synaptic_mesh.base.errors import LocalError, MeshError, PeerError, ResourceError


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


def emit(schema: str, result: Mapping[str, Any], as_json: bool, version: int = 1) -> None:
    """Print `result` as one JSON object that names its schema, when `as_json`; otherwise print nothing."""
    if as_json:
        sys.stdout.write(json.dumps({"schema": f"synaptic.{schema}/{version}", **result}, allow_nan=False) + "\n")
        sys.stdout.flush()


PIPE_COLUMNS = 120
"""Width of what goes to no terminal, unless COLUMNS says another: a row with a digest in it stays one line."""


class Screen(Console):
    """A console whose reader may go: that is `reported`'s business, and no reason to end with a code of its own."""

    def on_broken_pipe(self) -> None:
        """The reader has gone."""
        raise BrokenPipeError from None


def console(as_json: bool) -> Screen:
    """Return where people read: the terminal, or standard error when standard output carries JSON."""
    screen = Screen(stderr=as_json, highlight=False)
    if not screen.is_terminal and not os.environ.get("COLUMNS"):
        screen.width = PIPE_COLUMNS
    return screen


@contextmanager
def reported(as_json: bool) -> Iterator[None]:
    """Turn the errors of a verb into one sentence on standard error and the exit code of their kind."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here and not at the end of the process, where a full disk would go unreported
    except (LocalError, PeerError, ResourceError) as error:
        fail(error, as_json)
    except KeyboardInterrupt:
        say("interrupted before it was done", Exit.INTERRUPTED, as_json)
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        abandon_output()  # whoever read it has gone, as in `synaptic predict ... | head`
        raise typer.Exit(Exit.RESOURCE) from None
    except OSError as error:
        where = error.filename or "the output"
        say(f"{where} cannot be read or written: {error.strerror or error}", Exit.RESOURCE, as_json)
        raise typer.Exit(Exit.RESOURCE) from None
    except MemoryError:
        say("this machine has too little memory for that: use less data or a smaller model", Exit.RESOURCE, as_json)
        raise typer.Exit(Exit.RESOURCE) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # InvariantBroken, and what nobody thought of
        say(f"internal fault, please report it with the run directory: {describe_fault(error)}", Exit.BUG, as_json)
        raise typer.Exit(Exit.BUG) from error


def fail(error: MeshError, as_json: bool) -> NoReturn:
    """Print the error and leave with its exit code."""
    code = Exit.PEER if isinstance(error, PeerError) else Exit.RESOURCE if isinstance(error, ResourceError) else None
    code = code or Exit.BAD_INPUT
    say(str(error), code, as_json)
    raise typer.Exit(code)


def say(sentence: str, code: Exit, as_json: bool) -> None:
    """Print why a verb ends without a result: on standard error for people, as one object for programs."""
    sys.stderr.write(f"synaptic: {sentence}\n")
    try:
        emit("error", {"error": sentence, "exit_code": int(code)}, as_json)
    except OSError:
        abandon_output()


def abandon_output() -> None:
    """Send what is still buffered for standard output nowhere: it cannot be written, and Python would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe_fault(error: Exception) -> str:
    """Return what went wrong and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{where}: {text}" if text else f"{type(error).__name__}{where}"
