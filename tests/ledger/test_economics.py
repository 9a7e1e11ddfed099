"""docs/economy.md, executed, and what its formulas promise for all numbers."""

import doctest
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.ledger.amounts import SUPPLY_MAX
from synaptic_mesh.ledger.economics import PPB, Economics, minted_of, no_fees, share_ppm, shares_by_stake
from synaptic_mesh.ledger.manifest import PPM

PAGE = Path(__file__).parents[2] / "docs" / "economy.md"
AMOUNT = st.one_of(st.integers(0, SUPPLY_MAX), st.sampled_from([0, 1, (1 << 53) + 1, SUPPLY_MAX - 1, SUPPLY_MAX]))


def test_every_example_of_the_page_holds() -> None:
    found = doctest.DocTestParser().get_doctest(PAGE.read_text().replace("```", ""), {}, PAGE.name, str(PAGE), 0)
    assert len(found.examples) > 60
    lines: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=lines.append)
    assert result.failed == 0, "".join(lines)


@given(AMOUNT, st.lists(st.integers(1, SUPPLY_MAX), min_size=1, max_size=30))
def test_shares_never_pass_the_pot_and_leave_less_than_a_unit_each(pot: int, stakes: list[int]) -> None:
    shares = shares_by_stake(pot, stakes)
    assert 0 <= pot - sum(shares) < len(stakes)
    total = sum(stakes)
    assert all(share * total <= pot * stake < (share + 1) * total for share, stake in zip(shares, stakes, strict=True))


def test_nobodys_stake_is_paid_nothing() -> None:
    assert shares_by_stake(5, []) == []
    assert shares_by_stake(5, [0, 0]) == [0, 0]


@given(AMOUNT, st.integers(0, PPB), AMOUNT)
def test_minting_never_passes_the_cap(supply: int, inflation_ppb: int, cap: int) -> None:
    minted = minted_of(Economics(inflation_ppb=inflation_ppb, supply_cap=cap), supply)
    assert 0 <= minted <= max(cap - supply, 0)
    assert minted <= supply * inflation_ppb // PPB


@given(AMOUNT, st.integers(0, PPM))
def test_a_share_is_rounded_down(amount: int, ppm: int) -> None:
    share = share_ppm(amount, ppm)
    assert share * PPM <= amount * ppm < (share + 1) * PPM


def test_where_everything_is_free_nothing_is_charged() -> None:
    economics = no_fees()
    assert not any((economics.fee_flat, economics.fee_per_record, economics.fee_open_account, economics.fee_open_job))
