"""All jobs by id: which are due, which changed, and their leaves in the state root."""

from synaptic_mesh.base.digests import hash_bytes, merkle_root
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.ledger.job_record import Job, job_leaf, snapshot
from synaptic_mesh.ledger.jobs import JobState, JobStatus
from synaptic_mesh.ledger.pay import vest_ms

JOBS_OPEN_MAX = 256
JOBS_OPEN_PER_ACCOUNT_MAX = 16
JOBS_CLOSED_MAX = 256
"""Jobs that are over and still readable. Beyond it the one that ended first is forgotten."""


class JobTable:
    """Jobs that are open, and the last that were closed."""

    def __init__(self) -> None:
        self._jobs: dict[bytes, Job] = {}
        self._open: dict[bytes, int | None] = {}  # open job -> progress time of its next deadline
        self._closed: list[bytes] = []  # in the order of their ends
        self._snapshots: dict[bytes, JobState] = {}
        self._leaves: dict[bytes, Digest] = {}
        self._root: Digest | None = None
        self.held = 0  # escrow and pending pay of all jobs, as of the last refresh

    def __contains__(self, job: bytes) -> bool:
        return job in self._jobs

    @property
    def open_count(self) -> int:
        """Number of jobs that still run or owe."""
        return len(self._open)

    def open_count_of(self, sponsor: bytes) -> int:
        """Number of open jobs of one sponsor."""
        return sum(self._jobs[job].sponsor == sponsor for job in self._open)

    def ids(self) -> tuple[bytes, ...]:
        """Return the ids of all jobs, ascending."""
        return tuple(sorted(self._jobs))

    def get(self, job: bytes) -> Job | None:
        """Return the job, or None."""
        return self._jobs.get(job)

    def add(self, job: Job) -> None:
        """Take in an open job. It must be refreshed before the commit ends."""
        self._jobs[job.id] = job
        self._open[job.id] = None

    def due(self, progress_ms: int) -> list[bytes]:
        """Return the open jobs with a deadline at or before this time, ascending by id."""
        return sorted(job for job, at_ms in self._open.items() if at_ms is not None and at_ms <= progress_ms)

    def refresh(self, job_id: bytes, progress_ms: int) -> None:
        """Forget what was derived from a job that has changed; move it to the closed ones if it is over."""
        job = self._jobs[job_id]
        self._snapshots.pop(job_id, None)
        self._leaves.pop(job_id, None)
        self._root = None
        if job.is_open:
            self._open[job_id] = next_deadline_ms(job, progress_ms)
        else:
            self._open.pop(job_id, None)
            if job_id not in self._closed:
                self._closed.append(job_id)
            if len(self._closed) > JOBS_CLOSED_MAX:
                self._forget(self._closed.pop(0))
        self.held = sum(self._jobs[each].escrow + self._jobs[each].pending_pay for each in self._open)

    def state(self, job_id: bytes) -> JobState | None:
        """Return the job's snapshot, the same object until the job changes."""
        state = self._snapshots.get(job_id)
        if state is None and (job := self._jobs.get(job_id)) is not None:
            state = self._snapshots[job_id] = snapshot(job)
        return state

    def root(self) -> Digest:
        """Return one root over all jobs, ascending by id, and the order in which the closed ones will be forgotten.
        Only changed jobs are hashed again.
        """
        if self._root is None:
            for job_id in self.ids():
                if job_id not in self._leaves:
                    self._leaves[job_id] = job_leaf(self._jobs[job_id])
            self._root = self._combine([self._leaves[job_id] for job_id in self.ids()])
        return self._root

    def recomputed_root(self) -> Digest:
        """Return the same root from scratch."""
        return self._combine([job_leaf(self._jobs[job_id]) for job_id in self.ids()])

    def _combine(self, leaves: list[Digest]) -> Digest:
        return hash_bytes("SM/jobs/closed/v1", merkle_root(leaves, "SM/jobs/v1"), *self._closed)

    def _forget(self, job_id: bytes) -> None:
        del self._jobs[job_id]
        self._snapshots.pop(job_id, None)
        self._leaves.pop(job_id, None)


def next_deadline_ms(job: Job, progress_ms: int) -> int | None:
    """Return when, in progress time after `progress_ms`, something may happen to the job by itself."""
    candidates = [vest_ms(job)]
    if job.status in (JobStatus.ENROLLING, JobStatus.RUNNING):
        candidates.append(job.phase_deadline_ms)
    ahead = [at_ms for at_ms in candidates if at_ms is not None and at_ms > progress_ms]
    return min(ahead, default=None)
