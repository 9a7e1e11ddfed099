"""Executes a run record again: from the seed through every included update and every aggregation to the last root.

    for each outer step: the chain of roots, the assignments (drawn again), each included delta (its stored bytes,
    then the update executed anew), the aggregation (root, state, metrics), the voters' signatures and their stake

The first thing that differs is named with its outer step and, where it concerns one, its worker. States come from the
seed and from aggregation, never from storage, so a verifier believes nothing that it did not compute.
"""

from collections.abc import Callable

import msgspec

from synaptic_mesh.base.errors import MeshError, PeerError
from synaptic_mesh.base.ids import PeerId, short
from synaptic_mesh.collab.execution import BlobSource, Executor, NextState
from synaptic_mesh.collab.record import RunRecord
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.ledger.assignment import draw_assignments
from synaptic_mesh.ledger.genesis import genesis_committee, load_genesis_untrusted, network_id
from synaptic_mesh.ledger.jobs import Assignment, CommittedStep
from synaptic_mesh.ledger.manifest import BlobRef, job_id
from synaptic_mesh.ledger.signing import verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import StepRef, VoteRoot, included_digest


class Finding(msgspec.Struct, frozen=True):
    """The first thing that does not hold. `step` is None for the job itself, `worker` is empty if it concerns none."""

    step: int | None
    worker: bytes
    what: str

    def sentence(self) -> str:
        """Return the finding for people."""
        where = "the job" if self.step is None else f"outer step {self.step}"
        who = f", worker {short(self.worker)}" if self.worker else ""
        return f"{where}{who}: {self.what}"


class Report(msgspec.Struct, frozen=True):
    """What was reached before the first finding, if there is one. `root` is the last root that was confirmed."""

    job: bytes
    backend: str
    steps_confirmed: int
    updates_confirmed: int
    root: bytes
    finding: Finding | None

    @property
    def is_confirmed(self) -> bool:
        """Answer whether everything holds."""
        return self.finding is None


def verify_run(
    record: RunRecord,
    get_blob: BlobSource,
    backend: Backend,
    semantics_id: bytes,
    on_step: Callable[[int], None] | None = None,
) -> Report:
    """Execute the run again on `backend` and report. `on_step` is told each outer step that was confirmed."""
    verifier = _Verifier(record, get_blob, backend)
    finding = None
    try:
        verifier.check_job(semantics_id)
        for step in range(len(record.steps)):
            verifier.check_step(step)
            if on_step is not None:
                on_step(step)
        verifier.check_stored_state()
    except _Differs as difference:
        finding = difference.finding
    return Report(
        record.job, backend.name, verifier.steps_confirmed, verifier.updates_confirmed, verifier.root, finding
    )


class _Differs(Exception):
    """Carries the first finding out of the nested checks."""

    def __init__(self, step: int | None, worker: bytes, what: str) -> None:
        super().__init__(what)
        self.finding = Finding(step, worker, what)


class _Verifier:
    def __init__(self, record: RunRecord, get_blob: BlobSource, backend: Backend) -> None:
        self._record = record
        self._manifest = record.manifest
        self._computed: dict[bytes, bytes] = {}
        """The one state blob that the next outer step starts from."""
        self._get_stored = get_blob
        self._executor = Executor(backend, self._get_blob)
        self._state = record.manifest.initial_state
        self.root = record.manifest.initial_root
        self.steps_confirmed = 0
        self.updates_confirmed = 0

    def check_job(self, semantics_id: bytes) -> None:
        try:
            blob = self._executor.prepare(self._manifest, semantics_id)
        except MeshError as error:
            raise _Differs(None, b"", str(error)) from None
        if job_id(self._manifest) != self._record.job:
            found = job_id(self._manifest)
            raise _Differs(None, b"", f"the manifest is of job {short(found)}, not {short(self._record.job)}")
        self._computed = {self._state.digest: blob}

    def check_step(self, step: int) -> None:
        committed = self._record.steps[step].committed
        self._check_chain(step, committed)
        self._check_assignments(committed)
        for worker, delta in committed.included:
            self._check_update(committed, worker, delta)
        after = self._check_aggregate(committed)
        self._check_votes(step, committed)
        self._computed = {after.ref.digest: after.blob}
        self._state, self.root = after.ref, after.root
        self.steps_confirmed += 1

    def check_stored_state(self) -> None:
        """The last state is the model that people use: its stored copy must be whole."""
        if not self._record.steps:
            return
        self._computed = {}
        try:
            self._executor.read(self._state)
        except MeshError as error:
            raise _Differs(self.steps_confirmed - 1, b"", f"the stored state cannot be used: {error}") from None

    def _check_chain(self, step: int, committed: CommittedStep) -> None:
        if committed.step != step:
            raise _Differs(step, b"", f"the record holds outer step {committed.step} in its place")
        if committed.root_before != self.root:
            raise _Differs(
                step, b"", f"it claims to start from root {short(committed.root_before)}, not {short(self.root)}"
            )

    def _check_assignments(self, committed: CommittedStep) -> None:
        workers = [assignment.worker for assignment in committed.assignments]
        shards = len(self._manifest.data.shards)
        is_possible = workers == sorted(set(workers)) and len(workers) <= shards
        if not is_possible or committed.assignments != draw_assignments(
            self._record.job, committed.step, committed.attempt, committed.root_before, workers, shards
        ):
            raise _Differs(committed.step, b"", "the assignments are not those that the ledger draws")

    def _check_update(self, committed: CommittedStep, worker: bytes, delta: BlobRef) -> None:
        assignment = self._assignment_of(committed, worker)
        try:
            self._executor.read(delta)
            found, _ = self._executor.execute(self._manifest, self._state, self.root, assignment)
        except MeshError as error:
            raise _Differs(committed.step, worker, str(error)) from None
        if found.invalid:
            raise _Differs(committed.step, worker, f"executing the update again is invalid at {found.invalid}")
        if found.delta != delta:
            raise _Differs(
                committed.step,
                worker,
                f"executing the update again gives delta {short(found.delta.digest)}, not {short(delta.digest)}",
            )
        self.updates_confirmed += 1

    def _assignment_of(self, committed: CommittedStep, worker: bytes) -> Assignment:
        for assignment in committed.assignments:
            if assignment.worker == worker:
                return assignment
        raise _Differs(committed.step, worker, "the update was included without an assignment")

    def _check_aggregate(self, committed: CommittedStep) -> NextState:
        workers = [worker for worker, _ in committed.included]
        if workers != sorted(set(workers)) or not workers:
            raise _Differs(committed.step, b"", "the included updates are not one or more, ascending by worker")
        try:
            after = self._executor.aggregate(self._manifest, self._state, self.root, committed.included)
        except MeshError as error:
            raise _Differs(committed.step, b"", str(error)) from None
        if after.root != committed.root:
            raise _Differs(
                committed.step, b"", f"aggregation gives root {short(after.root)}, not {short(committed.root)}"
            )
        if after.ref != committed.state:
            found, claimed = short(after.ref.digest), short(committed.state.digest)
            raise _Differs(committed.step, b"", f"aggregation gives state blob {found}, not {claimed}")
        if after.metrics != committed.metrics:
            raise _Differs(committed.step, b"", f"evaluation gives {after.metrics}, not {committed.metrics}")
        return after

    def _check_votes(self, step: int, committed: CommittedStep) -> None:
        try:
            genesis = load_genesis_untrusted(self._record.genesis)
        except PeerError as error:
            raise _Differs(step, b"", f"the genesis cannot be read: {error}") from None
        committee, network = genesis_committee(genesis), network_id(genesis)
        voters: set[bytes] = set()
        for signed in self._record.steps[step].votes:
            try:
                transaction = verify_transaction_untrusted(signed, network, committee.epoch).transaction
            except PeerError as error:
                raise _Differs(step, b"", f"a vote is not valid: {error}") from None
            if transaction.action != self._expected_vote(committed):
                raise _Differs(step, b"", f"the vote of {short(transaction.sender)} is for something else")
            voters.add(transaction.sender)
        _check_quorum(committed, committee, voters)

    def _expected_vote(self, committed: CommittedStep) -> VoteRoot:
        ref = StepRef(self._record.job, committed.step, committed.attempt, committed.root_before)
        included = included_digest(committed.included)
        return VoteRoot(ref, included, committed.root, committed.state, committed.metrics)

    def _get_blob(self, digest: bytes) -> bytes:
        return self._computed[digest] if digest in self._computed else self._get_stored(digest)


def _check_quorum(committed: CommittedStep, committee: Committee, voters: set[bytes]) -> None:
    stake = committee.stake(index for voter in voters if (index := committee.index_of(PeerId(voter))) is not None)
    if not committee.is_quorum(stake):
        raise _Differs(
            committed.step,
            b"",
            f"{len(voters)} signed votes with stake {stake} are no quorum of {committee.quorum}",
        )
