"""Properties of `apply`: what no sequence of transactions can do."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.errors import InvariantBroken, LocalError
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger import job_table
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, SUPPLY_MAX
from synaptic_mesh.ledger.economics import no_fees
from synaptic_mesh.ledger.events import JobChanged, TransactionApplied
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.jobs import JobStatus
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.signing import VerifiedTransaction, sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import (
    AttestJob,
    CommitVerdicts,
    JoinJob,
    LeaveJob,
    ReportAvailable,
    RevealWitness,
    Stake,
    StepRef,
    SubmitJob,
    SubmitUpdate,
    Transaction,
    Transfer,
    Unstake,
    VoteRoot,
)

RUV = 10**9
GOLDEN = Path(__file__).parent / "golden_job.json"
PEERS = [bytes([letter]) * 32 for letter in range(1, 6)]  # two validators, three accounts; the last is not opened


def small_ledger() -> Ledger:
    """A supply two units below its bound: any wrong sum leaves its range."""
    most = (SUPPLY_MAX - 1_002) // 2
    return Ledger(
        genesis_of(
            PEERS[0],
            "properties",
            [GenesisValidator(PEERS[0], 500), GenesisValidator(PEERS[1], 500)],
            [GenesisAccount(PEERS[0], most), GenesisAccount(PEERS[2], most), GenesisAccount(PEERS[3], 0)],
            economics=no_fees(),
        )
    )


def verified(ledger: Ledger, sender: bytes, nonce: int, action: Any) -> VerifiedTransaction:
    """Without a signature: the ledger trusts the type."""
    identity = sender[:1] + nonce.to_bytes(8, "little", signed=True) + bytes(23)
    return VerifiedTransaction(Transaction(ledger.network, 0, sender, nonce, action), identity)  # type: ignore[arg-type]


AMOUNTS = st.one_of(
    st.integers(-2, 1_000),
    st.sampled_from(
        [SUPPLY_MAX // 2, SUPPLY_MAX, SUPPLY_MAX + 1, AMOUNT_MAX, AMOUNT_MAX + 1, (1 << 64) - 1, -(1 << 63)]
    ),
)
ACTIONS = st.one_of(
    st.builds(Transfer, st.sampled_from([*PEERS, b"short"]), AMOUNTS),
    st.builds(Stake, AMOUNTS),
    st.builds(Unstake, AMOUNTS),
    st.builds(JoinJob, st.binary(max_size=32)),
)
STEPS = st.lists(st.tuples(st.sampled_from(PEERS), st.integers(-1, 1), ACTIONS), max_size=12)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_money_is_conserved_and_a_refused_transaction_changes_only_its_nonce(steps: Any) -> None:
    ledger, supply = small_ledger(), small_ledger().supply()
    for index, (sender, offset, action) in enumerate(steps, 1):
        before = {peer: ledger.account(peer) for peer in PEERS}
        nonce = before[sender].nonce + offset
        (event,) = ledger.apply(OrderedCommit(index, 5, (verified(ledger, sender, nonce, action),)))
        after = {peer: ledger.account(peer) for peer in PEERS}
        assert isinstance(event, TransactionApplied)
        assert ledger.recounted_supply() == ledger.supply() == supply
        assert all(min(account.balance, account.locked, account.unlocked) >= 0 for account in after.values())
        assert ledger.state_root() == ledger.recomputed_state_root()
        if offset or sender not in ledger.accounts():
            assert not event.accepted
            assert after == before
        elif not event.accepted:
            assert after == before | {sender: replace(before[sender], nonce=nonce + 1)}
        else:
            assert after[sender].nonce == nonce + 1


def test_every_order_of_independent_transfers_gives_one_root() -> None:
    roots = set()
    sample = small_ledger()
    transactions = [verified(sample, PEERS[index], 0, Transfer(PEERS[1], 1 + index)) for index in (0, 2)]
    transactions.append(verified(sample, PEERS[1], 0, Unstake(1)))
    for order in permutations(transactions):
        ledger = small_ledger()
        ledger.apply(OrderedCommit(1, 5, order))
        roots.add(ledger.state_root())
    assert len(roots) == 1


def test_replays_gaps_and_strangers_consume_nothing() -> None:
    ledger = small_ledger()
    payment = Transfer(PEERS[3], 1)
    events = ledger.apply(
        OrderedCommit(
            1,
            5,
            (
                verified(ledger, PEERS[0], 0, payment),
                verified(ledger, PEERS[0], 0, payment),
                verified(ledger, PEERS[0], 2, payment),
                verified(ledger, PEERS[4], 0, payment),
                verified(ledger, PEERS[0], 1, payment),
            ),
        )
    )
    assert [event.accepted for event in events if isinstance(event, TransactionApplied)] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert [event.reason for event in events if isinstance(event, TransactionApplied)][1:4] == [
        "nonce 0 of 01010101 is used already, the next is 1",
        "nonce 2 of 01010101 leaves a gap, the next is 1",
        "05050505 has no account: it needs a transfer first",
    ]
    assert ledger.balance(PEERS[3]) == 2
    assert PEERS[4] not in ledger.accounts()


def test_transactions_of_other_networks_and_epochs_consume_nothing() -> None:
    ledger = small_ledger()
    own = verified(ledger, PEERS[0], 0, Transfer(PEERS[3], 1)).transaction
    others = [replace(own, network=bytes(32)), replace(own, epoch=1)]
    events = ledger.apply(OrderedCommit(1, 5, tuple(VerifiedTransaction(each, ledger.network) for each in others)))  # type: ignore[arg-type]
    assert [event.accepted for event in events if isinstance(event, TransactionApplied)] == [False, False]
    assert ledger.account(PEERS[0]).nonce == 0


def test_progress_time_is_capped_and_never_runs_backwards() -> None:
    ledger, seen = small_ledger(), []
    for index, timestamp_ms in enumerate([1_000_000, 1_000_500, 999_000, 1_000_600, 9_000_000], 1):
        ledger.apply(OrderedCommit(index, timestamp_ms, ()))
        seen.append(ledger.progress_ms)
    assert seen == [0, 500, 500, 600, 2_600]


@pytest.mark.parametrize("index", [0, 2])
def test_commits_come_without_gaps(index: int) -> None:
    with pytest.raises(InvariantBroken, match=f"commit {index} does not follow commit 0"):
        small_ledger().apply(OrderedCommit(index, 5, ()))


def test_only_a_reject_fails_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = small_ledger()

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ledger._bank, "transfer", exhausted)
    with pytest.raises(MemoryError):
        ledger.apply(OrderedCommit(1, 5, (verified(ledger, PEERS[0], 0, Transfer(PEERS[1], 1)),)))


def test_money_from_nowhere_stops_the_ledger() -> None:
    ledger = small_ledger()
    ledger._bank.treasury += 1
    with pytest.raises(InvariantBroken, match="supply was"):
        ledger.apply(OrderedCommit(1, 5, ()))


def test_root_covers_time_and_position() -> None:
    ledger, roots = small_ledger(), set()
    for index, timestamp_ms in enumerate([1, 1, 2], 1):
        ledger.apply(OrderedCommit(index, timestamp_ms, ()))
        roots.add(ledger.state_root())
    assert len(roots) == 3


def test_submission_is_checked_before_signing(mesh: Any, make_manifest: Any) -> None:
    mesh.ledger.check_submission(mesh.sponsor.peer_id, make_manifest())
    with pytest.raises(LocalError, match="has a balance of 5 rUv"):
        mesh.ledger.check_submission(mesh.workers[0].peer_id, make_manifest())
    with pytest.raises(LocalError, match="batch is 0"):
        mesh.ledger.check_submission(mesh.sponsor.peer_id, make_manifest(batch=0))


def test_snapshots_are_made_once_and_changes_are_announced(mesh: Any) -> None:
    mesh.start()
    before = mesh.job
    assert mesh.ledger.job(mesh.job_id) is before
    assert mesh.commit() == []
    assert mesh.ledger.job(mesh.job_id) is before
    mesh.send(mesh.workers[0], mesh.update(mesh.workers[0]), Transfer(mesh.sponsor.peer_id, 1))
    events = mesh.commit()
    assert [event.job for event in events if isinstance(event, JobChanged)] == [mesh.job_id]
    assert mesh.job is not before
    assert mesh.ledger.jobs() == (mesh.job,)
    assert mesh.ledger.job(bytes(32)) is None


def test_closed_jobs_are_forgotten_in_the_order_of_their_ends(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_table, "JOBS_CLOSED_MAX", 1)
    ended = []
    for seed in range(2):
        mesh.start(seed=seed)
        mesh.send(mesh.workers[0], LeaveJob(mesh.job_id))
        mesh.do(mesh.workers[1], LeaveJob(mesh.job_id))
        assert mesh.job.status is JobStatus.ABORTED
        ended.append(mesh.job_id)
    assert [job.job for job in mesh.ledger.jobs()] == ended[1:]
    assert mesh.submit(seed=0) == ""  # forgotten, so it may be submitted again


def test_replicas_agree_commit_by_commit(make_mesh: Any) -> None:
    first, second = make_mesh(), make_mesh()
    for one in (first, second):
        one.start()
        one.outer_step({0: "delta"})
        one.wait(12_000)
    assert first.ledger.state_root() == second.ledger.state_root()
    assert first.events == second.events


# Random lives of a job


DIGESTS = st.sampled_from([bytes(32), bytes([255]) * 32])


@st.composite
def job_action(draw: Any, mesh: Any) -> tuple[KeyPair, Any]:
    """Somebody does something: often what is asked for, sometimes anything at all."""
    sender = draw(st.sampled_from([*mesh.validators, *mesh.workers, mesh.sponsor]))
    job = mesh.job
    ref = StepRef(job.job, job.step, draw(st.sampled_from([job.attempt, 0])), job.root)
    worker = draw(st.sampled_from([pair.peer_id for pair in mesh.workers]))
    digest = draw(DIGESTS)
    mine = mesh.assignment(sender) is not None
    honest: list[Any] = [mesh.vote("")]
    if mine:
        honest.append(mesh.update(sender, draw(st.sampled_from(["", "", "delta", "witness"]))))
        honest.append(RevealWitness(ref, mesh.salt(sender), mesh.truth(sender.peer_id).witness))
    if sender in mesh.validators and job.updates and all(mesh.known(update.worker) for update in job.updates):
        honest.append(mesh.commitment(sender))
        honest.append(mesh.verdicts(sender))
        honest.append(ReportAvailable(ref, tuple(update.worker for update in job.updates)))
    anything = [
        AttestJob(job.job),
        JoinJob(job.job),
        LeaveJob(job.job),
        CommitVerdicts(ref, digest),
        ReportAvailable(ref, (worker,)),
        SubmitUpdate(ref, job.state, digest, digest),
        RevealWitness(ref, digest, digest),
        VoteRoot(ref, digest, digest, job.state, ()),
        SubmitJob(job.manifest),
        Stake(RUV),
        Unstake(draw(st.integers(1, 60)) * RUV),
    ]
    return sender, draw(st.sampled_from(honest * 4 + anything))


@pytest.mark.slow
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_life_of_a_job_makes_or_loses_money(make_mesh: Any, data: Any) -> None:
    mesh = make_mesh(workers=2)
    mesh.start(attempts_max=2)
    for _ in range(data.draw(st.integers(1, 40))):
        sender, action = data.draw(job_action(mesh))
        before, nonce = mesh.job, mesh.ledger.account(sender.peer_id).nonce
        reason = mesh.do(sender, action)  # checks supply and root
        assert mesh.ledger.account(sender.peer_id).nonce == nonce + 1
        if reason:
            assert mesh.job is before
        mesh.wait(data.draw(st.sampled_from([0, 0, 0, 500, 4_000])))
    mesh.wait(2 * 5 * (10_000 + 4_000 + 6_000 + 6_000 + 4_000))
    assert not mesh.job.pending_pay
    assert not mesh.job.escrow
    assert sum(mesh.ledger.account(pair.peer_id).locked for pair in mesh.workers) == 0
    paid = sum(amount for _, amount in mesh.job.paid)
    assert paid <= 12 * RUV
    free = sum(mesh.ledger.account(pair.peer_id).unlocked for pair in [*mesh.workers, *mesh.validators])
    assert free >= 0


# Golden


def golden_events(mesh: Any) -> Any:
    """A job with a liar, a lost attempt and an absent auditor, as JSON."""
    mesh.start()
    mesh.outer_step({0: "delta"})
    mesh.wait(10_000)
    mesh.work()
    mesh.report(absent=[2])
    mesh.audit(absent=[3])
    mesh.wait(500)
    mesh.reveal(absent=[3])
    mesh.vote_all(absent=[0])
    mesh.wait(2_000)
    lines = [msgspec.to_builtins(event, builtin_types=(bytes,)) for event in mesh.events]
    return json.loads(json.dumps({"events": lines, "state_root": mesh.ledger.state_root()}, default=bytes.hex))


def test_golden_job(mesh: Any) -> None:
    """The whole event list of one small job. A difference means that networks of before and after would fork.

    To accept one on purpose: delete the file, run this test twice, and raise the protocol version.
    """
    found = golden_events(mesh)
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
        pytest.fail(f"{GOLDEN.name} was missing and has been written")
    assert found == json.loads(GOLDEN.read_text())


def test_signed_bytes_drive_a_ledger_from_end_to_end() -> None:
    alice, validator = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
    ledger = Ledger(
        genesis_of(
            bytes(32),
            "x",
            [GenesisValidator(validator.peer_id, 1)],
            [GenesisAccount(alice.peer_id, 9)],
            economics=no_fees(),
        )
    )
    data = sign_transaction(alice, Transaction(ledger.network, 0, alice.peer_id, 0, Transfer(validator.peer_id, 4)))
    (event,) = ledger.apply(OrderedCommit(1, 5, (verify_transaction_untrusted(data, ledger.network, 0),)))
    assert isinstance(event, TransactionApplied)
    assert event.accepted
    assert (ledger.balance(alice.peer_id), ledger.balance(validator.peer_id)) == (5, 4)
