"""What a worker submits, given what it honestly computed. There is one strategy here; tests and demonstrations bring
their own, to see that lies are caught.
"""

from typing import Protocol

from synaptic_mesh.collab.messages import ExecuteUpdate
from synaptic_mesh.collab.update import UpdateResult


class Strategy(Protocol):
    """Decides what leaves the worker. It must be deterministic: a worker that restarts asks it again."""

    def choose_submission(self, task: ExecuteUpdate, result: UpdateResult, delta: bytes) -> tuple[UpdateResult, bytes]:
        """Return the claim and the bytes of its delta blob (`result.delta` names them), given the honest ones."""


class Honest:
    """Submits what it computed."""

    def choose_submission(self, task: ExecuteUpdate, result: UpdateResult, delta: bytes) -> tuple[UpdateResult, bytes]:
        """Return the honest result unchanged."""
        del task
        return result, delta
