"""Whole jobs in memory: real ledgers, the reference backend, blobs that are pulled only when published."""

import numpy as np
import pytest
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.collab.messages import BlobFetched, BlobMissing, Failed, FetchBlob, JobChanged
from synaptic_mesh.ledger.events import Slashed, TransactionApplied, UpdateDropped
from synaptic_mesh.ledger.jobs import JobStatus, Phase
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.transactions import ReportAvailable, SubmitUpdate


def refused(mesh):
    return [event.reason for event in mesh.events if isinstance(event, TransactionApplied) and not event.accepted]


def included(state):
    return [[worker for worker, _ in step.included] for step in state.steps]


def test_four_peers_finish_a_job(make_mesh):
    mesh = make_mesh()
    state = mesh.run()
    everybody = sorted(peer.key.peer_id for peer in mesh.peers)
    assert state.status is JobStatus.FINISHED
    assert included(state) == [everybody, everybody]
    assert refused(mesh) == []
    assert not state.caught
    assert all(step.metrics[1] == mesh.manifest.data.test.rows for step in state.steps)
    assert len({peer.ledger.state_root() for peer in mesh.peers}) == 1
    assert all(state.state.digest in peer.published for peer in mesh.peers)


def test_a_mesh_of_one_without_audit(make_job, make_mesh):
    mesh = make_mesh(job=make_job(workers=1, audit_rate_ppm=0), validators=1)
    state = mesh.run()
    assert state.status is JobStatus.FINISHED
    assert included(state) == [[mesh.peers[0].key.peer_id]] * 2
    assert "ExecuteUpdate" not in mesh.peers[0].executed[:2]


def test_a_worker_without_a_vote_takes_part(make_mesh):
    mesh = make_mesh(workers=1)
    state = mesh.run()
    follower = mesh.peers[4]
    assert all(follower.key.peer_id in workers for workers in included(state))
    assert set(follower.executed) == {"PrepareUpdate"}
    assert dict(state.paid)[follower.key.peer_id] > 0
    assert refused(mesh) == []


def test_everybody_executes_an_assignment_once(make_mesh):
    """Own work, audit and a second request after the phase has moved on are one execution."""
    mesh = make_mesh(terms={"outer_steps": 1})
    mesh.run()
    for peer in mesh.peers:
        assert peer.executed.count("PrepareJob") == 1
        assert peer.executed.count("PrepareUpdate") == 1
        assert peer.executed.count("ExecuteUpdate") == 4
        assert len(peer.shell._updates) == 4


# --- liars


def edited(result, delta, edit):
    blob = edit(np.frombuffer(delta, "<f4")).astype("<f4").tobytes()
    return replace(result, delta=BlobRef(blob_digest(blob), len(blob))), blob


class Scaled:
    """A false delta under an honest trace and witness."""

    def choose_submission(self, _task, result, delta):
        return edited(result, delta, lambda values: values * 1e4)


class SignFlipped:
    def choose_submission(self, _task, result, delta):
        return edited(result, delta, np.negative)


class OneBit:
    """The smallest lie: one unit in the last place of one value."""

    def choose_submission(self, _task, result, delta):
        def nudge(values):
            values = values.copy()
            values[0] = np.nextafter(values[0], np.float32(9))
            return values

        return edited(result, delta, nudge)


class FalseTrace:
    def choose_submission(self, _task, result, delta):
        return replace(result, trace_root=bytes(32)), delta


class FalseWitness:
    """Copied delta and trace: the claim of somebody who did not compute."""

    def choose_submission(self, _task, result, delta):
        return replace(result, witness=bytes(32)), delta


class DeltaOfAnotherSize:
    def choose_submission(self, _task, result, delta):
        blob = delta + bytes(4)
        return replace(result, delta=BlobRef(blob_digest(blob), len(blob))), blob


@pytest.mark.parametrize("liar", [Scaled, SignFlipped, OneBit, FalseTrace, FalseWitness])
@pytest.mark.parametrize("position", [0, 4])
def test_a_liar_is_caught_at_once_and_loses_its_stake(make_mesh, liar, position):
    """Position 0 is a validator that lies in its own work, 4 a worker without a vote."""
    mesh = make_mesh(workers=1, strategies={position: liar()})
    state = mesh.run()
    culprit = mesh.peers[position].key.peer_id
    assert [(caught.worker, caught.step) for caught in state.caught] == [(culprit, 0)]
    assert state.caught[0].slashed == mesh.manifest.economy.stake_per_update
    assert sorted({peer.key.peer_id for peer in mesh.peers[:4]} - {culprit}) == list(state.caught[0].caught_by)
    assert any(isinstance(event, Slashed) for event in mesh.events)
    assert not any(culprit in workers for workers in included(state))
    assert [len(workers) for workers in included(state)] == [4, 4]
    assert mesh.peers[0].ledger.recounted_supply() == mesh.peers[0].ledger.supply()
    assert refused(mesh) == []


def test_a_lie_changes_nothing_for_the_others(make_mesh):
    """The roots with a liar are those of a mesh in which it never submitted."""
    lying = make_mesh(workers=1, strategies={4: Scaled()}, terms={"outer_steps": 1}).run()
    silent = make_mesh(workers=1, terms={"outer_steps": 1})
    silent.peers[4].participant._worker = True
    silent.run(lambda state: len(state.workers) > 4)
    silent.peers[4].down = True
    assert silent.run().steps[0].root == lying.steps[0].root


def test_a_delta_of_another_size_is_never_fetched(make_mesh):
    mesh = make_mesh(workers=1, strategies={4: DeltaOfAnotherSize()}, terms={"outer_steps": 1})
    state = mesh.run()
    assert state.status is JobStatus.FINISHED
    assert not state.caught
    dropped = [event.reason for event in mesh.events if isinstance(event, UpdateDropped)]
    assert dropped == ["the delta was committed to but never available"]


# --- sealing


def test_deltas_stay_sealed_until_the_step_has_closed(make_mesh):
    mesh = make_mesh()
    deltas = set()
    sealed_seen = 0
    while mesh.state().status in (JobStatus.ENROLLING, JobStatus.RUNNING):
        state = mesh.state()
        deltas |= {update.delta.digest for update in state.updates}
        pending = {
            action.delta.digest for peer in mesh.peers for action in peer.pending if isinstance(action, SubmitUpdate)
        }
        if state.status is JobStatus.RUNNING and state.phase is Phase.WORK:
            sealed = pending | {update.delta.digest for update in state.updates}
            sealed_seen += len(sealed)
            assert not any(sealed & peer.published for peer in mesh.peers)
        mesh.commit()
    assert sealed_seen >= 8
    assert deltas <= set().union(*(peer.published for peer in mesh.peers))


def test_nonces_and_salts_are_not_shared_and_differ_by_step(make_mesh):
    mesh = make_mesh()
    state = mesh.state()
    first, second = (peer.participant for peer in mesh.peers[:2])
    later = replace(state, attempt=1)
    values = [first._salt(state), first._nonce(state), second._salt(state), first._salt(later), first._nonce(later)]
    assert len(set(values)) == len(values)


def test_deltas_stay_sealed_while_others_still_work(make_mesh):
    """One worker never submits, so the step stays open after the other updates are on the ledger."""
    mesh = make_mesh(workers=1)
    mesh.run(lambda state: state.status is JobStatus.RUNNING)
    mesh.peers[4].down = True
    mesh.run(lambda state: len(state.updates) == 4)
    deltas = {update.delta.digest for update in mesh.state().updates}
    open_commits = 0
    while mesh.state().phase is Phase.WORK:
        open_commits += 1
        assert not any(deltas & peer.published for peer in mesh.peers)
        mesh.commit()
    assert open_commits > 3
    assert all(deltas & peer.published for peer in mesh.peers[:4])


def test_deltas_are_reported_in_one_transaction(make_mesh):
    """Even though the first peers look before the others have unsealed."""
    mesh = make_mesh()
    mesh.run()
    assert sum(isinstance(action, ReportAvailable) for action in mesh.submitted) == 8


# --- restarts, outages, missing blobs


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("index", [0, 4])
def test_a_restart_in_any_phase_changes_nothing(make_mesh, phase, index):
    """Restarted at every commit that leaves the job in this phase, a peer still does all of its part."""
    undisturbed = make_mesh(workers=1).run()
    mesh = make_mesh(workers=1)
    while mesh.state().status in (JobStatus.ENROLLING, JobStatus.RUNNING):
        mesh.commit()
        if mesh.state().status is JobStatus.RUNNING and mesh.state().phase is phase:
            mesh.peers[index].pending.clear()
            mesh.restart(index)
    assert [step.root for step in mesh.state().steps] == [step.root for step in undisturbed.steps]
    assert included(mesh.state()) == included(undisturbed)
    assert not mesh.state().caught
    assert [step.attempt for step in mesh.state().steps] == [0, 0]


def test_a_restart_repeats_what_was_submitted_before(make_mesh):
    """What is under way when the process dies may still be ordered, so the second submission must equal the first."""
    mesh = make_mesh(workers=1)
    while mesh.state().status in (JobStatus.ENROLLING, JobStatus.RUNNING):
        for index in range(5):
            peer = mesh.peers[index]
            under_way = list(peer.pending)
            peer.pending.clear()
            mesh.restart(index)
            again = mesh.peers[index].pending
            if sorted(map(encode, again)) != sorted(map(encode, under_way)):  # more deltas may lie here by now
                assert {type(action) for action in (*again, *under_way)} == {ReportAvailable}
                parts = [worker for action in under_way for worker in action.workers]
                assert set(parts) <= {worker for action in again for worker in action.workers}
        mesh.commit()
    assert len(mesh.state().steps) == 2


def test_a_restart_repeats_nothing_that_is_on_the_ledger(make_mesh):
    """Peer 0 is always ahead of the others, so the phase is still open when it starts again."""
    mesh = make_mesh()
    done = set()
    while mesh.state().status in (JobStatus.ENROLLING, JobStatus.RUNNING):
        done |= {encode(action) for action in mesh.peers[0].pending}
        mesh.commit(only=0)
        mesh.peers[0].pending.clear()
        mesh.restart(0)
        assert not done & {encode(action) for action in mesh.peers[0].pending}
        done |= {encode(action) for action in mesh.peers[0].pending}
        mesh.commit()
    assert len(done) == 2 + 2 * 6
    assert refused(mesh) == []


def test_a_restart_while_enrolling(make_mesh):
    mesh = make_mesh()
    mesh.peers[0].pending.clear()
    mesh.restart(0)
    assert mesh.run().status is JobStatus.FINISHED


def test_one_validator_down_does_not_stop_the_job(make_mesh):
    mesh = make_mesh(workers=1)
    mesh.run(lambda state: state.status is JobStatus.RUNNING)
    mesh.peers[3].down = True
    state = mesh.run()
    assert state.status is JobStatus.FINISHED
    assert all(len(workers) == 4 for workers in included(state))


def test_a_delta_that_nobody_serves_is_left_out(make_mesh):
    mesh = make_mesh(terms={"outer_steps": 1})
    mesh.run(lambda state: state.status is JobStatus.RUNNING)
    delta = next(action.delta for action in mesh.peers[2].pending if isinstance(action, SubmitUpdate))
    mesh.withheld.add(delta.digest)
    del mesh.peers[2].blobs[delta.digest]  # the worker's disk lost it
    state = mesh.run()
    assert state.status is JobStatus.FINISHED
    assert mesh.peers[2].key.peer_id not in included(state)[0]
    assert len(included(state)[0]) == 3


def test_a_blob_that_appears_late_is_still_used(make_job, make_mesh):
    job = make_job()
    mesh = make_mesh(job=job, withheld={job[0].data.shards[0].blob.digest})
    for _ in range(5):
        mesh.commit()
    assert mesh.state().status is JobStatus.ENROLLING
    assert not mesh.state().attested
    mesh.withheld.clear()
    assert mesh.run().status is JobStatus.FINISHED


# --- jobs that are not in order


def test_an_update_that_diverges_is_not_submitted(make_job, make_mesh):
    mesh = make_mesh(job=make_job(task="regress", learning_rate=1e18, inner_steps=6))
    state = mesh.run()
    assert state.status is JobStatus.ABORTED
    assert not state.caught
    assert any("has no update from here" in reason for reason in mesh.peers[0].refusals)


def test_claiming_to_have_completed_a_diverging_update_is_a_proved_lie(make_job, make_mesh):
    class Inventive:
        def choose_submission(self, task, result, _delta):
            blob = bytes(sum(4 * int(np.prod(spec.shape)) for spec in task.manifest.parameters))
            return replace(result, delta=BlobRef(blob_digest(blob), len(blob)), invalid=""), blob

    mesh = make_mesh(job=make_job(task="regress", learning_rate=1e18, inner_steps=6), strategies={2: Inventive()})
    state = mesh.run()
    assert [caught.worker for caught in state.caught] == [mesh.peers[2].key.peer_id]


@pytest.mark.parametrize("broken", ["root", "seed", "graph"])
def test_a_job_that_is_not_in_order_is_attested_by_nobody(make_job, make_mesh, broken):
    manifest, blobs = make_job()
    if broken == "root":
        manifest = replace(manifest, initial_root=bytes(32))
        named = "initial root"
    elif broken == "seed":
        manifest = replace(manifest, seed=8)
        named = "seed 8"
    else:
        manifest = replace(manifest, step_graph=manifest.predict_graph)
        named = "step graph has inputs"
    mesh = make_mesh(job=(manifest, blobs))
    state = mesh.run()
    assert state.status is JobStatus.ABORTED
    assert not state.attested
    for peer in mesh.peers:
        assert len(peer.refusals) == 1
        assert named in peer.refusals[0]


def test_stale_and_foreign_events_change_nothing(make_mesh):
    mesh = make_mesh()
    mesh.run(lambda state: state.status is JobStatus.RUNNING)
    peer = mesh.peers[0]
    heard = list(peer.events)
    peer.pending.clear()
    for event in heard:
        if not isinstance(event, JobChanged):
            assert peer.participant.handle(event, mesh.now_ms) == []
    assert peer.participant.handle_deadline(0) == []


def test_answers_for_other_jobs_cost_no_look(make_mesh, monkeypatch):
    """Every participant of a node hears every answer: with many jobs of many shards, looking each time is quadratic."""
    mesh = make_mesh()
    participant = mesh.peers[0].participant
    monkeypatch.setattr(participant, "_look", lambda _now_ms: pytest.fail("it looked"))
    for event in (BlobFetched(bytes(32)), BlobMissing(bytes(32)), Failed(bytes(32), "disk")):
        assert participant.handle(event, 0) == []


def test_a_worker_that_never_answers_for_its_delta_harms_itself_alone(make_mesh, monkeypatch):
    """Neither giving nor refusing it, for longer than the phase: the others' updates were dropped, with a fee."""
    mesh = make_mesh(workers=1, terms={"outer_steps": 1})
    silent = mesh.peers[4].key.peer_id
    answer = mesh.carry_out

    def carry_out(peer, effect):
        hangs = isinstance(effect, FetchBlob) and silent in effect.holders and effect.blob.digest not in peer.blobs
        return None if hangs else answer(peer, effect)

    monkeypatch.setattr(mesh, "carry_out", carry_out)
    state = mesh.run()
    honest = sorted(peer.key.peer_id for peer in mesh.peers[:4])
    assert included(state) == [honest]
    assert [event.worker for event in mesh.events if isinstance(event, UpdateDropped)] == [silent]


def test_a_participant_does_not_grow_with_the_steps_of_its_job(make_mesh):
    mesh = make_mesh(terms={"outer_steps": 9})

    def sizes(step):
        mesh.run(until=lambda state: state.step == step and state.phase is Phase.WORK)
        needs = [vars(peer.participant._needs) for peer in mesh.peers]
        return [{name: len(value) for name, value in one.items() if hasattr(value, "__len__")} for one in needs]

    assert sizes(3) == sizes(8)
