"""A job in an in-process mesh of one, followed from Python outer step by outer step.

with LocalJob(prepare_job(examples, "mlp:64,64", solo_terms(), seed=1), Path("runs/mine")) as job:
    for step in job:
        print(step.step, step.metrics)
model = load_model(job.result().model)
"""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.ledger.jobs import CommittedStep, JobState
from synaptic_mesh.node.local import LocalMesh, LocalRun
from synaptic_mesh.training.job import PreparedJob

STATES_WAITING_MAX = 10_000
"""A consumer that stops reading stops the mesh after this many changes, instead of growing without bound."""


class LocalJob:
    """A job that runs in a thread of its own. Iterating yields each CommittedStep once, as it commits.

    Leaving the `with` block stops the mesh. Errors of the job are raised where it is iterated or asked for its result.
    """

    def __init__(self, job: PreparedJob, directory: Path, backend: str = "wasm") -> None:
        self._queue: queue.Queue[JobState | None] = queue.Queue(STATES_WAITING_MAX)
        self._result: LocalRun | None = None
        self._error: BaseException | None = None
        self._mesh = LocalMesh(job, directory, backend, self._queue.put)
        self._thread = threading.Thread(target=self._run, name="local mesh", daemon=True)
        self._thread.start()

    def __enter__(self) -> "LocalJob":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mesh.stop()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[CommittedStep]:
        seen = 0
        while (state := self._queue.get()) is not None:
            yield from state.steps[seen:]
            seen = len(state.steps)
        self._queue.put(None)  # for whoever iterates again
        self._raise()

    def result(self) -> LocalRun:
        """Wait for the end of the job and return its last state and the path of its model."""
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)
        self._raise()
        if self._result is None:
            raise LocalError("the job was stopped before it had finished")
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._mesh.run()
        except BaseException as error:  # raised again in the caller's thread
            self._error = error
        finally:
            self._queue.put(None)

    def _drain(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
