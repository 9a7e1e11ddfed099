"""The `--model` of `synaptic train`: a family with its sizes, or a Python file, which is executed.

The file defines `network`: a Sequential, or a function of (features, outputs) that returns one. Only the layers enter
the job, as text, so nobody else ever executes the file.
"""

import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.models.layered import Layered
from synaptic_mesh.models.layers.sequential import Sequential

SUFFIX = ".py"


def model_specification(model: str, width: int, outputs: int) -> str:
    """Return the specification of a family as it is, or that of the network that a Python file defines.

    Executes the file. Raises LocalError: unreadable, an error in it (with its line), or no network in it.
    """
    path = Path(model)
    if path.suffix != SUFFIX:
        return model
    if not path.is_file():
        raise LocalError(f"{path} is not a file; --model takes a family such as mlp:64,64 or a Python file")
    try:
        network = _run(path, width, outputs)
    except LocalError as error:
        raise LocalError(f"{path.name}: {error}") from None
    except (Exception, SystemExit) as error:  # the user's own code: any error of it is one sentence with its line
        raise LocalError(f"{path.name}{_place(error, path)}: {type(error).__name__}: {error}") from None
    if not isinstance(network, Sequential):
        raise LocalError(f"{path.name} must define network: a Sequential, or a function of (features, outputs) to one")
    return Layered(network).spec


def _run(path: Path, width: int, outputs: int) -> Any:
    """Return what the file calls network. Files beside it can be imported, as when Python runs a file."""
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        network = runpy.run_path(str(path)).get("network")
        return network if network is None or isinstance(network, Sequential) else network(width, outputs)
    finally:
        sys.path.pop(0)


def _place(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and not lines else next(reversed(lines), None)
    return "" if line is None else f" line {line}"
