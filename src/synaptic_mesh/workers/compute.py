"""Carries out what participants ask to be computed. The node runs one of these in each worker thread.

    shell = ComputeShell(backend, get=store.get, put=store.put, semantics_id=...)
    event = shell.execute(key, task)            # Computed or Failed, for the participant

It decides nothing. Executed updates are remembered by task key, so a validator that is also a worker executes its own
assignment once, and a participant that asks again after a restart of its machine is answered at once.
"""

from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError, MeshError, PeerError, ResourceError
from synaptic_mesh.collab.execution import BlobSource, Executor
from synaptic_mesh.collab.messages import (
    Aggregate,
    Aggregated,
    Computed,
    ExecuteUpdate,
    Failed,
    JobPrepared,
    PrepareJob,
    PrepareUpdate,
    Refused,
    Result,
    Task,
    task_key,
)
from synaptic_mesh.collab.strategy import Honest, Strategy
from synaptic_mesh.collab.update import UpdateResult
from synaptic_mesh.engine.backend import Backend, StepInvalid

UPDATES_REMEMBERED_MAX = 64
"""Results of executed updates kept, each with its delta: an outer step's worth for most jobs."""
DELTA_BYTES_REMEMBERED_MAX = 64 << 20

BlobSink = Callable[[bytes], bytes]
"""Stores bytes, not yet for others to pull, and returns their digest."""


class ComputeShell:
    """Executes tasks synchronously. Not thread-safe: one for each thread."""

    def __init__(
        self, backend: Backend, get: BlobSource, put: BlobSink, semantics_id: bytes, strategy: Strategy | None = None
    ) -> None:
        self._backend = backend
        self._executor = Executor(backend, get)
        self._put = put
        self._semantics_id = semantics_id
        self._strategy = strategy or Honest()
        self._updates: dict[bytes, tuple[UpdateResult, bytes]] = {}

    def execute(self, key: bytes, task: Task) -> Computed | Failed:
        """Return what the task gives. A failure of this machine, or a damaged local blob, is Failed: ask again."""
        try:
            return Computed(key, self._carry_out(task))
        except (PeerError, ResourceError, LocalError) as error:
            return Failed(key, str(error))
        except MemoryError:
            self._updates.clear()  # what one job needs must not end a node that serves others
            return Failed(key, "this machine has too little memory for the task")

    def close(self) -> None:
        """End what the backend started."""
        close: Callable[[], None] = getattr(self._backend, "close", lambda: None)
        close()

    def _carry_out(self, task: Task) -> Result:
        match task:
            case PrepareJob():
                return self._prepare_job(task)
            case ExecuteUpdate():
                return self._execute_update(task)[0]
            case PrepareUpdate():
                return self._prepare_update(task)
            case Aggregate():
                return self._aggregate(task)

    def _prepare_job(self, task: PrepareJob) -> Result:
        try:
            blob = self._executor.prepare(task.manifest, self._semantics_id)
        except ResourceError:
            raise
        except MeshError as error:
            return Refused(str(error))
        self._put(blob)
        return JobPrepared()

    def _execute_update(self, task: ExecuteUpdate) -> tuple[UpdateResult, bytes]:
        key = task_key(task)
        if key not in self._updates:
            found = self._executor.execute(task.manifest, task.state, task.ref.root, task.assignment)
            self._make_room(len(found[1]))
            self._updates[key] = found
        return self._updates[key]

    def _prepare_update(self, task: PrepareUpdate) -> UpdateResult:
        honest, delta = self._execute_update(task.execute)
        result, blob = self._strategy.choose_submission(task.execute, honest, delta)
        if not result.invalid:
            self._put(blob)
        return result

    def _aggregate(self, task: Aggregate) -> Result:
        try:
            found = self._executor.aggregate(task.manifest, task.state, task.ref.root, task.included)
        except StepInvalid as error:
            return Refused(f"outer step {task.ref.step} has no next state: {error}")
        self._put(found.blob)
        return Aggregated(found.root, found.ref, found.metrics)

    def _make_room(self, delta_bytes: int) -> None:
        """Forget the oldest results beyond the bounds."""
        held = sum(len(delta) for _, delta in self._updates.values())
        while self._updates and (
            len(self._updates) >= UPDATES_REMEMBERED_MAX or held + delta_bytes > DELTA_BYTES_REMEMBERED_MAX
        ):
            _, delta = self._updates.pop(next(iter(self._updates)))
            held -= len(delta)
