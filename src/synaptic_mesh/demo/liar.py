"""The liar of the main job: a worker that trains honestly, then submits something else. Nothing but `synaptic demo` and
tests can switch it on.
"""

import msgspec
import numpy as np

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.collab.messages import ExecuteUpdate
from synaptic_mesh.collab.update import UpdateResult
from synaptic_mesh.ledger.manifest import BlobRef

SCALE = np.float32(-3.0)
"""The lie points uphill, three times as far: undetected it would undo the honest workers' steps."""


class Liar:
    """Claims the honest trace and witness with a delta that is not theirs, from outer step `from_step` on."""

    def __init__(self, from_step: int = 0) -> None:
        self._from_step = from_step

    def choose_submission(self, task: ExecuteUpdate, result: UpdateResult, delta: bytes) -> tuple[UpdateResult, bytes]:
        """Return a false claim and the delta that belongs to it."""
        if result.invalid or task.ref.step < self._from_step:
            return result, delta
        false = (np.frombuffer(delta, "<f4") * SCALE).tobytes()
        return msgspec.structs.replace(result, delta=BlobRef(blob_digest(false), len(false))), false
