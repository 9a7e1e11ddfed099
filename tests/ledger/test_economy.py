"""What no sequence of transactions can do to the money, with every rule of the economy switched on."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.ledger import execution
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, SUPPLY_MAX
from synaptic_mesh.ledger.economics import Economics, no_fees
from synaptic_mesh.ledger.equivocation import Judge, no_judge
from synaptic_mesh.ledger.events import EquivocationPunished, LedgerEvent, RewardsPaid, TransactionApplied, Unbonded
from synaptic_mesh.ledger.fees import fee_of
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.signing import VerifiedTransaction
from synaptic_mesh.ledger.transactions import (
    EVIDENCE_BYTES_MAX,
    AttestJob,
    JoinJob,
    ReportEquivocation,
    Stake,
    SubmitJob,
    Transaction,
    Transfer,
    TransferMany,
    Unstake,
)
from synaptic_mesh.ledger.transfers import AMOUNT_BYTES, pack_transfers

PEERS = [bytes([letter]) * 32 for letter in range(1, 8)]
FIRST, SECOND, RICH, POOR, STAKED, EMPTY, UNKNOWN = PEERS  # two validators, four accounts, one that is not open
STAKES = {FIRST: 1_001, SECOND: 500}
RULES = Economics(
    fee_flat=7,
    fee_per_record=3,
    fee_open_account=11,
    fee_open_job=50,
    fee_burn_ppm=100_001,
    reward_commits=3,
    inflation_ppb=1_000,
    unbonding_commits=4,
    equivocation_slash_ppm=333_333,
    reporter_reward_ppm=250_000,
)

QUIET = replace(RULES, reward_commits=1 << 30, unbonding_commits=1 << 30)
"""Nothing moves by itself."""


def name_of_the_guilty(evidence: bytes) -> PeerId:
    """Stands for consensus: evidence is the name of who signed two blocks."""
    if len(evidence) != 32:
        raise PeerError(f"evidence of {len(evidence)} bytes")
    return PeerId(evidence)


def small_ledger(
    economics: Economics = RULES, judge: Judge = name_of_the_guilty, *, one_by_one: bool = False
) -> Ledger:
    """Money is a million units below its bound, all but a few of them in one account."""
    accounts = [
        GenesisAccount(SECOND, 40, 100),
        GenesisAccount(RICH, SUPPLY_MAX - 1_000_000),
        GenesisAccount(POOR, 20),
        GenesisAccount(STAKED, 0, 1_000),
        GenesisAccount(EMPTY, 0),
    ]
    validators = [GenesisValidator(peer, stake) for peer, stake in STAKES.items()]
    genesis = genesis_of(bytes(32), "economy", validators, accounts, economics=economics)
    return Ledger(genesis, judge, one_by_one=one_by_one)


def signed(ledger: Ledger, sender: bytes, nonce: int, action: Any) -> VerifiedTransaction:
    """Without a signature: the ledger trusts the type."""
    return VerifiedTransaction(Transaction(ledger.network, 0, sender, nonce, action), Digest(bytes(32)))


def in_order(ledger: Ledger, *asked: tuple[bytes, Any]) -> tuple[VerifiedTransaction, ...]:
    """Give (sender, action) the sender's next nonces."""
    nonces = {sender: ledger.account(sender).nonce for sender, _ in asked}
    transactions = []
    for sender, action in asked:
        transactions.append(signed(ledger, sender, nonces[sender], action))
        nonces[sender] += 1
    return tuple(transactions)


def commit(ledger: Ledger, *asked: tuple[bytes, Any]) -> list[LedgerEvent]:
    """Apply (sender, action) in order, in a commit with blocks of both validators."""
    return ledger.apply(OrderedCommit(ledger.commit_index + 1, 5, in_order(ledger, *asked), (SECOND, FIRST)))


def do(ledger: Ledger, sender: bytes, action: Any) -> TransactionApplied:
    """Apply one transaction in a commit of its own."""
    found = [event for event in commit(ledger, (sender, action)) if isinstance(event, TransactionApplied)]
    return found[0]


def snapshot(ledger: Ledger) -> dict[bytes, Account]:
    return {peer: ledger.account(peer) for peer in ledger.accounts()}


@pytest.fixture(autouse=True)
def always_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "BATCH_RECORDS_MIN", 1)


# Random lives

AMOUNTS = st.one_of(
    st.integers(0, 1_200),
    st.sampled_from([SUPPLY_MAX - 1_000_000, SUPPLY_MAX, 1 << 62, AMOUNT_MAX, 1 << 63, (1 << 64) - 1]),
)
PEER = st.sampled_from(PEERS)


@st.composite
def batches(draw: Any) -> TransferMany:
    pairs = draw(st.lists(st.tuples(PEER, AMOUNTS), min_size=1, max_size=5))
    return TransferMany(b"".join(peer + amount.to_bytes(AMOUNT_BYTES, "little") for peer, amount in pairs))


ACTIONS = st.one_of(
    st.builds(Transfer, PEER, AMOUNTS),
    batches(),
    st.builds(Stake, AMOUNTS),
    st.builds(Unstake, AMOUNTS),
    st.builds(ReportEquivocation, st.one_of(PEER, st.just(b""))),
    st.builds(AttestJob, st.just(bytes(32))),
    st.builds(JoinJob, st.just(bytes(32))),
)
LIVES = st.lists(st.lists(st.tuples(PEER, ACTIONS), max_size=5), max_size=12)


def check_money(ledger: Ledger, before: int, events: list[LedgerEvent]) -> None:
    """The supply has changed by exactly what the events say, and nobody owes."""
    paid = [event for event in events if isinstance(event, RewardsPaid)]
    assert ledger.supply() == ledger.recounted_supply() <= SUPPLY_MAX
    assert ledger.supply() == before + sum(event.minted - event.burned for event in paid)
    assert ledger.state_root() == ledger.recomputed_state_root()
    for account in snapshot(ledger).values():
        assert min(account.balance, account.locked, account.unlocked, account.unbonding, account.nonce) >= 0
    assert min(ledger.treasury, ledger.collected) >= 0


def check_life(life: Any) -> None:
    ledger, other = small_ledger(), small_ledger(one_by_one=True)
    for asked in life:
        before = ledger.supply()
        events = commit(ledger, *asked)
        check_money(ledger, before, events)
        assert commit(other, *asked) == events
        assert other.state_root() == ledger.state_root()


@given(LIVES)
@settings(max_examples=200, deadline=None)
def test_money_is_explained_at_every_commit_and_replicas_agree(life: Any) -> None:
    check_life(life)


@pytest.mark.long
@given(LIVES)
@settings(max_examples=5_000, deadline=None)
def test_money_is_explained_in_thousands_of_lives(life: Any) -> None:
    check_life(life)


@given(LIVES)
@settings(max_examples=200, deadline=None)
def test_a_failing_transaction_costs_its_fee_and_nonce_and_nothing_else(life: Any) -> None:
    ledger = small_ledger(QUIET)
    for sender, action in (each for asked in life for each in asked):
        before, collected, treasury = snapshot(ledger), ledger.collected, ledger.treasury
        event = do(ledger, sender, action)
        if event.accepted:
            continue
        if sender not in before:
            assert (snapshot(ledger), ledger.collected, event.fee) == (before, collected, 0)
            continue
        old, new = before.pop(sender), ledger.account(sender)
        assert new.nonce == old.nonce + 1
        assert (old.balance - new.balance) + (old.stake - new.stake) == event.fee
        assert (new.locked, new.unbonding, new.release) == (old.locked, old.unbonding, old.release)
        assert event.fee == min(fee_of(RULES, action) or RULES.fee_flat, old.balance + old.unlocked)
        after = snapshot(ledger)
        del after[sender]
        assert (after, ledger.collected, ledger.treasury) == (before, collected + event.fee, treasury)


@given(LIVES)
@settings(max_examples=60, deadline=None)
def test_what_ran_once_never_runs_again(life: Any) -> None:
    ledger = small_ledger(QUIET)
    sent: list[VerifiedTransaction] = []
    for asked in life:
        sent += in_order(ledger, *asked)
        commit(ledger, *asked)
    ran = [each for each in sent if each.transaction.nonce < ledger.account(each.transaction.sender).nonce]
    before = (snapshot(ledger), ledger.collected, ledger.treasury)
    events = ledger.apply(OrderedCommit(ledger.commit_index + 1, 5, tuple(ran)))
    assert (snapshot(ledger), ledger.collected, ledger.treasury) == before
    assert len(events) == len(ran)
    assert not any(event.accepted or event.fee for event in events if isinstance(event, TransactionApplied))


# Fees


def test_a_fee_that_the_balance_lacks_comes_from_free_stake() -> None:
    ledger = small_ledger()
    event = do(ledger, STAKED, Unstake(100))
    assert (event.accepted, event.fee) == (True, 7)
    account = ledger.account(STAKED)
    assert (account.stake, account.unbonding, account.balance) == (993, 100, 0)


def test_voting_stake_pays_no_fees() -> None:
    ledger = small_ledger()
    event = do(ledger, FIRST, Transfer(RICH, 1))
    assert (event.reason, event.fee) == ("the fee is 0.00000001 rUv, 01010101 had 0 rUv left", 0)
    assert ledger.account(FIRST) == Account(0, 1_001, 1_001, 1)


def test_what_a_job_asks_for_costs_only_who_is_refused() -> None:
    ledger = small_ledger()
    assert do(ledger, SECOND, AttestJob(bytes(32))).fee == 7
    assert do(ledger, POOR, JoinJob(bytes(32))).fee == 7
    assert fee_of(RULES, AttestJob(bytes(32))) == 0


def test_opening_fees_come_out_of_the_balance_too() -> None:
    ledger = small_ledger()
    opening = TransferMany(pack_transfers([(UNKNOWN, 1), (bytes(32), 1), (UNKNOWN, 1)]))  # 7 + 3 x 3 + 2 x 11 + 3 = 41
    assert do(ledger, RICH, Transfer(POOR, 20)).accepted
    event = do(ledger, POOR, opening)
    assert (event.reason, event.fee) == (
        "0.000000025 rUv needed, but 04040404 has a balance of 0.000000024 rUv",
        16,
    )
    assert UNKNOWN not in ledger.accounts()
    commit(ledger, (RICH, Transfer(POOR, 17)))
    assert do(ledger, POOR, opening).fee == 38
    assert (ledger.balance(POOR), ledger.balance(UNKNOWN)) == (0, 2)


def test_a_job_costs_its_fee_beside_its_escrow(make_mesh: Any, make_manifest: Any) -> None:
    mesh = make_mesh(economics=Economics())
    manifest = make_manifest()
    mesh.do(mesh.sponsor, SubmitJob(manifest))
    (event,) = mesh.seen(TransactionApplied)
    fee = fee_of(Economics(), SubmitJob(manifest)) + 100_000_000
    escrow = mesh.ledger.jobs()[0].escrow
    assert (event.accepted, event.fee) == (True, fee)
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 1_000 * 10**9 - escrow - fee
    mesh.do(mesh.sponsor, SubmitJob(manifest))  # the same again is refused, and pays for its place alone
    assert mesh.seen(TransactionApplied)[-1].fee == fee - 100_000_000


def test_a_sponsor_that_cannot_pay_for_opening_the_job_opens_none(make_mesh: Any, make_manifest: Any) -> None:
    manifest = make_manifest()
    static = fee_of(Economics(), SubmitJob(manifest))
    mesh = make_mesh(economics=Economics(fee_open_job=1_000 * 10**9 - 12 * 10**9 - static + 1))  # the escrow is 12 rUv
    with pytest.raises(LocalError, match="costs a fee of"):
        mesh.ledger.check_submission(mesh.sponsor.peer_id, manifest)
    assert "can pay up to 12 rUv and costs a fee of 987.99" in mesh.do(mesh.sponsor, SubmitJob(manifest))
    mesh = make_mesh(economics=Economics(fee_open_job=1_000 * 10**9 - 12 * 10**9 - static))
    mesh.ledger.check_submission(mesh.sponsor.peer_id, manifest)
    assert mesh.do(mesh.sponsor, SubmitJob(manifest)) == ""
    assert mesh.ledger.balance(mesh.sponsor.peer_id) == 0


def test_a_whole_job_runs_with_the_fees_of_a_new_genesis(make_mesh: Any) -> None:
    mesh = make_mesh(economics=Economics(reward_commits=10))
    mesh.start()
    mesh.outer_step({0: "delta"})
    mesh.wait(12_000)
    assert mesh.ledger.supply() == mesh.ledger.recounted_supply()
    shares = [event.shares for event in mesh.seen(RewardsPaid)]
    assert shares
    assert [amount for _, amount in shares[0]] == [shares[0][0][1]] * 4  # equal stakes


def test_objections_are_the_reasons_of_the_ledger() -> None:
    ledger = small_ledger()
    cases = [
        (UNKNOWN, Transfer(RICH, 1), "07070707 has no account: it needs a transfer first"),
        (EMPTY, AttestJob(bytes(32)), "06060606 has neither balance nor stake: nothing pays for its transactions"),
        (FIRST, Transfer(RICH, 1), "the fee is 0.00000001 rUv, 01010101 has 0 rUv"),
        (FIRST, AttestJob(bytes(32)), ""),
        (POOR, Transfer(RICH, 11), "0.000000021 rUv needed, but 04040404 has a balance of 0.00000002 rUv"),
        (POOR, Transfer(RICH, 10), ""),
        (POOR, TransferMany(pack_transfers([(RICH, 4), (RICH, 4)])), "0.000000021 rUv needed, but 04040404"),
        (POOR, TransferMany(pack_transfers([(RICH, 3), (RICH, 4)])), ""),
    ]
    for sender, action, reason in cases:
        found = ledger.objection(sender, action)
        assert found.startswith(reason)
        assert bool(found) == bool(reason)
        if sender is POOR:
            assert do(small_ledger(), sender, action).accepted is not bool(reason)


# Rewards


def test_validators_are_paid_by_stake_and_the_rest_is_kept() -> None:
    ledger = small_ledger(replace(RULES, inflation_ppb=0, fee_burn_ppm=0))
    commit(ledger, (RICH, Transfer(POOR, 1)))
    commit(ledger, (RICH, Transfer(POOR, 1)))
    *_, paid = commit(ledger)
    assert paid == RewardsPaid(3, 0, 0, ((FIRST, 20 * 1_001 // 1_501), (SECOND, 20 * 500 // 1_501)))
    assert ledger.collected == 20 - 13 - 6
    assert commit(ledger) == commit(ledger) == commit(ledger) == []  # one unit does not divide


def test_a_silent_validator_earns_nothing() -> None:
    ledger, other = small_ledger(), small_ledger()
    for index, authors in enumerate([(SECOND,), (), (SECOND, SECOND)], 1):
        transactions = in_order(ledger, (RICH, Transfer(POOR, 1)))
        events = ledger.apply(OrderedCommit(index, 5, transactions, authors))
        other.apply(OrderedCommit(index, 5, transactions, (FIRST, SECOND) if index == 1 else ()))
        assert ledger.state_root() != other.state_root()
        assert ledger.state_root() == ledger.recomputed_state_root()
    paid = events[-1]
    assert isinstance(paid, RewardsPaid)
    assert paid.shares == ((SECOND, 30 - paid.burned + paid.minted),)
    assert ledger.collected == 0


def test_blocks_count_until_the_next_payment() -> None:
    ledger = small_ledger(replace(RULES, inflation_ppb=0, fee_burn_ppm=0, reward_commits=1))
    shares = []
    for index, author in enumerate([FIRST, SECOND], 1):
        transactions = in_order(ledger, (RICH, Transfer(POOR, 1)))
        events = ledger.apply(OrderedCommit(index, 5, transactions, (author,)))
        shares += [event.shares for event in events if isinstance(event, RewardsPaid)]
    assert shares == [((FIRST, 10),), ((SECOND, 10),)]


def test_without_blocks_nobody_is_paid_and_all_is_kept() -> None:
    ledger = small_ledger(replace(RULES, inflation_ppb=0, fee_burn_ppm=0, reward_commits=1))
    ledger.apply(OrderedCommit(1, 5, in_order(ledger, (RICH, Transfer(POOR, 1)))))
    assert ledger.collected == 10
    *_, paid = commit(ledger)
    assert paid == RewardsPaid(2, 0, 0, ((FIRST, 6), (SECOND, 3)))


def test_nothing_is_minted_beyond_the_cap() -> None:
    supply = small_ledger().supply()
    rules = replace(RULES, fee_burn_ppm=0, reward_commits=1, inflation_ppb=10, supply_cap=supply + 1_000)
    ledger = small_ledger(rules)
    (event,) = commit(ledger)
    assert isinstance(event, RewardsPaid)
    assert (event.minted, ledger.supply(), ledger.minted) == (1_000, supply + 1_000, 1_000)
    assert commit(ledger) == []


# Unbonding


def test_further_unbonding_starts_the_time_anew() -> None:
    ledger = small_ledger(replace(no_fees(), unbonding_commits=3))
    commit(ledger, (STAKED, Unstake(100)))
    commit(ledger, (SECOND, Unstake(10)))
    commit(ledger, (STAKED, Unstake(1)))
    assert ledger.account(STAKED).release == 6
    assert commit(ledger) == []
    assert commit(ledger) == [Unbonded(SECOND, 10)]
    assert commit(ledger) == [Unbonded(STAKED, 101)]
    assert ledger.account(STAKED) == Account(101, 899, 0, 2)


def test_unbonding_stake_is_of_no_use() -> None:
    ledger = small_ledger(replace(no_fees(), unbonding_commits=3))
    commit(ledger, (STAKED, Unstake(990)))
    assert do(ledger, STAKED, Unstake(11)).reason.startswith("0.000000011 rUv to unstake, but 05050505 has 0.00000001")
    assert ledger.account(STAKED).unlocked == 10


def test_several_are_released_in_the_order_of_their_ids() -> None:
    ledger = small_ledger(replace(no_fees(), unbonding_commits=1))
    commit(ledger, (STAKED, Unstake(2)), (SECOND, Unstake(1)))
    assert commit(ledger) == [Unbonded(SECOND, 1), Unbonded(STAKED, 2)]


# Equivocation


def test_two_blocks_in_a_slot_cost_stake_once_an_epoch() -> None:
    ledger = small_ledger(replace(RULES, inflation_ppb=0, fee_burn_ppm=0))
    commit(ledger, (SECOND, Unstake(10)))
    (punished, _) = commit(ledger, (RICH, ReportEquivocation(SECOND)))
    slashed = 500 * 333_333 // 10**6 + 10 * 333_333 // 10**6
    assert punished == EquivocationPunished(SECOND, RICH, slashed, slashed // 4)
    assert ledger.treasury == slashed - slashed // 4
    account = ledger.account(SECOND)
    assert (account.locked, account.unbonding) == (500 - 166, 7)
    again = do(ledger, POOR, ReportEquivocation(SECOND))
    assert again.reason == "validator 02020202 is punished already in epoch 0"
    busy = [commit(ledger, (RICH, Transfer(POOR, 1))) for _ in range(3)]
    paid = [event for events in busy for event in events if isinstance(event, RewardsPaid)]
    assert [peer for event in paid for peer, _ in event.shares] == [FIRST]  # the other is not paid any more


def test_who_reports_itself_is_not_rewarded() -> None:
    ledger = small_ledger()
    (punished, _) = commit(ledger, (SECOND, ReportEquivocation(SECOND)))
    assert isinstance(punished, EquivocationPunished)
    assert (punished.slashed, punished.reward, ledger.treasury) == (166, 0, 166)


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (b"", "the evidence convicts nobody: evidence of 0 bytes"),
        (RICH, "03030303 is not a validator of epoch 0"),
        (bytes(EVIDENCE_BYTES_MAX + 1), "262145 bytes of evidence are over the limit of 262144"),
    ],
)
def test_a_report_that_proves_nothing_costs_its_sender_alone(evidence: bytes, reason: str) -> None:
    ledger = small_ledger()
    event = do(ledger, RICH, ReportEquivocation(evidence))
    assert (event.reason, event.fee) == (reason, 7 + 3 * -(-len(evidence) // 40))
    assert ledger.treasury == 0


def test_a_judge_that_breaks_stops_the_replica() -> None:
    def broken(evidence: bytes) -> PeerId:
        raise MemoryError(len(evidence))

    with pytest.raises(MemoryError):
        do(small_ledger(judge=broken), RICH, ReportEquivocation(SECOND))


def test_a_network_of_one_needs_no_judge() -> None:
    reason = do(small_ledger(judge=no_judge), RICH, ReportEquivocation(SECOND)).reason
    assert reason == "the evidence convicts nobody: 32 bytes of evidence: this network has no judge of equivocation"


def test_the_root_covers_who_is_convicted() -> None:
    rules = replace(no_fees(), equivocation_slash_ppm=0, reward_commits=1 << 30)
    first, second = small_ledger(rules), small_ledger(rules)
    commit(first, (RICH, ReportEquivocation(FIRST)))
    commit(second, (RICH, ReportEquivocation(SECOND)))
    assert first.state_root() != second.state_root()
