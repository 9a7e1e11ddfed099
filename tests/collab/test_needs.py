import pytest

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.collab.messages import (
    BlobFetched,
    BlobMissing,
    CancelCompute,
    Compute,
    Computed,
    Failed,
    FetchBlob,
    JobPrepared,
    PrepareJob,
    PublishBlob,
    Refusal,
    SubmitAction,
    task_key,
)
from synaptic_mesh.collab.needs import Needs, Pace, Source
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.transactions import AttestJob, JoinJob

A, B, C = (BlobRef(bytes([i]) * 32, 10) for i in range(3))
ME = PeerId(b"me" * 16)
HOLDERS = (b"h" * 32,)


@pytest.fixture
def tasks(make_job):
    manifest, _ = make_job()
    return [PrepareJob(bytes([i]) * 32, manifest) for i in range(3)]


def look(needs, now_ms=0, blobs=(), tasks=(), actions=()):
    needs.begin(now_ms)
    for blob in blobs:
        needs.hold(Source(blob, HOLDERS, ()))
    for task in tasks:
        needs.result(task)
    for action in actions:
        needs.submit(action)
    return needs.finish()


def test_a_blob_is_asked_for_once_until_it_lies_here():
    needs = Needs(ME, Pace())
    assert look(needs, blobs=[A]) == [FetchBlob(A, HOLDERS)]
    assert look(needs, blobs=[A]) == []
    needs.note(BlobFetched(A.digest), 0)
    needs.begin(0)
    assert needs.hold(Source(A, HOLDERS, ()))
    assert needs.finish() == []


def test_a_blob_that_was_not_wanted_for_a_look_is_asked_for_again():
    """It may have been dropped from the store meanwhile."""
    needs = Needs(ME, Pace())
    look(needs, blobs=[A])
    needs.note(BlobFetched(A.digest), 0)
    assert look(needs) == []
    assert look(needs, blobs=[A]) == [FetchBlob(A, HOLDERS)]


def test_a_missing_blob_is_asked_for_after_a_pause_that_doubles():
    needs = Needs(ME, Pace(fetch_retry_ms=50, fetch_retry_ms_max=150, settled_ms=10_000))
    look(needs, blobs=[A])
    for misses, (now_ms, due_ms) in enumerate([(0, 50), (50, 150), (150, 300), (300, 450)]):
        assert needs.is_settled(A) == (misses >= 3)
        needs.note(BlobMissing(A.digest), now_ms)
        assert needs.deadline_ms() == due_ms
        assert look(needs, due_ms - 1, blobs=[A]) == []
        assert look(needs, due_ms, blobs=[A]) == [FetchBlob(A, HOLDERS)]
        assert needs.deadline_ms() == 10_000


def test_fetches_in_flight_are_bounded_in_the_order_of_asking():
    needs = Needs(ME, Pace(fetches_max=2))
    assert look(needs, blobs=[B, A, C]) == [FetchBlob(B, HOLDERS), FetchBlob(A, HOLDERS)]
    needs.note(BlobFetched(A.digest), 0)
    assert look(needs, blobs=[B, A, C]) == [FetchBlob(C, HOLDERS)]


def test_a_silent_holder_keeps_no_place_and_no_report():
    """Its fetch ends only at the transport's time-out: until then eight such held up every other blob."""
    needs = Needs(ME, Pace(fetches_max=2, settled_ms=100))
    assert look(needs, 0, blobs=[A, B, C]) == [FetchBlob(A, HOLDERS), FetchBlob(B, HOLDERS)]
    assert needs.deadline_ms() == 100
    assert not needs.is_settled(A)
    assert look(needs, 99, blobs=[A, B, C]) == []
    assert look(needs, 100, blobs=[A, B, C]) == [FetchBlob(C, HOLDERS)]
    assert needs.is_settled(A)
    assert not needs.is_settled(C)
    assert needs.deadline_ms() == 200
    assert look(needs, 200, blobs=[A, B, C]) == []
    assert needs.deadline_ms() is None
    assert needs.note(BlobFetched(A.digest), 250)
    assert look(needs, 250, blobs=[A, B, C]) == []


def test_one_task_at_a_time_and_a_result_is_kept(tasks):
    needs = Needs(ME, Pace())
    first, second = (task_key(task) for task in tasks[:2])
    assert look(needs, tasks=tasks) == [Compute(first, tasks[0])]
    assert look(needs, tasks=tasks) == []
    needs.note(Computed(first, JobPrepared()), 0)
    assert look(needs, tasks=tasks) == [Compute(second, tasks[1])]
    needs.begin(0)
    assert needs.result(tasks[0]) == JobPrepared()


def test_an_unwanted_task_is_cancelled_and_makes_room_at_once(tasks):
    needs = Needs(ME, Pace())
    look(needs, tasks=tasks[:1])
    first, second = (task_key(task) for task in tasks[:2])
    assert look(needs, tasks=tasks[1:2]) == [CancelCompute(first), Compute(second, tasks[1])]
    needs.note(Computed(first, JobPrepared()), 0)
    needs.begin(0)
    assert needs.result(tasks[0]) is None


def test_a_failed_task_is_tried_again_later(tasks):
    needs = Needs(ME, Pace(compute_retry_ms=100))
    look(needs, tasks=tasks[:1])
    needs.note(Failed(task_key(tasks[0]), "no memory"), 7)
    assert needs.deadline_ms() == 107
    assert look(needs, 106, tasks=tasks[:1]) == []
    assert look(needs, 107, tasks=tasks[:1]) == [Compute(task_key(tasks[0]), tasks[0])]


def test_answers_that_nobody_waits_for_change_nothing():
    needs = Needs(ME, Pace())
    for event in (
        BlobFetched(A.digest),
        BlobMissing(A.digest),
        Failed(bytes(32), ""),
        Computed(bytes(32), JobPrepared()),
    ):
        needs.note(event, 0)
    assert needs.deadline_ms() is None
    assert look(needs, blobs=[A]) == [FetchBlob(A, HOLDERS)]


def test_actions_publications_and_notes_come_once_while_they_are_wanted():
    needs = Needs(ME, Pace())
    join, attest = JoinJob(bytes(32)), AttestJob(bytes(32))
    assert look(needs, actions=[join]) == [SubmitAction(join)]
    assert look(needs, actions=[join, attest]) == [SubmitAction(attest)]
    assert look(needs) == []
    assert look(needs, actions=[join]) == [SubmitAction(join)]
    for expected in ([PublishBlob(A.digest), Refusal(bytes(32), "no")], []):
        needs.begin(0)
        needs.publish(A)
        needs.say(Refusal(bytes(32), "no"))
        assert needs.finish() == expected


def test_forgetting_results_keeps_the_one_that_outlives_an_outer_step(tasks):
    needs = Needs(ME, Pace(computes_max=2))
    look(needs, tasks=tasks[:2])
    for task in tasks[:2]:
        needs.note(Computed(task_key(task), JobPrepared()), 0)
    needs.forget_results(keep=task_key(tasks[0]))
    assert look(needs, tasks=tasks[:2]) == [Compute(task_key(tasks[1]), tasks[1])]


def test_holders_are_the_first_ones_then_the_others_in_an_order_of_our_own():
    orders = set()
    for asker in range(20):
        me = PeerId(bytes([asker]) * 32)
        others = tuple(bytes([i]) * 32 for i in range(20, 24))
        needs = Needs(me, Pace())
        needs.begin(0)
        needs.hold(Source(A, (others[2], me), (me, *others)))
        [fetch] = needs.finish()
        assert fetch.holders[0] == others[2]
        assert sorted(fetch.holders) == list(others)
        orders.add(fetch.holders)
    assert len(orders) > 3
