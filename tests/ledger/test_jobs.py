"""The life of a job, phase by phase, through committed transactions."""

from typing import Any

import pytest
from msgspec.structs import replace

from synaptic_mesh.ledger.events import (
    AttemptFailed,
    FeeCharged,
    JobFinished,
    Paid,
    Slashed,
    StepCommitted,
    UpdateDropped,
    WorkerRemoved,
)
from synaptic_mesh.ledger.jobs import JobStatus, Phase
from synaptic_mesh.ledger.transactions import (
    AttestJob,
    CommitVerdicts,
    JoinJob,
    LeaveJob,
    ReportAvailable,
    RevealWitness,
    StepRef,
    SubmitJob,
    Unstake,
)

RUV = 10**9
STAKE, REWARD, FEE = 10 * RUV, 2 * RUV, RUV
ESCROW = 2 * (REWARD + FEE) * 2


def test_honest_job_pays_vests_and_refunds(mesh: Any) -> None:
    mesh.start()
    assert (mesh.job.status, mesh.job.phase, mesh.job.escrow) == (JobStatus.RUNNING, Phase.WORK, ESCROW)
    mesh.outer_step()
    assert (mesh.job.step, mesh.job.pending_pay, mesh.job.paid) == (1, 2 * (REWARD + FEE), ())
    mesh.outer_step()
    assert mesh.job.status is JobStatus.VESTING
    mesh.wait(2_000)
    assert (mesh.job.status, mesh.job.escrow, mesh.job.pending_pay) == (JobStatus.FINISHED, 0, 0)
    for pair in mesh.workers:
        assert mesh.ledger.balance(pair.peer_id) == 5 * RUV + 2 * REWARD
        assert mesh.ledger.account(pair.peer_id).locked == 0
    for pair in mesh.validators:  # two updates a step, two steps, four auditors
        assert mesh.ledger.balance(pair.peer_id) == RUV + 2 * 2 * FEE // 4
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 1_000 * RUV - ESCROW
    first, second = mesh.job.steps
    assert (first.step, second.step, second.root_before, second.root) == (0, 1, first.root, mesh.job.root)
    assert first.metrics == (9, 10, 0x3E000000)
    assert [worker for worker, _ in first.included] == [pair.peer_id for pair in mesh.workers]


def test_each_phase_follows_as_soon_as_everybody_has_acted(mesh: Any) -> None:
    mesh.start()
    phases = [mesh.job.phase]
    for act in (mesh.work, mesh.report, mesh.audit, mesh.reveal, mesh.vote_all):
        act()
        phases.append(mesh.job.phase)
    assert phases == [Phase.WORK, Phase.AVAILABLE, Phase.AUDIT, Phase.REVEAL, Phase.ROOT, Phase.WORK]


def test_assignments_are_distinct_and_change_with_every_attempt(mesh: Any) -> None:
    mesh.start()
    before = mesh.job.assignments
    assert [each.worker for each in before] == [pair.peer_id for pair in mesh.workers]
    assert len({each.shard for each in before}) == len({each.order_seed for each in before}) == 2
    mesh.wait(10_000)
    assert mesh.job.attempt == 1
    assert {each.order_seed for each in before}.isdisjoint(each.order_seed for each in mesh.job.assignments)


# Enrolling


def test_job_starts_with_few_workers_only_after_the_enrolment_time(mesh: Any) -> None:
    mesh.submit()
    mesh.enrol(mesh.workers[:1])
    assert mesh.job.status is JobStatus.ENROLLING
    mesh.wait(4_900)
    assert mesh.job.status is JobStatus.ENROLLING
    mesh.wait(100)
    assert mesh.job.status is JobStatus.RUNNING


@pytest.mark.parametrize(("attesting", "status"), [(1, JobStatus.ENROLLING), (2, JobStatus.RUNNING)])
def test_job_needs_more_than_f_stake_that_attests(mesh: Any, attesting: int, status: JobStatus) -> None:
    mesh.submit()
    for pair in mesh.validators[:attesting]:
        mesh.do(pair, AttestJob(mesh.job_id))
    for pair in mesh.workers:
        mesh.do(pair, JoinJob(mesh.job_id))
    assert mesh.job.status is status


def test_job_nobody_attests_aborts_and_refunds(mesh: Any) -> None:
    mesh.submit()
    for pair in mesh.workers:
        mesh.do(pair, JoinJob(mesh.job_id))
    mesh.wait(9_900)
    assert mesh.job.status is JobStatus.ENROLLING
    mesh.wait(100)
    assert mesh.job.status is JobStatus.ABORTED
    assert mesh.job.abort_reason == (
        "2 of at least 1 workers joined and 0 of 133.333333334 rUv of stake attested within 10000 ms"
    )
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 1_000 * RUV
    assert [event.refunded for event in mesh.seen(JobFinished)] == [ESCROW]


def test_job_nobody_joins_aborts(mesh: Any) -> None:
    mesh.submit()
    mesh.enrol([])
    mesh.wait(10_000)
    assert mesh.job.status is JobStatus.ABORTED
    assert "0 of at least 1 workers joined" in mesh.job.abort_reason


def test_refusals_while_enrolling(make_mesh: Any) -> None:
    mesh = make_mesh(workers=3)
    mesh.submit()
    worker, validator = mesh.workers[0], mesh.validators[0]
    assert "is not a validator" in mesh.do(worker, AttestJob(mesh.job_id))
    assert mesh.do(validator, AttestJob(mesh.job_id)) == ""
    assert "has attested" in mesh.do(validator, AttestJob(mesh.job_id))
    assert mesh.do(worker, JoinJob(mesh.job_id)) == ""
    assert "has joined" in mesh.do(worker, JoinJob(mesh.job_id))
    assert "10 rUv of unlocked stake, but" in mesh.do(mesh.sponsor, JoinJob(mesh.job_id))
    assert mesh.do(mesh.workers[1], JoinJob(mesh.job_id)) == ""
    assert "has its 2 workers already" in mesh.do(mesh.workers[2], JoinJob(mesh.job_id))
    assert "is unknown" in mesh.do(worker, JoinJob(bytes(32)))
    assert "is not a worker" in mesh.do(mesh.workers[2], LeaveJob(mesh.job_id))
    assert mesh.do(worker, LeaveJob(mesh.job_id)) == ""
    assert mesh.job.workers == (mesh.workers[1].peer_id,)


def test_submission_names_what_is_wrong(mesh: Any, make_manifest: Any) -> None:
    assert "up to 1200 rUv, but its sponsor has a balance of 1000 rUv" in mesh.submit(reward_per_update=299 * RUV)
    assert mesh.ledger.job(mesh.job_id) is None
    assert mesh.submit() == ""
    assert "exists already" in mesh.do(mesh.sponsor, SubmitJob(make_manifest()))
    for seed in range(100, 115):
        assert mesh.submit(seed=seed, reward_per_update=0, audit_fee_per_update=0) == ""
    assert "has 16 open jobs" in mesh.submit(seed=1, reward_per_update=0, audit_fee_per_update=0)


# WORK


def test_one_worker_of_two_absent_is_waited_for_until_the_deadline(mesh: Any) -> None:
    mesh.start()
    mesh.work(absent=[1])
    mesh.wait(9_900)
    assert mesh.job.phase is Phase.WORK
    mesh.wait(100)
    assert mesh.job.phase is Phase.AVAILABLE
    assert mesh.ledger.account(mesh.workers[1].peer_id).locked == 0
    assert mesh.ledger.account(mesh.workers[0].peer_id).locked == STAKE


def test_nine_of_ten_updates_leave_only_the_grace_period(make_mesh: Any) -> None:
    mesh = make_mesh(workers=10)
    mesh.start(workers_max=8, reward_per_update=0, audit_fee_per_update=0)
    assert len(mesh.job.assignments) == 8
    mesh.work(absent=[0])
    assert mesh.job.phase_deadline_ms > mesh.ledger.progress_ms + 5_000  # 7 of 8 are under 90 %
    other = make_mesh(workers=10)
    shards = other_shards(other)
    other.start(workers_max=10, reward_per_update=0, audit_fee_per_update=0, data=shards)
    other.work(absent=[0])
    assert other.job.phase_deadline_ms == other.ledger.progress_ms + 500
    other.wait(500)
    assert other.job.phase is Phase.AVAILABLE


def other_shards(mesh: Any) -> Any:

    assert mesh.submit(seed=99) == ""
    data = mesh.job.manifest.data
    return replace(data, shards=data.shards * 2)


def test_three_missed_assignments_in_a_row_cost_a_fee_and_the_place(mesh: Any) -> None:
    mesh.start(attempts_max=9, outer_steps=5)
    for step in range(3):
        assert len(mesh.job.assignments) == 2, step
        mesh.work(absent=[1])
        mesh.wait(10_000)
        mesh.report()
        mesh.audit()
        mesh.reveal()
        mesh.vote_all()
    assert mesh.job.workers == (mesh.workers[0].peer_id,)
    assert [(event.worker, event.amount) for event in mesh.seen(FeeCharged)] == [
        (mesh.workers[1].peer_id, STAKE // 100)
    ]
    assert mesh.ledger.treasury == STAKE // 100
    assert mesh.ledger.account(mesh.workers[1].peer_id).stake == 50 * RUV - STAKE // 100


def test_an_accepted_update_forgives_missed_ones(mesh: Any) -> None:
    mesh.start(attempts_max=9, outer_steps=6)
    for absent in ([1], [1], [], [1], [1]):
        mesh.work(absent=absent)
        mesh.wait(10_000 if absent else 0)
        mesh.report()
        mesh.audit()
        mesh.reveal()
        mesh.vote_all()
    assert len(mesh.job.workers) == 2
    assert mesh.job.step == 5


def test_without_any_update_attempts_run_out_and_the_sponsor_is_refunded(mesh: Any) -> None:
    mesh.start(attempts_max=2)
    mesh.wait(10_000)
    assert (mesh.job.step, mesh.job.attempt, mesh.job.phase) == (0, 1, Phase.WORK)
    mesh.wait(10_000)
    assert mesh.job.status is JobStatus.ABORTED
    assert mesh.job.abort_reason == ("outer step 0 failed 2 times, the last time because no worker submitted an update")
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 1_000 * RUV
    assert all(mesh.ledger.account(pair.peer_id).locked == 0 for pair in mesh.workers)


def test_job_without_workers_left_aborts(mesh: Any) -> None:
    mesh.start()
    for pair in mesh.workers:
        mesh.send(pair, LeaveJob(mesh.job_id))
    mesh.commit()
    assert mesh.job.status is JobStatus.ABORTED
    assert mesh.job.abort_reason == "no worker is left for outer step 0"


def test_a_leaver_is_not_waited_for_but_its_submitted_update_is_judged(mesh: Any) -> None:
    mesh.start()
    mesh.send(mesh.workers[0], mesh.update(mesh.workers[0], "delta"), LeaveJob(mesh.job_id))
    mesh.send(mesh.workers[1], mesh.update(mesh.workers[1]))
    mesh.commit()
    mesh.report()
    mesh.audit()
    mesh.reveal()
    assert [caught.worker for caught in mesh.job.caught] == [mesh.workers[0].peer_id]
    mesh.vote_all()
    mesh.do(mesh.workers[1], LeaveJob(mesh.job_id))
    assert mesh.job.status is JobStatus.ABORTED
    assert mesh.job.pending_pay > 0
    mesh.wait(1_000)
    assert mesh.job.pending_pay == 0
    assert mesh.ledger.balance(mesh.workers[1].peer_id) == 5 * RUV + REWARD


def test_a_leaver_can_submit_nothing_more(mesh: Any) -> None:
    mesh.start()
    update = mesh.update(mesh.workers[0])
    assert mesh.do(mesh.workers[0], LeaveJob(mesh.job_id)) == ""
    assert "has no assignment" in mesh.do(mesh.workers[0], update)


def test_stake_that_is_gone_when_a_step_opens_removes_the_worker(mesh: Any) -> None:
    mesh.start()
    assert "40 rUv of unlocked stake" in mesh.do(mesh.workers[0], Unstake(45 * RUV))
    assert mesh.do(mesh.workers[0], Unstake(40 * RUV)) == ""
    mesh.work()
    mesh.report()
    mesh.audit()
    mesh.reveal()  # judged: unlocked
    assert mesh.do(mesh.workers[0], Unstake(RUV)) == ""
    mesh.vote_all()
    assert [each.worker for each in mesh.job.assignments] == [mesh.workers[1].peer_id]
    assert "less than 10 rUv" in mesh.seen(WorkerRemoved)[0].reason


def test_updates_of_others_and_second_updates_are_refused(make_mesh: Any) -> None:
    mesh = make_mesh(workers=3)
    mesh.start()
    update = mesh.update(mesh.workers[0])
    assert "has no assignment" in mesh.do(mesh.workers[2], update)
    assert mesh.do(mesh.workers[0], update) == ""
    assert "already" in mesh.do(mesh.workers[0], update)
    for ref in (
        StepRef(mesh.job_id, 1, 0, mesh.job.root),
        StepRef(mesh.job_id, 0, 1, mesh.job.root),
        StepRef(mesh.job_id, 0, 0, bytes(32)),
    ):
        assert "the job is at step 0, attempt 0" in mesh.do(mesh.workers[1], replace(update, ref=ref))


# AVAILABLE


def test_an_update_nobody_can_fetch_is_dropped_for_a_fee(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report(without=[mesh.workers[0]])
    assert mesh.job.phase is Phase.AVAILABLE
    assert "reports nothing new" in mesh.do(mesh.validators[0], ReportAvailable(mesh.ref, (mesh.workers[1].peer_id,)))
    mesh.do(mesh.validators[0], ReportAvailable(mesh.ref, tuple(pair.peer_id for pair in mesh.workers)))
    mesh.wait(4_000)
    assert mesh.job.phase is Phase.AUDIT
    assert [update.worker for update in mesh.job.updates] == [mesh.workers[1].peer_id]
    assert [(event.worker, event.amount) for event in mesh.seen(FeeCharged)] == [
        (mesh.workers[0].peer_id, STAKE // 100)
    ]
    assert mesh.ledger.account(mesh.workers[0].peer_id).locked == 0
    mesh.audit()
    mesh.reveal()
    mesh.vote_all()
    assert mesh.job.step == 1
    assert len(mesh.job.assignments) == 2


def test_an_update_more_than_f_holds_counts_at_the_deadline(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report(absent=[2, 3])
    assert mesh.job.phase is Phase.AVAILABLE
    mesh.wait(4_000)
    assert mesh.job.phase is Phase.AUDIT
    assert len(mesh.job.updates) == 2


def test_a_quorum_that_holds_everything_ends_the_phase(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report(absent=[0])
    assert mesh.job.phase is Phase.AUDIT


def test_no_available_update_means_a_new_attempt(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.wait(4_000)
    assert (mesh.job.attempt, mesh.job.phase, mesh.job.updates) == (1, Phase.WORK, ())
    assert len(mesh.seen(UpdateDropped)) == 2


# AUDIT and REVEAL


def test_a_missing_auditor_costs_only_the_grace_period(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report()
    mesh.audit(absent=[3])
    assert mesh.job.phase is Phase.AUDIT
    mesh.wait(500)
    assert mesh.job.phase is Phase.REVEAL
    assert "has not committed" in mesh.do(mesh.validators[3], mesh.verdicts(mesh.validators[3]))
    mesh.reveal(absent=[3])
    assert mesh.job.phase is Phase.ROOT


def test_without_a_quorum_of_auditors_a_new_attempt_opens(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report()
    mesh.audit(absent=[2, 3])
    mesh.wait(6_000)
    assert (mesh.job.attempt, mesh.job.phase) == (1, Phase.WORK)
    assert mesh.seen(AttemptFailed)[0].reason == "no quorum of validators committed verdicts"


@pytest.mark.parametrize("lie", ["delta", "trace", "witness"])
def test_a_liar_is_caught_slashed_and_removed(mesh: Any, lie: str) -> None:
    mesh.start()
    mesh.work({0: lie})
    mesh.report()
    mesh.audit()
    mesh.reveal({0: lie})
    liar, honest = (pair.peer_id for pair in mesh.workers)
    assert [update.accepted for update in mesh.job.updates] == [False, True]
    (caught,) = mesh.job.caught
    assert (caught.worker, caught.step, caught.attempt, caught.slashed) == (liar, 0, 0, STAKE)
    assert caught.caught_by == tuple(pair.peer_id for pair in mesh.validators)
    assert mesh.job.workers == (honest,)
    account = mesh.ledger.account(liar)
    assert (account.stake, account.locked, account.balance) == (50 * RUV - STAKE, 0, 5 * RUV)
    assert all(mesh.ledger.balance(pair.peer_id) == RUV + STAKE // 2 // 4 for pair in mesh.validators)
    assert mesh.ledger.treasury == STAKE // 2
    mesh.vote_all()
    assert [worker for worker, _ in mesh.job.steps[0].included] == [honest]
    mesh.outer_step()
    mesh.wait(2_000)
    assert mesh.job.status is JobStatus.FINISHED
    assert dict(mesh.job.paid).get(liar) is None
    assert dict(mesh.job.paid)[honest] == 2 * REWARD
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 1_000 * RUV - 2 * (REWARD + FEE)
    assert lie in mesh.seen(Slashed)[0].reason


def test_a_worker_silent_on_its_witness_pays_a_fee_and_earns_nothing(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report()
    mesh.audit()
    mesh.reveal(silent=[0])
    assert mesh.job.phase is Phase.REVEAL
    mesh.wait(500)
    assert mesh.job.phase is Phase.ROOT
    assert [update.accepted for update in mesh.job.updates] == [False, True]
    assert mesh.job.caught == ()
    assert [event.amount for event in mesh.seen(FeeCharged)] == [STAKE // 100]
    mesh.vote_all()
    assert len(mesh.job.workers) == 2


def test_auditors_that_disagree_drop_the_update_and_slash_nobody(mesh: Any) -> None:
    mesh.start()
    mesh.work({0: "delta"})
    mesh.report()
    mesh.audit(wrong=[2, 3])
    mesh.reveal(wrong=[2, 3])
    assert (mesh.job.attempt, mesh.job.phase, mesh.job.caught) == (1, Phase.WORK, ())
    assert mesh.ledger.treasury == 0
    assert {event.reason for event in mesh.seen(UpdateDropped)} == {"no quorum of auditors obtained equal results"}
    assert all(mesh.ledger.account(pair.peer_id).stake == 50 * RUV for pair in mesh.workers)


def test_a_lazy_auditor_earns_nothing(mesh: Any) -> None:
    mesh.start(outer_steps=1)
    mesh.work()
    mesh.report()
    mesh.audit(wrong=[1])
    mesh.reveal(wrong=[1])
    mesh.vote_all()
    mesh.wait(2_000)
    paid = dict(mesh.job.paid)
    assert mesh.validators[1].peer_id not in paid
    share = FEE // 3
    assert paid[mesh.validators[0].peer_id] == 2 * share
    refund = 2 * (FEE - 3 * share)  # what does not divide goes back
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 1_000 * RUV - 2 * (REWARD + FEE) + refund


def test_auditors_that_never_reveal_lead_to_a_new_attempt(mesh: Any) -> None:
    mesh.start()
    mesh.work()
    mesh.report()
    mesh.audit()
    mesh.reveal(absent=[0, 1])
    assert mesh.job.phase is Phase.REVEAL
    mesh.wait(6_000)
    assert (mesh.job.attempt, mesh.job.phase) == (1, Phase.WORK)


def test_openings_must_match_commitments(mesh: Any) -> None:

    mesh.start()
    mesh.work()
    mesh.report()
    auditor, worker = mesh.validators[0], mesh.workers[0]
    assert mesh.do(auditor, CommitVerdicts(mesh.ref, bytes(32))) == ""
    assert "already" in mesh.do(auditor, CommitVerdicts(mesh.ref, bytes(32)))
    assert "is not a validator" in mesh.do(worker, CommitVerdicts(mesh.ref, bytes(32)))
    early = RevealWitness(mesh.ref, mesh.salt(worker), mesh.truth(worker.peer_id).witness)
    assert "is in phase audit, this belongs to reveal" in mesh.do(worker, early)
    mesh.audit(absent=[0])
    assert "do not open its commitment" in mesh.do(auditor, mesh.verdicts(auditor))
    honest = mesh.verdicts(mesh.validators[1])
    for verdicts in (honest.verdicts[:1], honest.verdicts[::-1], honest.verdicts + honest.verdicts[1:]):
        assert "do not cover the 2 available updates" in mesh.do(mesh.validators[1], replace(honest, verdicts=verdicts))
    assert "do not open its commitment" in mesh.do(mesh.validators[2], honest)  # copied from another auditor
    assert "does not open" in mesh.do(worker, RevealWitness(mesh.ref, bytes(32), bytes(32)))
    assert "has no available update" in mesh.do(mesh.sponsor, early)
    assert mesh.do(worker, early) == ""
    assert "already" in mesh.do(worker, early)


# ROOT


def test_three_of_four_equal_votes_commit(mesh: Any) -> None:
    mesh.start()
    for act in (mesh.work, mesh.report, mesh.audit, mesh.reveal):
        act()
    mesh.send(mesh.validators[0], mesh.vote("another"))
    mesh.vote_all(absent=[0, 3])
    assert mesh.job.phase is Phase.ROOT
    assert mesh.do(mesh.validators[3], mesh.vote()) == ""
    (step,) = mesh.job.steps
    assert step.voters == tuple(pair.peer_id for pair in mesh.validators[1:])


def test_votes_that_cannot_reach_a_quorum_open_a_new_attempt_at_once(mesh: Any) -> None:
    mesh.start()
    for act in (mesh.work, mesh.report, mesh.audit, mesh.reveal):
        act()
    root = mesh.job.root
    for index, pair in enumerate(mesh.validators[:2]):
        mesh.do(pair, mesh.vote(str(index)))
        assert mesh.job.phase is Phase.ROOT
    mesh.do(mesh.validators[2], mesh.vote("2"))
    assert (mesh.job.attempt, mesh.job.phase, mesh.job.root) == (1, Phase.WORK, root)
    assert mesh.job.pending_pay == 0


def test_votes_that_do_not_come_open_a_new_attempt_at_the_deadline(mesh: Any) -> None:
    mesh.start()
    for act in (mesh.work, mesh.report, mesh.audit, mesh.reveal):
        act()
    mesh.vote_all(absent=[0, 1])
    mesh.wait(4_000)
    assert (mesh.job.attempt, mesh.job.phase) == (1, Phase.WORK)
    assert mesh.seen(StepCommitted) == []
    mesh.outer_step()
    assert (mesh.job.step, mesh.job.attempt, mesh.job.steps[0].attempt) == (1, 0, 1)


def test_a_vote_over_another_set_is_refused(mesh: Any) -> None:

    mesh.start()
    for act in (mesh.work, mesh.report, mesh.audit, mesh.reveal):
        act()
    vote = mesh.vote()
    assert "the vote is over updates" in mesh.do(mesh.validators[0], replace(vote, included=bytes(32)))
    assert "metrics" in mesh.do(mesh.validators[0], replace(vote, metrics=(-1,)))
    assert "is not a validator" in mesh.do(mesh.workers[0], vote)
    assert mesh.do(mesh.validators[0], vote) == ""
    assert "already" in mesh.do(mesh.validators[0], vote)


# Vesting


def test_pay_waits_for_steps_and_for_time(mesh: Any) -> None:
    mesh.start(outer_steps=3, challenge_steps=1, challenge_ms=1_000)
    mesh.outer_step()
    mesh.wait(5_000)
    assert mesh.seen(Paid) == []  # no further step yet
    mesh.outer_step()
    assert {event.step for event in mesh.seen(Paid)} == {0}
    mesh.outer_step()
    assert {event.step for event in mesh.seen(Paid)} == {0}  # time has not passed
    mesh.wait(1_000)
    assert {event.step for event in mesh.seen(Paid)} == {0, 1, 2}
    assert mesh.job.status is JobStatus.FINISHED


# Committees of other shapes


def test_a_network_of_one_trains_alone_and_may_be_unaudited(make_mesh: Any) -> None:
    mesh = make_mesh(validators=1, workers=0)
    mesh.workers = mesh.validators
    mesh.start(workers_max=1, audit_rate_ppm=0)
    for _ in range(2):
        mesh.work()
        mesh.report()
        assert mesh.job.phase is Phase.ROOT
        mesh.vote_all()
    mesh.wait(2_000)
    assert mesh.job.status is JobStatus.FINISHED
    assert mesh.ledger.balance(mesh.validators[0].peer_id) == RUV + 2 * REWARD


def test_a_network_of_one_can_audit_itself(make_mesh: Any) -> None:
    mesh = make_mesh(validators=1, workers=0)
    mesh.workers = mesh.validators
    mesh.start(workers_max=1)
    mesh.outer_step()
    mesh.outer_step()
    mesh.wait(2_000)
    assert mesh.ledger.balance(mesh.validators[0].peer_id) == RUV + 2 * (REWARD + FEE)


def test_unaudited_jobs_are_refused_where_others_vote(mesh: Any) -> None:
    assert "audit_rate_ppm is 0" in mesh.submit(audit_rate_ppm=0)


def test_a_validator_that_works_and_lies_shares_nothing_of_its_slash(make_mesh: Any) -> None:
    mesh = make_mesh(workers=0)
    mesh.workers = mesh.validators[:2]
    mesh.start()
    mesh.outer_step({0: "trace"})
    (caught,) = mesh.job.caught
    assert caught.caught_by == tuple(pair.peer_id for pair in mesh.validators[1:])
    liar = mesh.ledger.account(mesh.validators[0].peer_id)
    assert (liar.balance, liar.stake, liar.locked) == (RUV, 140 * RUV, 100 * RUV)  # voting stake is untouched
    assert mesh.ledger.treasury == STAKE - 3 * (STAKE // 2 // 3)


def test_quorum_is_counted_in_stake(make_mesh: Any) -> None:
    mesh = make_mesh(stakes=[7 * RUV, RUV, RUV, RUV])  # q = 2 * 10 // 3 + 1 units above 6.67 rUv
    mesh.start()
    mesh.work()
    mesh.report(absent=[1, 2, 3])
    assert mesh.job.phase is Phase.AUDIT


def test_a_lying_auditor_and_a_slow_one_cannot_fail_every_attempt(mesh: Any) -> None:
    """V0 commits to invented verdicts, so V1 and V2 make the quorum that starts the grace period, and V3 misses it."""
    mesh.start()
    for attempt in (0, 1):
        assert mesh.job.attempt == attempt
        mesh.work()
        mesh.report()
        mesh.audit(absent=[3], wrong=[0])
        mesh.wait(1_000)
        mesh.reveal(absent=[3], wrong=[0])
        assert mesh.job.phase is Phase.WORK
    mesh.work()
    mesh.report()
    mesh.audit(absent=[3], wrong=[0])
    mesh.wait(1_000)
    mesh.send(mesh.validators[3], mesh.commitment(mesh.validators[3]))
    mesh.commit()
    mesh.reveal(absent=[3], wrong=[0])
    mesh.wait(1_000)
    mesh.send(mesh.validators[3], mesh.verdicts(mesh.validators[3]))
    mesh.commit()
    mesh.vote_all()
    assert (mesh.job.step, mesh.job.attempt) == (1, 0)
    assert not mesh.seen(Slashed)
