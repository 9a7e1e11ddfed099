"""Networks that were exported for a fixed number of rows, over any number."""

from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import concat, narrow, pad
from synaptic_mesh.engine.trace import Tensor

CHUNKS_MAX = 64


def in_chunks(x: Tensor, rows: int, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the network's rows, computed `rows` at a time; the last part is filled up with zeros that are cut off.

    Raises LocalError when that would write the network out over CHUNKS_MAX times.
    """
    count = -(-x.shape[0] // rows)
    if count > CHUNKS_MAX:
        raise LocalError(
            f"the model was exported for {rows} rows and is given {x.shape[0]}; export it with an open number of rows"
        )
    missing = count * rows - x.shape[0]
    rest = [0] * (len(x.shape) - 1)
    full = pad(x, [0, *rest], [missing, *rest]) if missing else x
    parts = [network(narrow(full, 0, start * rows, rows)) for start in range(count)]
    return narrow(concat(parts, 0), 0, 0, x.shape[0])
