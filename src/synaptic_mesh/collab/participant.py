"""One participant of one job: a machine that reads the job's state and does what is still to be done.

                 worker                                   validator
  ENROLLING      JoinJob                                  fetch all, PrepareJob -> AttestJob
  WORK           fetch shard, execute -> SubmitUpdate     (hold the state)
  AVAILABLE      unseal the delta                         fetch deltas -> ReportAvailable; begin to audit
  AUDIT                                                   execute every available update -> CommitVerdicts
  REVEAL         RevealWitness                            RevealVerdicts
  ROOT                                                    aggregate, evaluate -> VoteRoot
  VESTING        (nothing)                                hold and serve the final state

It is level-triggered: every event leads to a new look at the latest JobState, and a look depends on nothing but that
state, the blobs and results at hand, and a secret. Nonces and salts derive from (secret, step reference), results from
committed facts. So after a restart the same participant submits exactly what it submitted before, or nothing: it cannot
contradict itself (docs/protocol/learning.md, "Participant").
"""

from collections.abc import Iterable

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.collab.messages import (
    Aggregate,
    Aggregated,
    Effect,
    Event,
    ExecuteUpdate,
    JobChanged,
    JobPrepared,
    PrepareJob,
    PrepareUpdate,
    Refusal,
    Refused,
    task_key,
)
from synaptic_mesh.collab.needs import Needs, Pace, Source
from synaptic_mesh.collab.tensors import tensor_bytes
from synaptic_mesh.collab.update import UpdateResult
from synaptic_mesh.ledger.jobs import Assignment, JobState, JobStatus, Phase, UpdateState
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.transactions import (
    AttestJob,
    CommitVerdicts,
    JoinJob,
    ReportAvailable,
    RevealVerdicts,
    RevealWitness,
    StepRef,
    SubmitUpdate,
    Verdict,
    VoteRoot,
    included_digest,
    verdict_commitment,
    witness_commitment,
)


class Participant:
    """What peer `peer` does about one job. `secret` (32 bytes, never shared) makes its nonces and salts."""

    def __init__(self, peer: PeerId, secret: bytes, *, validator: bool, worker: bool, pace: Pace | None = None) -> None:
        self._peer = peer
        self._secret = secret
        self._validator = validator
        self._worker = worker
        self._needs = Needs(peer, pace or Pace())
        self._state: JobState | None = None
        self._reported: set[bytes] = set()
        """Workers whose deltas this participant asked to report in the present attempt."""

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Advance by one event; return what the shell must do, in order."""
        if isinstance(event, JobChanged):
            self._take_state(event.state)
        elif not self._needs.note(event, now_ms):
            return []  # of another job, or not waited for any more: a look costs time, and jobs may be many
        return self._look(now_ms)

    def handle_deadline(self, now_ms: int) -> list[Effect]:
        """Ask again for what failed. Early calls change nothing."""
        return self._look(now_ms)

    def deadline_ms(self) -> int | None:
        """When something that failed may be asked for again, or None."""
        return self._needs.deadline_ms()

    def _take_state(self, state: JobState) -> None:
        if self._state is None or step_ref(self._state) != step_ref(state):
            self._reported.clear()
        if self._state is not None and self._state.step != state.step:
            self._needs.forget_results(keep=task_key(PrepareJob(state.job, state.manifest)))
        self._state = state

    def _look(self, now_ms: int) -> list[Effect]:
        self._needs.begin(now_ms)
        if self._state is not None:
            self._act(self._state)
        return self._needs.finish()

    def _act(self, state: JobState) -> None:
        if state.status is JobStatus.ENROLLING:
            self._enrol(state)
        elif state.status is JobStatus.RUNNING:
            self._run(state)
        elif state.status is not JobStatus.ABORTED and self._validator:
            self._serve_state(state)

    # --- enrolment

    def _enrol(self, state: JobState) -> None:
        if self._worker and self._peer not in state.workers and len(state.workers) < state.manifest.workers_max:
            self._needs.submit(JoinJob(state.job))
        if self._validator and self._is_prepared(state) and self._peer not in state.attested:
            self._needs.submit(AttestJob(state.job))

    def _is_prepared(self, state: JobState) -> bool:
        """Hold and serve the job's blobs, and answer whether the job was found in order."""
        manifest = state.manifest
        wanted = self._inputs(state, [manifest.step_graph, manifest.predict_graph, manifest.optimizer_init])
        wanted += self._inputs(state, [shard.blob for shard in (*manifest.data.shards, manifest.data.test)])
        if not self._needs.hold_all(wanted):
            return False
        prepared = self._needs.result(PrepareJob(state.job, manifest))
        if isinstance(prepared, Refused):
            self._needs.say(Refusal(state.job, prepared.reason))
        if not isinstance(prepared, JobPrepared):
            return False
        for source in wanted:
            self._needs.publish(source.blob)
        self._needs.publish(manifest.initial_state)
        return True

    def _inputs(self, state: JobState, blobs: Iterable[BlobRef]) -> tuple[Source, ...]:
        """Blobs of the manifest: the sponsor has them, then whoever attested. Empty blobs need no fetching."""
        return tuple(Source(blob, (state.sponsor,), state.attested) for blob in blobs if blob.size)

    # --- one outer step

    def _run(self, state: JobState) -> None:
        if self._validator and not self._is_prepared(state):
            return
        if not self._serve_state(state):
            return
        if self._worker:
            self._work(state)
        if self._validator:
            self._validate(state)

    def _serve_state(self, state: JobState) -> bool:
        last = state.steps[-1].voters if state.steps else ()
        if not self._needs.hold(Source(state.state, (), (*last, *state.attested, state.sponsor))):
            return False
        self._needs.publish(state.state)
        return True

    def _work(self, state: JobState) -> None:
        own = next((update for update in state.updates if update.worker == self._peer), None)
        assignment = next((given for given in state.assignments if given.worker == self._peer), None)
        if assignment is None:
            return
        if own is None:
            if state.phase is Phase.WORK:
                self._submit_update(state, assignment)
            return
        if state.phase is not Phase.WORK and self._needs.hold(_delta_source(own)):
            self._needs.publish(own.delta)
        if state.phase is Phase.REVEAL and not own.witness:
            result = self._submission(state, assignment)
            if result is not None and not result.invalid:
                self._needs.submit(RevealWitness(step_ref(state), self._salt(state), result.witness))

    def _submit_update(self, state: JobState, assignment: Assignment) -> None:
        result = self._submission(state, assignment)
        if result is None:
            return
        if result.invalid:
            self._needs.say(Refusal(state.job, f"outer step {state.step} has no update from here: {result.invalid}"))
            return
        commitment = witness_commitment(self._salt(state), result.witness)
        self._needs.submit(SubmitUpdate(step_ref(state), result.delta, result.trace_root, commitment))

    def _submission(self, state: JobState, assignment: Assignment) -> UpdateResult | None:
        manifest = state.manifest
        shard = manifest.data.shards[assignment.shard]
        if not self._needs.hold_all(self._inputs(state, [manifest.step_graph, manifest.optimizer_init, shard.blob])):
            return None
        result = self._needs.result(PrepareUpdate(_execution(state, assignment)))
        return result if isinstance(result, UpdateResult) else None

    def _validate(self, state: JobState) -> None:
        match state.phase:
            case Phase.AVAILABLE:
                self._report(state)
                self._verdicts(state)
            case Phase.AUDIT:
                self._commit(state)
            case Phase.REVEAL:
                self._reveal(state)
            case Phase.ROOT:
                self._vote(state)
            case _:
                pass

    def _report(self, state: JobState) -> None:
        """Report the deltas that lie here once every delta is here or was missed often; the late ones afterwards."""
        held = []
        waiting = False
        delta_bytes = sum(tensor_bytes(spec) for spec in state.manifest.parameters)
        for update in state.updates:
            if update.delta.size != delta_bytes:  # no delta of this job: it is not fetched, so it never counts
                continue
            if self._needs.hold(_delta_source(update)):
                self._needs.publish(update.delta)
                held.append(update)
            waiting = waiting or not self._needs.is_settled(update.delta)
        fresh = [u.worker for u in held if self._peer not in u.holders and u.worker not in self._reported]
        if fresh and not waiting:
            self._reported.update(fresh)
            self._needs.submit(ReportAvailable(step_ref(state), tuple(sorted(fresh))))

    def _commit(self, state: JobState) -> None:
        if any(auditor == self._peer for auditor, _ in state.audit_commitments):
            return
        verdicts = self._verdicts(state)
        if verdicts:
            commitment = verdict_commitment(self._peer, self._nonce(state), verdicts)
            self._needs.submit(CommitVerdicts(step_ref(state), commitment))

    def _reveal(self, state: JobState) -> None:
        committed = any(auditor == self._peer for auditor, _ in state.audit_commitments)
        if not committed or self._peer in state.audit_reveals:
            return
        verdicts = self._verdicts(state)
        if verdicts:
            self._needs.submit(RevealVerdicts(step_ref(state), self._nonce(state), verdicts))

    def _verdicts(self, state: JobState) -> tuple[Verdict, ...]:
        """One verdict for every update under audit, from executing each; empty until all are executed."""
        given = {assignment.worker: assignment for assignment in state.assignments}
        verdicts = []
        audited = [update.worker for update in state.updates if update.accepted is None]
        results = [self._needs.result(_execution(state, given[worker])) for worker in audited]
        for worker, result in zip(audited, results, strict=True):
            if isinstance(result, UpdateResult):
                verdicts.append(Verdict(worker, result.delta.digest, result.trace_root, result.witness))
        return tuple(verdicts) if len(verdicts) == len(audited) else ()

    def _vote(self, state: JobState) -> None:
        if any(vote.validator == self._peer for vote in state.root_votes):
            return
        accepted = [update for update in state.updates if update.accepted]
        if not accepted or not self._needs.hold_all(map(_delta_source, accepted)):
            return
        included = tuple((update.worker, update.delta) for update in accepted)
        result = self._needs.result(Aggregate(step_ref(state), state.manifest, state.state, included))
        if isinstance(result, Refused):
            self._needs.say(Refusal(state.job, result.reason))
        if isinstance(result, Aggregated):
            self._needs.publish(result.state)
            digest = included_digest(included)
            self._needs.submit(VoteRoot(step_ref(state), digest, result.root, result.state, result.metrics))

    # --- small derivations

    def _salt(self, state: JobState) -> bytes:
        return derive_bytes(self._secret, "witness salt", encode(step_ref(state)))

    def _nonce(self, state: JobState) -> bytes:
        return derive_bytes(self._secret, "verdict nonce", encode(step_ref(state)))


def step_ref(state: JobState) -> StepRef:
    """Return the reference that binds an action to the present attempt."""
    return StepRef(state.job, state.step, state.attempt, state.root)


def _delta_source(update: UpdateState) -> Source:
    return Source(update.delta, (update.worker,), update.holders)


def _execution(state: JobState, assignment: Assignment) -> ExecuteUpdate:
    return ExecuteUpdate(step_ref(state), state.manifest, state.state, assignment)
