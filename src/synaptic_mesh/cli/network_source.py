"""The `--model` of `synaptic train`: a family with its sizes, or a Python file, which is executed.

The file defines `network`: a Sequential, or a function of (features, outputs) that returns one. Only the layers enter
the job, as text, so nobody else ever executes the file.
"""

import runpy
import traceback
from pathlib import Path

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
        network = runpy.run_path(str(path)).get("network")
        if network is not None and not isinstance(network, Sequential):
            network = network(width, outputs)
    except LocalError as error:
        raise LocalError(f"{path.name}: {error}") from None
    except Exception as error:  # the user's own code: any error of it is one sentence with its line
        line = next(
            (f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == str(path)), 0
        )
        raise LocalError(f"{path.name} line {line}: {type(error).__name__}: {error}") from None
    if not isinstance(network, Sequential):
        raise LocalError(f"{path.name} must define network: a Sequential, or a function of (features, outputs) to one")
    return Layered(network).spec
