"""`synaptic dag decide`: what the commit rule says about a drawn DAG."""

import json
import sys
from pathlib import Path

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.cli.output import Exit, emit
from synaptic_mesh.consensus.case import decide_case, read_case


def decide(file: Path, as_json: bool) -> int:
    """Print the decisions on the DAG in the file as JSON; with as_json the object names its schema. Raises LocalError
    naming the file and what is wrong with it.
    """
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        result = decide_case(read_case(data))
    except OSError as error:
        raise LocalError(f"{file} cannot be read: {error.strerror or error}") from None
    except LocalError as error:
        raise LocalError(f"{file}: {error}") from None
    if as_json:
        emit("dag.decide", result, as_json)
    else:
        sys.stdout.write(json.dumps(result) + "\n")
    return Exit.OK
