"""Keeps the evidence of the jobs that a node follows, and writes the run when one has finished."""

from pathlib import Path

from synaptic_mesh.collab.record import RunRecorder
from synaptic_mesh.ledger.genesis import Genesis, save_genesis
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.transactions import VoteRoot
from synaptic_mesh.node.messages import Effect, JobNote, VoteNote
from synaptic_mesh.node.run_directory import GetBlob, write_run


class JobRecorder:
    """Observes a node's effects. Holds the signed votes of every job, and the latest state of each."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = save_genesis(genesis)
        self._recorders: dict[bytes, RunRecorder] = {}
        self.states: dict[bytes, JobState] = {}

    def observe(self, effect: Effect) -> None:
        """Take in what concerns a job."""
        if isinstance(effect, VoteNote) and isinstance(effect.transaction.action, VoteRoot):
            recorder = self._recorder(effect.transaction.action.ref.job)
            recorder.note_transaction(effect.transaction, effect.signed)
        elif isinstance(effect, JobNote):
            self.states[effect.state.job] = effect.state

    def write(self, job: bytes, directory: Path, get_blob: GetBlob) -> Path:
        """Write the run of `job`; return the model's path. Raises LocalError when no step committed."""
        return write_run(directory, self._recorder(job).record(self.states[job]), get_blob)

    def _recorder(self, job: bytes) -> RunRecorder:
        if job not in self._recorders:
            self._recorders[job] = RunRecorder(self._genesis, job)
        return self._recorders[job]
