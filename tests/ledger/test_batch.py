"""Transfers at once against one after the other: same events, same accounts, same root, whatever the mixture."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic_mesh.base.ids import Digest, NetworkId
from synaptic_mesh.ledger import accounts, batch, execution
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, SUPPLY_MAX
from synaptic_mesh.ledger.economics import Economics, no_fees
from synaptic_mesh.ledger.events import LedgerEvent, TransactionApplied
from synaptic_mesh.ledger.execution import Run
from synaptic_mesh.ledger.genesis import GenesisAccount, GenesisValidator, genesis_of
from synaptic_mesh.ledger.ledger import Ledger, OrderedCommit
from synaptic_mesh.ledger.signing import VerifiedTransaction
from synaptic_mesh.ledger.transactions import (
    JoinJob,
    ReportEquivocation,
    Stake,
    Transaction,
    Transfer,
    TransferMany,
    Unstake,
)
from synaptic_mesh.ledger.transfers import AMOUNT_BYTES, pack_transfers

PEERS = [bytes([letter]) * 32 for letter in range(1, 9)]  # a validator, two rich, two poor, an empty one, two unknown
VALIDATOR, RICH, OTHER_RICH, POOR, OTHER_POOR, EMPTY, *UNKNOWN = PEERS
MOST = (SUPPLY_MAX - 2_000) // 2


def small_ledger(economics: Economics | None = None, *, one_by_one: bool = False) -> Ledger:
    """Two accounts hold nearly all money there can be, so that a wrong sum leaves its range."""
    balances = {RICH: MOST, OTHER_RICH: MOST, POOR: 100, OTHER_POOR: 7, EMPTY: 0}
    entries = [GenesisAccount(peer, balance, 50 if peer == POOR else 0) for peer, balance in balances.items()]
    validators = [GenesisValidator(VALIDATOR, 500)]
    genesis = genesis_of(bytes(32), "batch", validators, entries, economics=economics or no_fees())
    return Ledger(genesis, one_by_one=one_by_one)


def records(pairs: Sequence[tuple[bytes, int]]) -> bytes:
    """Records with amounts that no honest client would pack."""
    return b"".join(receiver + amount.to_bytes(AMOUNT_BYTES, "little") for receiver, amount in pairs)


def signed(network: NetworkId, sender: bytes, nonce: int, action: Any) -> VerifiedTransaction:
    """Without a signature: the ledger trusts the type."""
    identity = Digest(sender[:1] + nonce.to_bytes(8, "little", signed=True) + bytes(23))
    return VerifiedTransaction(Transaction(network, 0, sender, nonce, action), identity)


Asked = Sequence[tuple[bytes, int, Any]]
"""(sender, offset, action): the offset is added to the sender's next nonce, so 0 is in order."""


def numbered(network: NetworkId, asked: Asked) -> tuple[VerifiedTransaction, ...]:
    nonces: dict[bytes, int] = {}
    result = []
    for sender, offset, action in asked:
        result.append(signed(network, sender, nonces.get(sender, 0) + offset, action))
        nonces[sender] = nonces.get(sender, 0) + (offset == 0)
    return tuple(result)


def both_ways(asked: Asked, economics: Economics | None = None) -> tuple[Ledger, list[LedgerEvent]]:
    """Apply as one commit at once and one by one; return the first ledger after comparing everything."""
    fast, slow = small_ledger(economics), small_ledger(economics, one_by_one=True)
    commit = OrderedCommit(1, 5, numbered(fast.network, asked))
    events = fast.apply(commit)
    assert events == slow.apply(commit)
    for peer in {*PEERS, *fast.accounts(), *slow.accounts()}:
        assert fast.account(peer) == slow.account(peer)
    assert fast.state_root() == slow.state_root() == fast.recomputed_state_root()
    assert fast.recounted_supply() == fast.supply()
    assert fast.collected == sum(event.fee for event in events if isinstance(event, TransactionApplied))
    return fast, events


def accepted(events: Sequence[LedgerEvent]) -> list[bool]:
    return [event.accepted for event in events if isinstance(event, TransactionApplied)]


@pytest.fixture(autouse=True)
def always_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "BATCH_RECORDS_MIN", 1)


AMOUNTS = st.one_of(
    st.integers(1, 120),
    st.sampled_from([0, 1, MOST - 1, MOST, MOST + 1, SUPPLY_MAX, 1 << 62, AMOUNT_MAX, 1 << 63, (1 << 64) - 1]),
)
SMALL = st.integers(1, 9)
PEER = st.sampled_from(PEERS)


def batches(amounts: st.SearchStrategy[int]) -> st.SearchStrategy[TransferMany]:
    pairs = st.lists(st.tuples(PEER, amounts), min_size=1, max_size=6)
    return pairs.map(lambda each: TransferMany(records(each)))


PRICES = st.sampled_from([no_fees(), Economics(fee_flat=3, fee_per_record=2, fee_open_account=5, unbonding_commits=4)])


def mixtures(senders: Sequence[bytes], amounts: st.SearchStrategy[int]) -> Any:
    actions = st.one_of(
        batches(amounts),
        batches(amounts),
        st.builds(Transfer, PEER, amounts),
        st.builds(Stake, amounts),
        st.builds(Unstake, amounts),
        st.builds(JoinJob, st.just(bytes(32))),
    )
    offsets = st.sampled_from([0] * 12 + [-1, 1])
    return st.lists(st.tuples(st.sampled_from(senders), offsets, actions), max_size=12)


@given(mixtures(PEERS, AMOUNTS), PRICES)
@settings(max_examples=250, deadline=None)
def test_adversarial_mixtures_end_alike(asked: Asked, economics: Economics) -> None:
    both_ways(asked, economics)


@given(mixtures((RICH, OTHER_RICH, POOR), SMALL), PRICES)
@settings(max_examples=150, deadline=None)
def test_affordable_mixtures_end_alike(asked: Asked, economics: Economics) -> None:
    """Mostly settled at once: what the first property rarely reaches."""
    both_ways(asked, economics)


@pytest.mark.long
@given(mixtures(PEERS, AMOUNTS) | mixtures((RICH, OTHER_RICH, POOR), SMALL), PRICES)
@settings(max_examples=8_000, deadline=None)
def test_thousands_of_mixtures_end_alike(asked: Asked, economics: Economics) -> None:
    both_ways(asked, economics)


def test_where_the_premise_holds_the_columns_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts.Bank, "transfer_many", None)
    ledger = small_ledger(Economics(fee_flat=10, fee_per_record=1, fee_open_account=100))
    asked = [
        (RICH, 0, TransferMany(pack_transfers([(POOR, 5), (POOR, 6), (RICH, 9), (UNKNOWN[1], 1)]))),
        (OTHER_RICH, 0, Transfer(UNKNOWN[0], 3)),
        (RICH, -1, Transfer(POOR, 1)),
        (RICH, 0, Transfer(UNKNOWN[1], 2)),
    ]
    events = ledger.apply(OrderedCommit(1, 5, numbered(ledger.network, asked)))
    assert accepted(events) == [True, True, False, True]
    assert [event.fee for event in events if isinstance(event, TransactionApplied)] == [114, 111, 0, 11]
    assert [ledger.balance(peer) for peer in (POOR, *UNKNOWN)] == [111, 3, 3]
    assert ledger.balance(RICH) == MOST - 14 - 114 - 11
    assert ledger.account(RICH).nonce == 2
    assert ledger.collected == 236


def test_a_receiver_spends_what_it_received_in_the_same_commit() -> None:
    ledger, events = both_ways(
        [
            (EMPTY, 0, Transfer(POOR, 1)),
            (RICH, 0, TransferMany(pack_transfers([(EMPTY, 50), (UNKNOWN[0], 9)]))),
            (EMPTY, 0, Transfer(POOR, 50)),
            (UNKNOWN[0], 0, Transfer(POOR, 9)),
        ]
    )
    assert accepted(events) == [False, True, True, True]
    assert ledger.balance(POOR) == 159


def test_a_sender_that_a_transfer_before_it_opened() -> None:
    ledger, events = both_ways(
        [
            (UNKNOWN[0], 0, Transfer(POOR, 1)),
            (RICH, 0, Transfer(UNKNOWN[1], 9)),
            (UNKNOWN[1], 0, Transfer(POOR, 5)),
        ]
    )
    assert accepted(events) == [False, True, True]
    assert (ledger.balance(POOR), ledger.balance(UNKNOWN[1]), ledger.account(UNKNOWN[1]).nonce) == (105, 4, 1)


def test_money_ends_midway_and_a_batch_is_all_or_nothing() -> None:
    ledger, events = both_ways(
        [
            (POOR, 0, TransferMany(pack_transfers([(EMPTY, 30), (EMPTY, 30)]))),
            (POOR, 0, TransferMany(pack_transfers([(EMPTY, 30), (UNKNOWN[0], 11)]))),
            (POOR, 0, TransferMany(pack_transfers([(EMPTY, 39), (UNKNOWN[1], 1)]))),
        ]
    )
    assert accepted(events) == [True, False, True]
    assert (ledger.balance(POOR), ledger.balance(EMPTY)) == (0, 99)
    assert ledger.account(POOR).nonce == 3  # a refused one consumes its nonce
    assert UNKNOWN[0] not in ledger.accounts()


def test_the_sender_cannot_pay_itself_with_what_it_pays() -> None:
    ledger, events = both_ways(
        [
            (POOR, 0, TransferMany(pack_transfers([(POOR, 100), (EMPTY, 1)]))),
            (POOR, 0, TransferMany(pack_transfers([(POOR, 99), (EMPTY, 1)]))),
        ]
    )
    assert accepted(events) == [False, True]
    assert ledger.balance(POOR) == 99


@pytest.mark.parametrize(
    "amounts",
    [
        [1 << 63, 1 << 63],  # 0 modulo 2^64
        [AMOUNT_MAX, AMOUNT_MAX, 2],
        [(1 << 64) - 1, 1],
        [1 << 62, 1 << 62, 1 << 62, 1 << 62],
        [AMOUNT_MAX] * 4_096,
        [0],
        [1, 0],
    ],
)
def test_sums_that_wrap_move_nothing(amounts: list[int]) -> None:
    ledger, events = both_ways([(RICH, 0, TransferMany(records([(EMPTY, each) for each in amounts])))])
    assert accepted(events) == [False]
    assert (ledger.balance(RICH), ledger.balance(EMPTY), ledger.account(RICH).nonce) == (MOST, 0, 1)


def test_sums_over_several_transactions_wrap_nowhere() -> None:
    action = TransferMany(records([(EMPTY, MOST // 2)]))
    ledger, events = both_ways([(RICH, 0, action)] * 3 + [(RICH, 0, Transfer(POOR, 1))])
    assert accepted(events) == [True, True, False, MOST % 2 == 1]
    assert ledger.balance(EMPTY) == MOST // 2 * 2


def test_a_full_ledger_opens_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (accounts, batch):
        monkeypatch.setattr(module, "ACCOUNTS_MAX", 7)
    ledger, events = both_ways(
        [
            (RICH, 0, TransferMany(pack_transfers([(UNKNOWN[0], 1), (UNKNOWN[1], 1)]))),
            (RICH, 0, TransferMany(pack_transfers([(UNKNOWN[0], 1), (UNKNOWN[0], 1)]))),
            (RICH, 0, Transfer(UNKNOWN[1], 1)),
        ]
    )
    assert accepted(events) == [False, True, False]
    assert len(ledger.accounts()) == 7


def test_what_shares_no_account_does_not_end_a_run() -> None:
    """And what does, does: the run counts its accounts, senders and receivers."""
    network = small_ledger().network
    run = Run()
    assert not run.conflicts(signed(network, RICH, 0, Stake(1)).transaction)
    run.add(0, signed(network, RICH, 0, Transfer(POOR, 1)))
    run.add(1, signed(network, OTHER_RICH, 0, TransferMany(pack_transfers([(POOR, 1), (EMPTY, 1)]))))
    conflicts = [run.conflicts(signed(network, peer, 0, Stake(1)).transaction) for peer in PEERS[:6]]
    assert conflicts == [False, True, True, True, False, True]
    run.add(2, signed(network, VALIDATOR, 0, Transfer(RICH, 1)))
    assert run.conflicts(signed(network, VALIDATOR, 0, Stake(1)).transaction)
    assert run.conflicts(signed(network, OTHER_POOR, 0, ReportEquivocation(b"")).transaction)


def test_other_actions_go_ahead_of_a_run_and_report_in_their_place() -> None:
    ledger, events = both_ways(
        [
            (RICH, 0, Transfer(EMPTY, 5)),
            (POOR, 0, Stake(100)),
            (RICH, 0, Transfer(POOR, 7)),
            (POOR, 0, Stake(7)),
            (OTHER_POOR, 0, JoinJob(bytes(32))),
            (RICH, 0, Transfer(POOR, 2)),
        ]
    )
    assert [event.sender for event in events if isinstance(event, TransactionApplied)] == [
        RICH,
        POOR,
        RICH,
        POOR,
        OTHER_POOR,
        RICH,
    ]
    assert accepted(events) == [True, True, True, True, False, True]
    assert (ledger.account(POOR).stake, ledger.balance(POOR)) == (157, 2)


def test_thousands_of_accounts_fill_many_pages() -> None:
    receivers = [index.to_bytes(32, "big") for index in range(3_000)]
    ledger, events = both_ways(
        [
            (RICH, 0, TransferMany(pack_transfers((peer, 1 + index) for index, peer in enumerate(receivers)))),
            (OTHER_RICH, 0, TransferMany(pack_transfers((peer, 2) for peer in receivers[::7]))),
        ]
    )
    assert accepted(events) == [True, True]
    assert ledger.balance(receivers[700]) == 703
    assert len(ledger.accounts()) == 3_006


def test_the_root_follows_senders_and_receivers_on_any_page() -> None:
    receivers = [index.to_bytes(32, "big") for index in range(1_000)]
    ledger = small_ledger()
    commits: list[Asked] = [
        [(RICH, 0, TransferMany(pack_transfers((peer, 10) for peer in receivers)))],
        [(OTHER_RICH, 0, Transfer(receivers[300], 1)), (OTHER_RICH, 0, Transfer(receivers[990], 1))],
        [(receivers[600], 0, Transfer(RICH, 1))],
    ]
    for index, asked in enumerate(commits, 1):
        assert all(accepted(ledger.apply(OrderedCommit(index, 5, numbered(ledger.network, asked)))))
        assert ledger.state_root() == ledger.recomputed_state_root()
